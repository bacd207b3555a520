"""Workers share terminals and send each order once; and without what keeps them apart they would not."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from factories import a_contract, a_live_terminal, a_terminal, an_ordered_trip
from outbox import SIGNER, Handed, Outbox, later
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from app.clock import Clock, sleep
from app.commands import dispatch
from app.commands import service as commands
from app.commands.dispatch import Dispatcher, Publish
from app.commands.models import Command
from app.commands.rules import ANSWER_WITHIN_S, Op
from app.commands.service import NewCommand
from app.database import connect, transaction
from app.mqtt import topics
from app.workers import service
from app.workers.rules import SHARES, share_of
from app.workers.service import Here, TakenForDead, WorkerNameTaken
from app.workers.sweep import Frame, Shares

A, B = "SH-0001", "SH-0002"
LEASE_S = 3
ROW_LOCK = re.compile(r" FOR UPDATE( OF commands)?( SKIP LOCKED)?$")
_SILENT = text("UPDATE workers SET seen_at = seen_at - interval '1 minute' WHERE id = :id")


def nothing_against(_session: Session, _command: Command, _now: datetime) -> list[dict[str, Any]]:
    return []


def a_dispatcher(engine: Engine, publish: Publish, *, after_s: float = 0) -> Dispatcher:
    return Dispatcher(engine, clock=later(after_s), signer=SIGNER, publish=publish, reasons_against=nothing_against)


def a_point(session: Session, terminal_id: str) -> UUID:
    """A supply point whose terminal is on line."""
    point = a_contract(session, contract_no=f"HT-{terminal_id}").supply_point_id
    a_terminal(session, supply_point_id=point, terminal_id=terminal_id)
    a_live_terminal(session, terminal_id=terminal_id, now=Clock().now())
    return point


def a_restore(session: Session, *, point: UUID, terminal_id: str) -> None:
    new = NewCommand(
        terminal_id=terminal_id,
        supply_point_id=point,
        op=Op.CLOSE,
        args={"round": 1, "manner": "allow"},
        reason="asked for by dispatch",
    )
    commands.issue(session, new, clock=Clock(), now=Clock().now())


@dataclass
class Claims:
    """Has two workers that look for what is due see it at one moment, be the rows that they take locked or not."""

    engine: Engine
    locks: bool
    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))

    def __post_init__(self) -> None:
        event.listen(self.engine, "before_cursor_execute", self._before, retval=True)
        event.listen(self.engine, "after_cursor_execute", self._after)

    def _before(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        marked = ROW_LOCK.sub(" /* claims */" if not self.locks else r"\g<0> /* claims */", statement)
        return (marked if "FROM commands" in statement else statement), parameters

    def _after(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.endswith("/* claims */"):
            # With the lock the other one may be waiting for it, and comes later.
            with suppress(threading.BrokenBarrierError):
                self.together.wait(timeout=0.3)


def sent_by_two(database: Database, *, locks: bool) -> Counter[str]:
    """How often each operation leaves when two workers look for what is due at one moment."""
    outbox = Outbox()
    failures: list[BaseException] = []
    engine = connect(database.application_url, pool_size=4)
    Claims(engine, locks)

    def work() -> None:
        try:
            a_dispatcher(engine, outbox).run_once()
        except BaseException as error:  # noqa: BLE001 - told to the test, which fails with it
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    engine.dispose()
    assert failures == []
    return Counter(f"{one.op} {one.step}" for one in outbox.claims)


@pytest.mark.parametrize(
    ("locks", "times"), [pytest.param(True, 1, id="as_it_is"), pytest.param(False, 2, id="without_row_locks")]
)
def test_two_workers_send_a_restore_once_and_without_row_locks_they_would_both(
    database: Database, *, locks: bool, times: int
) -> None:
    with transaction(database.engine) as session:
        a_restore(session, point=a_point(session, A), terminal_id=A)
    assert sent_by_two(database, locks=locks) == {"close do": times}


@pytest.mark.parametrize(
    ("locks", "times"), [pytest.param(True, 1, id="as_it_is"), pytest.param(False, 2, id="without_row_locks")]
)
def test_two_workers_send_a_cut_once_and_without_row_locks_they_would_both(
    database: Database, *, locks: bool, times: int
) -> None:
    with transaction(database.engine) as session:
        an_ordered_trip(session, supply_point_id=a_point(session, A))
    assert sent_by_two(database, locks=locks) == {"trip arm": times}


@pytest.mark.parametrize(
    ("still_good_s", "times"),
    [pytest.param(0.1, 1, id="looks_at_the_clock"), pytest.param(60, 2, id="does_not_look")],
)
def test_a_worker_frozen_between_claim_and_publishing_sends_nothing_that_another_has_sent_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch, still_good_s: float, times: int
) -> None:
    monkeypatch.setattr(dispatch, "_PUBLISHED_WITHIN_S", still_good_s)
    with transaction(database.engine) as session:
        for terminal_id in (A, B):
            a_restore(session, point=a_point(session, terminal_id), terminal_id=terminal_id)
    first, second = Outbox(), Outbox()

    def publish(topic: str, payload: bytes) -> Handed:
        if topic == topics.down(A, "command"):
            # The first of both orders finds this worker asleep, until long after they have come due again.
            a_dispatcher(database.engine, second, after_s=2 * ANSWER_WITHIN_S).run_once()
            sleep(0.2)
            raise ConnectionError("gone while asleep")
        return first(topic, payload)

    with transaction(database.engine) as session:
        session.execute(
            text("UPDATE commands SET due_at = due_at - interval '1 second' WHERE terminal_id = :a"), {"a": A}
        )
    a_dispatcher(database.engine, publish).run_once()
    sent = Counter(one.terminal_id for one in (*first.claims, *second.claims))
    assert sent == {A: 1, B: times}


def a_worker(engine: Engine, name: str, *, host: str = "here", pid: int = 1, is_gone: bool = False) -> UUID:
    with transaction(engine) as session:
        return service.enter(session, Here(name, host, pid), lease_s=LEASE_S, gone=lambda _host, _pid: is_gone)


def tended(engine: Engine, own_id: UUID) -> tuple[int, list[str]]:
    """How many shares a worker holds after it has shown that it lives, and whom it has found dead."""
    with transaction(engine) as session:
        found = service.tend(session, own_id, hears=True, lease_s=LEASE_S)
    return len(found.shares), found.dead


def test_a_name_that_lives_is_refused_and_one_whose_process_is_no_more_is_taken_with_its_shares(
    database: Database,
) -> None:
    first = a_worker(database.engine, "wattgate")
    assert tended(database.engine, first) == (SHARES, [])
    with pytest.raises(WorkerNameTaken) as refused:
        a_worker(database.engine, "wattgate", pid=2)
    assert "WATTGATE_WORKER_NAME" in refused.value.remedy
    heir = a_worker(database.engine, "wattgate", pid=2, is_gone=True)
    with transaction(database.engine) as session:
        assert len(service.shares_held(session, heir)) == SHARES
        assert service.shares_held(session, first) == frozenset()


def test_a_worker_is_not_found_dead_while_it_records_and_records_nothing_once_it_is(database: Database) -> None:
    engine = database.engine
    first, second = a_worker(engine, "wattgate"), a_worker(engine, "wattgate-2")
    for own_id in (first, second, first, second):
        tended(engine, own_id)
    with transaction(engine) as session:
        session.execute(_SILENT, {"id": first})
    with transaction(engine) as recording:
        assert len(service.shares_held(recording, first)) == SHARES // 2
        assert tended(engine, second) == (SHARES // 2, [])
    assert tended(engine, second) == (SHARES, ["wattgate"])
    with transaction(engine) as recording:
        assert service.shares_held(recording, first) == frozenset()
    with pytest.raises(TakenForDead):
        tended(engine, first)


def shares_of(engine: Engine, name: str, taken: list[Frame] | None = None) -> Shares:
    return Shares(engine, name=name, lease_s=LEASE_S, take=(taken if taken is not None else []).extend)


def test_a_worker_looks_whether_the_process_that_has_its_name_on_this_machine_is_alive(database: Database) -> None:
    stopping = threading.Event()
    stopping.set()
    a_worker(database.engine, "wattgate", host=socket.gethostname(), pid=os.getppid())
    with pytest.raises(WorkerNameTaken):
        shares_of(database.engine, "wattgate").enter(stopping)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    a_worker(database.engine, "wattgate-2", host=socket.gethostname(), pid=ended.pid)
    shares_of(database.engine, "wattgate-2").enter(stopping)
    a_worker(database.engine, "wattgate-3", host="another machine", pid=ended.pid)
    with pytest.raises(WorkerNameTaken):
        shares_of(database.engine, "wattgate-3").enter(stopping)


def test_what_terminals_of_a_dead_worker_told_meanwhile_is_recorded_by_its_heir(database: Database) -> None:
    first = a_worker(database.engine, "wattgate")
    tended(database.engine, first)
    heard: list[Frame] = []
    heir = shares_of(database.engine, "wattgate-2", heard)
    heir.enter(threading.Event())
    heir.tend(hears=True)
    tended(database.engine, first)
    heir.tend(hears=True)
    with transaction(database.engine) as session:
        of_first = service.shares_held(session, first)
    names = [f"SH-{number:04}" for number in range(100)]
    for name in names:
        heir.put(topics.up(name, "report"), b"told")
    foreign = {topics.up(name, "report") for name in names if share_of(name) in of_first}
    own = {topics.up(name, "report") for name in names} - foreign
    assert len(foreign) > 1
    assert {topic for topic, _, _ in heard} == own
    with transaction(database.engine) as session:
        session.execute(_SILENT, {"id": first})
    heir.tend(hears=True)
    assert {topic for topic, _, _ in heard} == own | foreign
    assert len(heard) == len(names)
