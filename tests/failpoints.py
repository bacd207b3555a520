"""Kills the process that does a piece of work after each of its statements, without test code in the product.

The work runs in a child whose driver counts: after the chosen statement has been executed by the server, or after the
commit, the child sends itself SIGKILL. Statements that travel together are executed one by one there, so that the
server has run exactly those before the failpoint.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

from app.database import connect

COMMIT = "COMMIT"

_WITHIN_S = 60
# Forks come from a process that has imported everything and has no threads.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["__main__", "app.main", "app.worker", "interrupted"])

#: Works on a database; what it tells goes to whoever watches the child.
Work = Callable[[Engine, Callable[[str], None]], None]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a child did: the statements that the server has executed, and what the work told."""

    statements: list[str]
    told: list[str]
    killed: bool

    @property
    def committed(self) -> bool:
        return COMMIT in self.statements


def statements_of(work: Work, *args: Any, database_url: str) -> Seen:
    """Do the work whole; what it ran, in its order, is what can be interrupted."""
    seen = die_after(None, work, *args, database_url=database_url)
    assert not seen.killed
    return seen


def die_after(point: int | None, work: Work, *args: Any, database_url: str) -> Seen:
    """Do the work in a child that dies when so many statements, commits included, are executed."""
    _start_server()
    here, there = _SERVER.Pipe(duplex=False)
    child = _SERVER.Process(target=_live, args=(point, work, args, database_url, there))
    child.start()
    there.close()
    statements, told = [], []
    for kind, words in _heard(here):
        (statements if kind == "executed" else told).append(words)
    child.join(_WITHIN_S)
    killed = child.exitcode == -signal.SIGKILL
    assert killed or child.exitcode == 0, f"the child ended with {child.exitcode}"
    child.close()
    here.close()
    return Seen(statements=statements, told=told, killed=killed)


def _start_server() -> None:
    """Start the process that children are forked from; it finds these modules through its environment only."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
    try:
        forkserver.ensure_running()
    finally:
        os.environ["PYTHONPATH"] = before


def _heard(here: Connection) -> Iterator[tuple[str, str]]:
    try:
        while here.poll(_WITHIN_S):
            yield here.recv()
    except EOFError:
        return
    raise AssertionError("the child does not end")


def _live(point: int | None, work: Any, args: tuple[Any, ...], database_url: str, there: Connection) -> None:
    engine = connect(database_url, pool_size=2)
    with engine.connect():
        pass  # what a first connection asks the server is no part of the work
    with _counting(point, there):
        work(engine, lambda words: there.send(("told", words)), *args)
    engine.dispose()
    there.close()


@contextmanager
def _counting(point: int | None, there: Connection) -> Iterator[None]:
    executed = 0

    def after(what: str) -> None:
        nonlocal executed
        executed += 1
        there.send(("executed", what))
        die_if_due()

    def die_if_due() -> None:
        if executed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def then(method: Any, name: Callable[..., str]) -> Any:
        def wrapped(self: Any, *args: Any, **options: Any) -> Any:
            result = method(self, *args, **options)
            after(name(*args))
            return result

        return wrapped

    @contextmanager
    def one_by_one(_connection: Any) -> Iterator[None]:
        yield

    psycopg.Cursor.execute = then(psycopg.Cursor.execute, _in_short)  # type: ignore[method-assign]
    psycopg.Cursor.executemany = then(psycopg.Cursor.executemany, _in_short)  # type: ignore[method-assign]
    psycopg.Connection.commit = then(psycopg.Connection.commit, lambda: COMMIT)  # type: ignore[method-assign]
    psycopg.Connection.pipeline = one_by_one  # type: ignore[assignment,method-assign]
    die_if_due()
    yield


def _in_short(statement: Any, *_: Any) -> str:
    text = statement.decode() if isinstance(statement, bytes) else str(statement)
    return " ".join(text.split())[:60]
