"""Reports, events and the quarantine over HTTP."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_state, a_terminal

from app.database import new_id, transaction
from app.roles import Role
from app.terminal_reports.rules import Batch, EventRow, ReportRow, Unreadable
from app.terminal_reports.service import record

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TERMINAL = "SH-0001"


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with a_desk(database) as opened:
        yield opened


@pytest.fixture
def point_id(desk: Desk) -> UUID:
    """A supply point whose terminal told five reports, two of them at the same moment, and two events."""
    with transaction(desk.database.engine) as session:
        supply_point_id = a_contract(session).supply_point_id
        a_terminal(session, supply_point_id=supply_point_id, terminal_id=TERMINAL)
        neighbour = a_terminal(session, supply_point_id=a_contract(session).supply_point_id)
    spool_id = new_id()
    reports = [a_report(TERMINAL, spool_id, seq, minutes=min(seq, 4) * 15) for seq in range(1, 6)]
    events = [
        EventRow(TERMINAL, spool_id, seq, NOON + timedelta(minutes=seq), "relay", json.dumps({"round": 1}))
        for seq in (6, 7)
    ]
    batch = Batch(
        reports=[*reports, a_report(neighbour.id, new_id(), 1, minutes=1)],
        events=events,
        unreadable=[Unreadable(f"lm/v1/{TERMINAL}/up/report", b'{"seq": \xff}', "not UTF-8")],
    )
    with transaction(desk.database.engine) as session:
        record(session, batch, pace=desk.pace, now=NOON + timedelta(hours=2))
    return supply_point_id


def a_report(terminal_id: str, spool_id: UUID, seq: int, *, minutes: int) -> ReportRow:
    told = {"clock": "synced", "meters": [], "state": a_state()}
    return ReportRow(
        terminal_id,
        spool_id,
        seq,
        NOON + timedelta(minutes=minutes),
        backfilled=False,
        clock="synced",
        supplied_wh=seq * 1_000,
        active_power_w=480_000,
        state=a_state(),
        payload=json.dumps(told),
    )


def test_reports_come_newest_first_page_by_page(desk: Desk, point_id: UUID) -> None:
    path = f"/supply-points/{point_id}/reports"
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for _ in range(5):
        page = desk.get(path, limit=1, **cursor).json()
        seen += [report["seq"] for report in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert (seen, page["next_cursor"]) == ([5, 4, 3, 2, 1], None)
    newest = desk.get(path, limit=1).json()["items"][0]
    assert (newest["supplied_wh"], newest["state"]["rounds"], newest["clock"]) == (5_000, "11------", "synced")
    assert newest["at"] == "2026-03-02T13:00:00Z"


@pytest.mark.parametrize(
    ("span", "seqs"),
    [
        ({"from": "2026-03-02T12:45:00Z"}, [5, 4, 3]),
        ({"to": "2026-03-02T12:45:00Z"}, [2, 1]),
        ({"from": "2026-03-02T20:30:00+08:00", "to": "2026-03-02T20:45:00+08:00"}, [2]),
        ({"from": "2030-01-01T00:00:00Z"}, []),
    ],
)
def test_reports_of_a_span(desk: Desk, point_id: UUID, span: dict[str, str], seqs: list[int]) -> None:
    answer = desk.get(f"/supply-points/{point_id}/reports", **span)
    assert [report["seq"] for report in answer.json()["items"]] == seqs


def test_a_span_needs_its_time_zone(desk: Desk, point_id: UUID) -> None:
    answer = desk.get(f"/supply-points/{point_id}/reports", **{"from": "2026-03-02T12:45:00"})
    assert refusal(answer) == (422, "unreadable")


def test_events_come_newest_first(desk: Desk, point_id: UUID) -> None:
    first = desk.get(f"/supply-points/{point_id}/events", limit=1).json()
    second = desk.get(f"/supply-points/{point_id}/events", limit=1, cursor=first["next_cursor"]).json()
    told = first["items"] + second["items"]
    assert [(row["seq"], row["type"], row["detail"]) for row in told] == [
        (7, "relay", {"round": 1}),
        (6, "relay", {"round": 1}),
    ]


@pytest.mark.parametrize(
    "cursor",
    ["QQ", "MjAyNi0wMy0wMiA1IHg", "MjAyNi0wMy0wMlQxMjowMDowMCA1IDAxOTYwMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMQ"],
)
def test_a_cursor_of_somebody_else_is_refused(desk: Desk, point_id: UUID, cursor: str) -> None:
    assert refusal(desk.get(f"/supply-points/{point_id}/reports", cursor=cursor)) == (400, "cursor-unreadable")


@pytest.mark.usefixtures("point_id")
def test_the_quarantine_shows_the_reason_to_those_who_may(desk: Desk) -> None:
    for role in (Role.AUDITOR, Role.ADMINISTRATOR, Role.OPERATOR):
        (message,) = desk.get("/quarantine", role=role).json()["items"]
        assert (message["reason"], message["payload"]) == ("not UTF-8", '{"seq": \\xff}')
    assert refusal(desk.get("/quarantine", role=Role.CASHIER)) == (403, "not-allowed")
