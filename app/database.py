"""The engine, the one place where transactions begin and end, and the types that keep money and energy whole."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Concatenate, Generic, ParamSpec, TypeVar
from uuid import UUID

import psycopg
from prometheus_client import Gauge
from psycopg.rows import namedtuple_row
from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Engine,
    MetaData,
    TextClause,
    TypeDecorator,
    Uuid,
    create_engine,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.pool import QueuePool
from uuid_utils.compat import uuid7

T = TypeVar("T")
P = ParamSpec("P")

APPLICATION_ROLE = "wattgate_app"

_CONNECTIONS = Gauge("wattgate_database_connections", "Database connections that this process may have open")
_CONNECTIONS_IN_USE = Gauge("wattgate_database_connections_in_use", "Of these, how many are working now")

_RETRIED_SQLSTATES = {"40001", "40P01"}
_ATTEMPTS = 3
_ACTOR = "actor"
_LAST = "last steps"
_RECORDED = "recorded"
_UNDONE = "undone"


class WholeNumber(TypeDecorator[int]):
    """BIGINT that takes integers only: a float or a bool near money or energy is a bug, not a number."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        if value is not None and type(value) is not int:
            raise TypeError(f"money and energy are whole numbers, not {type(value).__name__}")
        return value


class UtcDateTime(TypeDecorator[datetime]):
    """``timestamptz`` that takes aware moments only and gives them back in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is not None and value.tzinfo is None:
            raise TypeError("a moment needs its time zone; use aware UTC")
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables, with constraints named by one convention so that errors and migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime(), UUID: Uuid()}  # noqa: RUF012


Id = Annotated[UUID, mapped_column(primary_key=True, default=uuid7)]
Fen = Annotated[int, mapped_column(WholeNumber())]
Wh = Annotated[int, mapped_column(WholeNumber())]


def one_of(column: str, choices: type[StrEnum]) -> str:
    """Write the check that a column holds one of the choices."""
    listed = ", ".join(f"'{choice}'" for choice in choices)
    return f"{column} IN ({listed})"


def new_id() -> UUID:
    """Return a fresh UUIDv7; its order is the order of creation."""
    return uuid7()


def first_id_of(moment: datetime) -> UUID:
    """Return the lowest UUIDv7 of a moment of machine time, to find by their ids what was created from then on."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def watch_pool(engine: Engine) -> None:
    """Show in this process's figures how many of the engine's connections are in use."""
    pool = engine.pool
    if isinstance(pool, QueuePool):
        _CONNECTIONS_IN_USE.set_function(pool.checkedout)
        _CONNECTIONS.set(pool.size())


def connect(url: str, *, pool_size: int, idle_in_transaction_s: int = 60) -> Engine:
    """Open a pool of connections that wait for a lock at most 5 s and never sit idle inside a transaction."""
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        pool_use_lifo=True,  # the connection used last has its statements planned and its caches warm
        hide_parameters=True,  # an error in a log must not carry what people typed
        connect_args={
            "application_name": "wattgate",
            "prepare_threshold": 1,
            "options": "-c lock_timeout=5s -c statement_timeout=60s"
            f" -c idle_in_transaction_session_timeout={idle_in_transaction_s}s"
            " -c timezone=UTC",
        },
    )


@dataclass(frozen=True, kw_only=True)
class Actor:
    """On whose behalf a transaction runs, and from where it was asked for; without a person, the service itself."""

    staff_member_id: UUID | None = None
    name: str = "wattgate"
    address: str | None = None
    request_id: str | None = None


SERVICE = Actor()


class UnrecordedWrite(RuntimeError):
    """What somebody does was about to be committed and the audit record would not tell of it; nothing was changed."""


def act_for(session: Session, actor: Actor) -> None:
    """Say on whose behalf this session's transaction runs; what it does must then be on record, or is undone."""
    session.info[_ACTOR] = actor


def actor_of(session: Session) -> Actor:
    """Return on whose behalf this session's transaction runs; the service's own if nobody said."""
    actor: Actor = session.info.get(_ACTOR, SERVICE)
    return actor


def note_recorded(session: Session) -> None:
    """Note that the audit record tells of what this transaction does."""
    session.info[_RECORDED] = True


def note_undone(session: Session) -> None:
    """Note that a transaction has undone itself all that it did, so there is nothing to record."""
    session.info[_UNDONE] = True


def add_last(session: Session, step: "Step[Any]") -> None:
    """Have a step run right before the commit, for what holds a lock that many others wait for."""
    session.info.setdefault(_LAST, []).append(step)


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Open a session whose work is committed whole at the end, or not at all.

    It works for the service itself; where it is told for whom it acts, it also holds the work to its record.

    Raises:
        UnrecordedWrite: see :func:`transaction_of`.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session
        _refuse_unrecorded(session)
        together(session, *session.info.pop(_LAST, ()))


@contextmanager
def transaction_of(engine: Engine, actor: Actor) -> Iterator[Session]:
    """Open a session for what somebody does: committed whole and on record, or not at all.

    Raises:
        UnrecordedWrite: nothing was recorded.
    """
    with transaction(engine) as session:
        act_for(session, actor)
        yield session


@contextmanager
def reading(engine: Engine, actor: Actor = SERVICE) -> Iterator[Session]:
    """Open a session that can read and nothing else; the database refuses every write in it."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.info[_ACTOR] = actor
        # Travels with BEGIN, so it costs no round trip.
        session.connection(execution_options={"postgresql_readonly": True})
        yield session


def _refuse_unrecorded(session: Session) -> None:
    actor = actor_of(session)
    if actor is not SERVICE and not session.info.get(_RECORDED) and not session.info.get(_UNDONE):
        raise UnrecordedWrite(
            f"{actor.name} changed something (request {actor.request_id}) and nothing was recorded; "
            "see app.audit.service.record"
        )


@contextmanager
def attempt(session: Session) -> Iterator[None]:
    """Do something inside a transaction that may fail without spoiling the rest: what it wrote is undone then."""
    with _forgetting_undone(session), session.begin_nested():
        yield


@contextmanager
def rehearsal(session: Session) -> Iterator[None]:
    """Do something for real inside a transaction and undo it at the end; refusals come as they would."""
    with _forgetting_undone(session, always=True), session.begin_nested() as savepoint:
        yield
        session.flush()
        savepoint.rollback()


@contextmanager
def _forgetting_undone(session: Session, *, always: bool = False) -> Iterator[None]:
    """Forget what undone work has asked to have run right before the commit, and that it was recorded."""
    steps: list[Step[Any]] = session.info.setdefault(_LAST, [])
    kept, recorded = len(steps), session.info.get(_RECORDED, False)
    undone = True
    try:
        yield
        undone = always
    finally:
        if undone:
            del steps[kept:]
            session.info[_RECORDED] = recorded


def in_transaction(
    engine: Engine, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``work(session, …)`` in a transaction of the service, again when PostgreSQL asks (40001, 40P01)."""
    return _again_when_asked(lambda: transaction(engine), lambda session: work(session, *args, **kwargs))


def in_transaction_of(
    engine: Engine, actor: Actor, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``work(session, …)`` as :func:`in_transaction` does, on behalf of somebody and held to its record."""
    return _again_when_asked(lambda: transaction_of(engine, actor), lambda session: work(session, *args, **kwargs))


def _again_when_asked(begin: Callable[[], AbstractContextManager[Session]], work: Callable[[Session], T]) -> T:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with begin() as session:
                return work(session)
        except OperationalError as error:
            if sqlstate(error) not in _RETRIED_SQLSTATES or attempt == _ATTEMPTS:
                raise
            time.sleep(0.01 * attempt)
    raise AssertionError("unreachable")


@dataclass(frozen=True, kw_only=True)
class Step(Generic[T]):
    """One statement of several that travel together; ``read`` makes the answer of its rows, or refuses."""

    statement: TextClause
    values: Mapping[str, Any]
    read: Callable[[list[Any]], T]


def together(session: Session, *steps: Step[Any]) -> list[Any]:
    """Run statements in the order given, in one round trip; each sees what is committed when its turn comes.

    Waiting for the server's answer costs both sides more than most statements do. A transaction's own BEGIN travels
    with its first steps.

    Raises:
        DBAPIError: as a statement on its own would; those after it did not run.
    """
    session.flush()
    if not steps:
        return []
    driver = session.connection().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - the one driver; for the type checker
    try:
        with driver.pipeline():
            cursors = [driver.cursor(row_factory=namedtuple_row) for _ in steps]
            for cursor, step in zip(cursors, steps, strict=True):
                cursor.execute(_as_psycopg(step.statement), step.values)
        found = [cursor.fetchall() if cursor.description else [] for cursor in cursors]
    except psycopg.Error as error:
        # As SQLAlchemy wraps it, so that callers know one kind of error; parameters stay out of it.
        raise DBAPIError.instance(None, None, error, psycopg.Error, hide_parameters=True) from error
    return [step.read(rows) for step, rows in zip(steps, found, strict=True)]


@cache
def _as_psycopg(statement: TextClause) -> bytes:
    dialect = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call] # SQLAlchemy has no types here
    return str(statement.compile(dialect=dialect)).encode()


def sqlstate(error: Any) -> str | None:
    """Return the five characters with which PostgreSQL classes an error."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)
