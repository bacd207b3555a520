"""The process is killed between every two statements of a sale and of a batch of reports: nothing is left, or all."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from factories import a_contract, a_debt, a_person, a_state, a_terminal, an_open_shift
from failpoints import COMMIT, Seen, die_after, statements_of
from interrupted import Asked, sell, take
from ladder import CONTRACT, START, TERMINAL, TRIP_H, Factory, a_factory, tripping
from sqlalchemy import Engine, text

from app.customers.queries import contract_by_no
from app.database import Base, connect, transaction
from app.embedded.postgres import EmbeddedPostgres
from app.mqtt import topics
from app.roles import Role
from app.terminal_reports.ingest import Frame
from app.verification import INVARIANTS, find_broken

# Children that die leave no trace of what they covered.
pytestmark = [pytest.mark.no_cover, pytest.mark.takes(seconds=15)]

SIDE_BY_SIDE = 2
SPOOL = UUID(int=7)
SESSION = "b" * 32
WAIT_S = 20.0
NEXT_REPORTS = (3, 4, 6)
EVENT_SEQ = 5
_copies = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Counting:
    """How many rows each table has, and a fingerprint of all that they hold."""

    rows: dict[str, int]
    content: str


def look(engine: Engine) -> Counting:
    tables = sorted(Base.metadata.tables)
    content = "md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) AS content"
    each = " UNION ALL ".join(
        f"SELECT '{name}' AS name, count(*) AS rows, {content} FROM {name} AS t"  # noqa: S608 - names of our own
        for name in tables
    )
    with transaction(engine) as session:
        found = session.execute(text(each)).all()
    return Counting(
        rows={row.name: row.rows for row in found},
        content="".join(f"{row.name}{row.content}" for row in sorted(found, key=lambda row: str(row.name))),
    )


def broken(engine: Engine) -> dict[str, Any]:
    with transaction(engine) as session:
        found = {one.name: find_broken(session, one) for one in INVARIANTS}
    return {name: rows for name, rows in found.items() if rows}


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Copies of a database in which everything is prepared, one for each failpoint."""

    postgres: EmbeddedPostgres
    prepared: Database

    @contextmanager
    def one(self) -> Iterator[tuple[str, Engine]]:
        name = f"failpoint_{self.prepared.name}_{next(_copies)}"
        self.postgres.create_database(name, template=self.prepared.name)
        url = self.postgres.application_url(name)
        engine = connect(url, pool_size=2)
        try:
            yield url, engine
        finally:
            engine.dispose()
            self.postgres.drop_database(name)


@pytest.fixture
def copies(postgres: EmbeddedPostgres, database: Database) -> Copies:
    return Copies(postgres=postgres, prepared=database)


def at_every_point(seen: Seen, check: Callable[[int], None]) -> None:
    """Check a kill before the first statement, after each, and after the commit."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as checks:
        for _ in checks.map(check, range(len(seen.statements) + 1)):
            pass


def a_cashier(engine: Engine) -> UUID:
    with transaction(engine) as session:
        cashier = a_person(session, role=Role.CASHIER)
        an_open_shift(session, cashier=cashier)
        return cashier.id


def in_normal_stage(database: Database) -> datetime:
    """Sold to before, the credit still on its way, so that it makes way for the next."""
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    factory = Factory(database=database, point=contract.supply_point_id, state=a_state())
    factory.buy()
    return START


def tripped_and_in_debt(database: Database) -> datetime:
    """Limited, round 1 tripped, round 2 about to be, and money owed."""
    factory = tripping(a_factory(database))
    factory.power_w = 380_000
    factory.obey("trip", rounds="01------")
    factory.at(TRIP_H + 1).reassess()
    assert len(factory.open("trip")) == 1
    with transaction(database.engine) as session:
        a_debt(session, contract=contract_by_no(session, CONTRACT), debt_fen=123_456)
    return factory.now


@pytest.mark.parametrize(
    ("prepare", "ordered"),
    [
        (in_normal_stage, Counter(credit=1)),
        (tripped_and_in_debt, Counter(credit=1, close=1, limit=1, warn=1)),
    ],
    ids=["in normal stage", "from tripped, with a debt"],
)
def test_a_sale_that_is_killed_anywhere_is_made_once(
    copies: Copies,
    prepare: Callable[[Database], datetime],
    ordered: Counter[str],
    record_property: Callable[[str, object], None],
) -> None:
    now = prepare(copies.prepared)
    asked = Asked(cashier_id=a_cashier(copies.prepared.engine), now=now)
    before = look(copies.prepared.engine)
    copies.prepared.engine.dispose()
    with copies.one() as (url, engine):
        whole = statements_of(sell, asked, url, database_url=url)
        after = look(engine)
        assert orders_since(engine, now) == ordered
    assert whole.statements[-1] == COMMIT
    assert len(whole.statements) > 8
    record_property("failpoints", len(whole.statements) + 1)

    def check(point: int) -> None:
        with copies.one() as (url, engine):
            seen = die_after(point, sell, asked, url, database_url=url)
            assert (seen.killed, seen.told, seen.statements) == (True, [], whole.statements[:point])
            left = look(engine)
            assert left.rows == (after.rows if seen.committed else before.rows)
            assert seen.committed or left.content == before.content
            assert broken(engine) == {}
            answers: list[str] = []
            for _ in range(2):
                sell(engine, answers.append, asked, url)
            replays = [answer.split(" ", 2)[1] for answer in answers]
            assert replays == ["true" if seen.committed else "None", "true"]
            assert {answer.split(" ", 2)[0] for answer in answers} == {"201"}
            assert {answer.split(" ", 2)[2] for answer in answers} == {stored_answer(engine, asked.key)}
            assert look(engine).rows == after.rows
            assert broken(engine) == {}

    at_every_point(whole, check)


def orders_since(engine: Engine, now: datetime) -> Counter[str]:
    with transaction(engine) as session:
        found = session.scalars(
            text("SELECT op FROM commands WHERE issued_at >= :now AND command_class <> 'cut' AND state = 'waiting'"),
            {"now": now},
        )
        return Counter(map(str, found))


def stored_answer(engine: Engine, key: str) -> str:
    with transaction(engine) as session:
        body = session.execute(text("SELECT body FROM idempotency_keys WHERE key = :key"), {"key": key}).scalar_one()
    return bytes(body).decode()


# A batch of reports


def moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def the_batch(factory: Factory, credit_id: UUID, at: datetime) -> list[Frame]:
    """A birth, a heartbeat, reports with a gap, an event, an answer, and one message that nobody can read."""
    state = factory.state
    presence = {"session": SESSION, "uptime_s": 60, "at": moment(at), "clock": "synced", "state": state}
    spool = {"id": str(SPOOL), "first": 3, "last": 6}
    birth = {"boot": 4, "firmware": "1.0", "spool": spool, "slots": {}, "results": []}
    in_spool = {"spool_id": str(SPOOL), "at": moment(at)}
    reports = [
        {
            **in_spool,
            "seq": seq,
            "clock": "synced",
            "uptime_s": 60,
            "supplied_wh": 52_000_000 + seq,
            "active_power_w": 480_000,
            "meters": [],
            "state": state,
        }
        for seq in NEXT_REPORTS
    ]
    told: list[tuple[str, dict[str, Any]]] = [
        ("birth", birth | presence),
        ("heartbeat", presence),
        *(("report", report) for report in reports),
        ("event", {**in_spool, "seq": EVENT_SEQ, "type": "relay", "detail": {"round": 1}}),
        ("ack", {"command_id": str(credit_id), "step": "executed", "at": moment(at), "uptime_s": 60}),
    ]
    frames = [(topics.up(TERMINAL, kind), json.dumps(body).encode()) for kind, body in told]
    return [*frames, (topics.up(TERMINAL, "report"), b"{torn")]


def test_a_batch_that_is_killed_anywhere_is_stored_once(
    copies: Copies, record_property: Callable[[str, object], None]
) -> None:
    """The counter crosses a threshold, an open credit is answered and shown, and a stranger's bytes come too."""
    factory = a_factory(copies.prepared)
    factory.at(1).reassess()
    factory.buy()
    (credit,) = factory.open("credit")
    factory.state |= {name: credit.args[name] for name in ("paid_until_wh", "order_no")}
    frames = the_batch(factory, credit.id, factory.now + timedelta(minutes=1))
    before = look(copies.prepared.engine)
    copies.prepared.engine.dispose()
    with copies.one() as (url, engine):
        whole = statements_of(take, frames, database_url=url)
        after = look(engine)
        assert stored(engine) == [3, 4, 5, 6]
        assert credit_state(engine, credit.id) == "verified"
    receipts = [words for words in whole.told if words.startswith("receipt")]
    assert whole.statements.count(COMMIT) == 1
    assert len(whole.statements) > 12
    record_property("failpoints", len(whole.statements) + 1)

    def check(point: int) -> None:
        with copies.one() as (url, engine):
            seen = die_after(point, take, frames, database_url=url)
            assert (seen.killed, seen.told, seen.statements) == (True, [], whole.statements[:point])
            left = look(engine)
            assert left.rows == (after.rows if seen.committed else before.rows)
            assert seen.committed or left.content == before.content
            assert broken(engine) == {}
            told: list[str] = []
            # Without a receipt the terminal sends its spool again; what nobody could read is in no spool.
            take(engine, told.append, frames if not seen.committed else frames[:-1])
            assert [words for words in told if words.startswith("receipt")] == receipts
            assert stored(engine) == [3, 4, 5, 6]
            assert credit_state(engine, credit.id) == "verified"
            assert tables_of_reports(look(engine)) == tables_of_reports(after)
            assert broken(engine) == {}

    at_every_point(whole, check)


def tables_of_reports(counted: Counting) -> dict[str, int]:
    once = ("terminal_reports", "terminal_events", "terminal_spools", "quarantined_messages", "commands")
    return {name: counted.rows[name] for name in once}


def stored(engine: Engine) -> list[int]:
    both = "SELECT seq FROM terminal_reports UNION ALL SELECT seq FROM terminal_events ORDER BY seq"
    with transaction(engine) as session:
        return list(session.scalars(text(both)))


def credit_state(engine: Engine, command_id: UUID) -> str:
    with transaction(engine) as session:
        found = session.execute(text("SELECT state FROM commands WHERE id = :id"), {"id": command_id})
        return str(found.scalar_one())
