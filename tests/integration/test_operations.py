"""What those who run the service rely on: ids in logs, figures, retention of reports, invariants watched."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
from databases import Database
from factories import a_contract, a_live_terminal, a_purchase, a_state, a_terminal
from fastapi import APIRouter, Request
from prometheus_client import REGISTRY
from running import running, settings_for
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from structlog.testing import LogCapture

from app.audit import queries
from app.clock import Clock
from app.commands import books as command_books
from app.commands import service as commands
from app.commands.rules import AckStep
from app.commands.service import Answer
from app.commands.sweep import CommandFigures
from app.database import new_id, reading, transaction
from app.http.policies import anyone
from app.load_control.service import Pace
from app.main import create_app
from app.operations import retention
from app.operations.programs import NotPossible
from app.operations.watching import Watch, patient_engine
from app.terminal_reports import sweep
from app.terminal_reports.rules import Batch, ReportRow, Unreadable
from app.terminal_reports.service import quarantine, record
from app.terminals.models import TerminalLive
from app.verification.invariant import Invariant

TERMINAL = "SH-0001"
SPOOL = UUID(int=7)
PACE = Pace(clock=Clock(), report_interval_s=900)
TODAY = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
JANUARY = datetime(2026, 1, 20, 12, 0, tzinfo=UTC)

router = APIRouter(prefix="/test", dependencies=[anyone()])


@router.get("/log")
def write_a_line(request: Request) -> dict[str, str | int]:
    structlog.get_logger().info("a line from a thread of the pool")
    return {"request_id": request.state.request_id, "thread": threading.get_ident()}


def figure(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    return found or 0.0


@pytest.fixture
def log() -> Iterator[LogCapture]:
    """What is logged, with the ids that its context adds."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture
    structlog.configure(**before)


@pytest.fixture
def api(database: Database) -> Iterator[httpx.Client]:
    service = create_app(settings_for(database.application_url), engine=database.engine)
    service.include_router(router)
    with running(service) as client:
        yield client


def test_a_request_keeps_its_callers_id_in_answer_and_log(api: httpx.Client, log: LogCapture) -> None:
    answer = api.get("/test/log", headers={"X-Request-Id": "proxy:0123-abcd"})
    assert answer.headers["x-request-id"] == "proxy:0123-abcd"
    assert answer.json()["request_id"] == "proxy:0123-abcd"
    assert answer.json()["thread"] != threading.get_ident()
    (line,) = [one for one in log.entries if one["event"] == "a line from a thread of the pool"]
    assert line["request_id"] == "proxy:0123-abcd"


@pytest.mark.parametrize("named", [None, "short", "x" * 65, 'a"} {"event": "forged"}', "line\tbreak and more"])
def test_an_id_that_could_forge_a_line_is_replaced(api: httpx.Client, named: str | None) -> None:
    headers = {"X-Request-Id": named} if named else {}
    given = [api.get(path, headers=headers).headers["x-request-id"] for path in ("/test/log", "/nothing/there")]
    assert all(re.fullmatch(r"[0-9a-f-]{36}", one) for one in given)
    assert given[0] != given[1]


def a_site(engine: Engine) -> UUID:
    with transaction(engine) as session:
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
        a_purchase(session, contract=contract, now=Clock().now())
        return contract.supply_point_id


def test_the_time_of_each_step_of_a_command_is_counted_once(database: Database) -> None:
    a_site(database.engine)
    now = Clock().now()
    with transaction(database.engine) as session:
        a_live_terminal(session, terminal_id=TERMINAL, now=now, state=a_state())
        command_id = session.scalar(text("SELECT id FROM commands"))
        assert isinstance(command_id, UUID)
        session.execute(text("UPDATE commands SET issued_at = :at"), {"at": now - timedelta(seconds=40)})
        command_books.note_sent(session, [command_id], step="do", now=now - timedelta(seconds=30))
    figures = CommandFigures(database.engine, clock=Clock())
    labels = {"op": "credit", "command_class": "restore"}
    before = {
        step: figure("wattgate_command_step_seconds_sum", step=step, **labels)
        for step in ("sent", "received", "executed")
    }
    # As if fifteen seconds had passed: the steps written just now come into view.
    figures._looked_until -= timedelta(minutes=1)  # noqa: SLF001
    owner = retention.owner_engine(database.owner_url)
    with transaction(owner) as session:
        session.execute(text("UPDATE command_steps SET id = :id"), {"id": _id_at(now - timedelta(seconds=30))})
    owner.dispose()
    figures.measure()
    figures.measure()
    assert figure("wattgate_command_step_seconds_sum", step="sent", **labels) - before["sent"] == pytest.approx(10)
    assert figure("wattgate_command_step_seconds_sum", step="received", **labels) == before["received"]
    assert waits("online") == pytest.approx(40, abs=5)
    assert figure("wattgate_commands", state="sent") == 1
    assert figure("wattgate_commands", state="unknown") == 0
    answer = Answer(terminal_id=TERMINAL, command_id=command_id, step=AckStep.EXECUTED, code=None, at=now)
    with transaction(database.engine) as session:
        commands.note_answers(session, [answer], now=now)
    figures.measure()
    # Carried out, as the terminal says, and not proved yet.
    assert (waits("online"), figure("wattgate_commands", state="executed")) == (pytest.approx(40, abs=5), 1)
    with transaction(database.engine) as session:
        session.execute(
            text("UPDATE commands SET state = 'verified', verified_at = :at, ended_at = :at"), {"at": now}
        )
    figures.measure()
    assert (waits("online"), waits("offline")) == (0, 0)


def waits(terminal: str) -> float:
    return figure("wattgate_oldest_undelivered_restore_seconds", terminal=terminal)


def test_a_restore_grows_old_however_often_it_is_tried_anew(database: Database) -> None:
    now = datetime.now(UTC)
    with transaction(database.engine) as session:
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
        a_live_terminal(session, terminal_id=TERMINAL, now=now, state=a_state(order_no=0, paid_until_wh=0))
        for age_s, state in ((900, "verified"), (200, "refused"), (100, "superseded"), (5, "refused")):
            made = a_purchase(session, contract=contract, now=now)
            ended = {"id": made.command_id, "at": now - timedelta(seconds=age_s), "state": state}
            session.execute(
                text("UPDATE commands SET issued_at = :at, ended_at = :at, state = :state WHERE id = :id"), ended
            )
        session.execute(text("UPDATE commands SET verified_at = ended_at WHERE state = 'verified'"))
    figures = CommandFigures(database.engine, clock=Clock())
    figures.measure()
    assert (waits("online"), waits("offline")) == (pytest.approx(200, abs=5), 0)
    with transaction(database.engine) as session:
        session.get_one(TerminalLive, TERMINAL).online = False
    figures.measure()
    assert (waits("online"), waits("offline")) == (0, pytest.approx(200, abs=5))


def _id_at(moment: datetime) -> UUID:
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))


def test_missing_numbers_of_a_spool_are_counted(database: Database) -> None:
    a_site(database.engine)
    with transaction(database.engine) as session:
        session.execute(
            text("""
                INSERT INTO terminal_spools (terminal_id, spool_id, stored, lost_before, created_at)
                VALUES (:terminal, :spool, '{[1,4),[6,7),[10,11)}', 1, now()), (:terminal, :old, '{[9,10)}', 1, now())
            """),
            {"terminal": TERMINAL, "spool": SPOOL, "old": UUID(int=8)},
        )
        session.get_one(TerminalLive, TERMINAL).spool_id = SPOOL
    sweep.measure_spools(database.engine)
    assert (figure("wattgate_spools_with_gaps"), figure("wattgate_spool_missing_numbers")) == (1, 5)


def a_report(seq: int, *, at: datetime, supplied_wh: int = 1_000) -> ReportRow:
    return ReportRow(TERMINAL, SPOOL, seq, at, True, "synced", supplied_wh, 0, a_state(), "{}")


def tell(engine: Engine, *reports: ReportRow) -> None:
    with transaction(engine) as session:
        record(session, Batch(reports=list(reports)), pace=PACE, now=TODAY)


@pytest.fixture
def old_reports(database: Database) -> Database:
    """Two reports of January, one of March, one of 2019 outside any month, an old and a new unreadable message."""
    a_site(database.engine)
    for month in (JANUARY, TODAY):
        sweep.make_partitions(database.engine, now=month)
    tell(
        database.engine,
        a_report(1, at=JANUARY),
        a_report(2, at=JANUARY + timedelta(hours=1)),
        a_report(3, at=TODAY),
        a_report(4, at=datetime(2019, 1, 1, tzinfo=UTC)),
    )
    with transaction(database.engine) as session:
        session.execute(text("UPDATE allowances SET posted_supplied_wh = 1000"))
        for at in (JANUARY, TODAY):
            quarantine(session, [Unreadable("lm/v1/x/up/report", b"{", "not JSON")], now=at)
    return database


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)  # noqa: S608


def deeds(engine: Engine) -> list[tuple[str, str, Any]]:
    """Return what stands in the service's own chain about reports, with who has typed the command."""
    with reading(engine) as session:
        found = queries.search(session, queries.Wanted(office="-", subject_kind="reports"), limit=9, before=None)
    told = [json.loads(one.event.payload) for one in reversed(found)]
    assert all(re.fullmatch(r"os:\S+@\S+", one["actor"]) for one in told)
    return [(one["action"], one["subject"], one["after"]) for one in told]


def test_old_months_go_and_a_report_sent_again_is_no_new_evidence(old_reports: Database) -> None:
    engine = old_reports.engine
    owner = retention.owner_engine(old_reports.owner_url)
    old = retention.look(owner, keep_months=2, now=TODAY)
    assert old.before == datetime(2026, 2, 1, tzinfo=UTC)
    assert [(month.table, month.rows, month.unsettled) for month in old.months] == [
        ("terminal_reports_2026_01", 2, [])
    ]
    assert (old.late_reports, old.unreadable) == (1, 1)
    purchases, books = count(engine, "purchases"), count(engine, "ledger_entries")
    retention.let_go(owner, old, tell=lambda _: None)
    owner.dispose()
    assert count(engine, "terminal_reports") == 1
    assert count(engine, "quarantined_messages") == 1
    assert (count(engine, "purchases"), count(engine, "ledger_entries")) == (purchases, books)
    before = old.before.isoformat()
    assert deeds(engine) == [
        ("reports.retention_begun", "terminal_reports", {"before": before, "months": ["terminal_reports_2026_01"]}),
        ("reports.month_dropped", "terminal_reports_2026_01", {"before": before, "reports": 2}),
        ("reports.strays_deleted", "terminal_reports", {"before": before, "reports": 1, "unreadable_messages": 1}),
    ]

    with transaction(engine) as session:
        before = session.get_one(TerminalLive, TERMINAL).supplied_at
        again = record(session, Batch(reports=[a_report(1, at=JANUARY)]), pace=PACE, now=TODAY)
        late = record(session, Batch(reports=[a_report(6, at=JANUARY)]), pace=PACE, now=TODAY)
        assert session.get_one(TerminalLive, TERMINAL).supplied_at == before
    # The receipt still covers what was dropped, so the terminal forgets it; what never came before is stored.
    assert [(one.upto, one.missing) for one in again.receipts] == [(4, [])]
    assert [(one.upto, one.missing) for one in late.receipts] == [(6, [(5, 5)])]
    assert count(engine, "terminal_reports") == 2
    assert count(engine, "terminal_reports_other") == 1


def test_a_report_that_comes_after_the_look_is_counted_with_what_was_dropped(old_reports: Database) -> None:
    owner = retention.owner_engine(old_reports.owner_url)
    old = retention.look(owner, keep_months=2, now=TODAY)
    with transaction(old_reports.engine) as session:
        record(session, Batch(reports=[a_report(5, at=JANUARY + timedelta(hours=2))]), pace=PACE, now=TODAY)
    told: list[str] = []
    retention.let_go(owner, old, tell=told.append)
    owner.dispose()
    assert told[0].startswith("dropped terminal_reports_2026_01: 3 reports, ")
    assert [after["reports"] for action, _, after in deeds(old_reports.engine) if action.endswith("dropped")] == [3]


def test_a_month_that_the_energy_book_is_behind_stays(old_reports: Database) -> None:
    with transaction(old_reports.engine) as session:
        session.execute(text("UPDATE allowances SET posted_supplied_wh = 999"))
    owner = retention.owner_engine(old_reports.owner_url)
    old = retention.look(owner, keep_months=2, now=TODAY)
    assert [month.unsettled for month in old.months] == [[TERMINAL]]
    with pytest.raises(NotPossible, match=f"not settled.*{TERMINAL}"):
        retention.let_go(owner, old, tell=lambda _: None)
    owner.dispose()
    assert count(old_reports.engine, "terminal_reports") == 4
    assert deeds(old_reports.engine) == []


def test_a_dry_run_needs_the_owners_url_only_and_changes_nothing(old_reports: Database) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "retention", "--keep-months", "2", "--dry-run"],
        env=bare | {"WATTGATE_MIGRATION_URL": old_reports.owner_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "terminal_reports_2026_01: 2 reports" in done.stdout
    assert "Nothing was changed." in done.stdout
    assert count(old_reports.engine, "terminal_reports") == 4


@pytest.mark.parametrize(
    ("keep_months", "now", "first"), [(1, TODAY, (2026, 3)), (3, TODAY, (2026, 1)), (4, TODAY, (2025, 12))]
)
def test_this_month_counts_as_one(keep_months: int, now: datetime, first: tuple[int, int]) -> None:
    assert retention.first_kept(keep_months, now=now) == datetime(*first, 1, tzinfo=UTC)


def test_a_watched_invariant_speaks_when_it_breaks_and_when_it_holds_again(
    database: Database, log: LogCapture
) -> None:
    odd = Invariant(name="odd", says="no office is odd", query="SELECT code FROM offices WHERE code = 'ODD'")
    watch = Watch(engine=patient_engine(database.application_url), invariants=[odd])
    engine = database.engine
    assert watch.run_once() == 0
    assert figure("wattgate_invariant_broken_rows", invariant="odd") == 0
    with transaction(engine) as session:
        session.execute(text("INSERT INTO offices VALUES (gen_random_uuid(), 'ODD', 'a', 'b')"))
    assert [watch.run_once(), watch.run_once()] == [1, 1]
    assert figure("wattgate_invariant_broken_rows", invariant="odd") == 1
    watch.invariants = [Invariant(name="odd", says="no office is odd", query="SELECT 1 WHERE false")]
    assert watch.run_once() == 0
    said = [(one["event"], one.get("rows")) for one in log.entries]
    assert said == [("an invariant is broken", [{"code": "ODD"}]), ("an invariant holds again", None)]
    assert figure("wattgate_verification_ended_timestamp_seconds") > 0


def test_a_watched_invariant_that_cannot_be_checked_stops_no_other(database: Database, log: LogCapture) -> None:
    names = ("unasked", "asked after")
    broken = Invariant(name=names[0], says="", query="SELECT 1 AS row")
    erring = Invariant(name=names[0], says="", query="SELECT 'x'::jsonb")
    holding = Invariant(name=names[1], says="", query="SELECT 1 WHERE false")
    watch = Watch(engine=patient_engine(database.application_url), invariants=[broken, holding])
    assert watch.run_once() == 1
    ended = figure("wattgate_verification_ended_timestamp_seconds")
    watch.invariants = [erring, holding]
    assert [watch.run_once(), watch.run_once()] == [1, 1]
    assert [figure("wattgate_invariant_unchecked", invariant=name) for name in names] == [1, 0]
    assert [figure("wattgate_invariant_broken_rows", invariant=name) for name in names] == [1, 0]
    assert figure("wattgate_verification_ended_timestamp_seconds") == ended
    watch.invariants = [holding, Invariant(name=names[0], says="", query="SELECT 1 WHERE false")]
    assert watch.run_once() == 0
    assert figure("wattgate_invariant_unchecked", invariant=names[0]) == 0
    assert figure("wattgate_verification_ended_timestamp_seconds") > ended
    assert [one["event"] for one in log.entries] == [
        "an invariant is broken", "an invariant could not be checked", "an invariant holds again",
    ]  # fmt: skip


def test_watching_waits_for_a_database_that_is_away(log: LogCapture) -> None:
    watch = Watch(engine=patient_engine("postgresql+psycopg://x@127.0.0.1:9/x"))
    with pytest.raises(SQLAlchemyError):
        watch.run_once()
    assert [one["event"] for one in log.entries] == ["an invariant could not be asked"]


def test_watching_can_change_nothing(database: Database, log: LogCapture) -> None:
    writes = Invariant(name="writes", says="", query="SELECT nextval('purchase_numbers') AS taken")
    watch = Watch(engine=patient_engine(database.application_url), invariants=[writes])
    stopper = threading.Timer(0.5, watch.stopping.set)
    stopper.start()
    watch.keep_watching(every_s=60)
    stopper.join()
    assert [one["event"] for one in log.entries] == ["an invariant could not be checked"]
    assert "read-only" in log.entries[0]["error"]
