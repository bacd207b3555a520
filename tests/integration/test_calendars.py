"""Nobody is cut off at night, at weekends or on holidays, where it is so agreed; notices name the time after it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_notice, a_policy_in_force, a_purchase, a_state, a_terminal
from sqlalchemy import text

from app.commands import service as commands
from app.commands.rules import Evidence
from app.database import transaction
from app.load_control import service as load_control
from app.load_control.facts import Cut
from app.load_control.interlocks import why_not_cut
from app.load_control.queries import pictures
from app.notices.rules import NoticeKind
from app.roles import Role

TERMINAL = "SH-0001"
PAID_WH = 21_000_000


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    now = datetime.now(UTC)
    with transaction(database.engine) as session:
        a_policy_in_force(session)
        contract = a_contract(session, contract_no="HT-1")
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
        a_purchase(session, contract=contract, now=now)
        state = a_state(paid_until_wh=PAID_WH, order_no=1)
        a_live_terminal(session, terminal_id=TERMINAL, now=now, state=state, supplied_wh=PAID_WH)
    with a_desk(database, staff=[Role.ADMINISTRATOR, Role.OPERATOR, Role.AUDITOR]) as opened:
        with transaction(database.engine) as session:
            commands.weigh(session, {TERMINAL: Evidence(at=now, state=state)}, clock=opened.pace.clock, now=now)
        yield opened


def rule(**changes: Any) -> dict[str, Any]:
    return {"bar": "day", "day": str(today()), "valid_from": "2026-01-01", "source": "article 30", **changes}


def today() -> Any:
    return datetime.now(ZoneInfo("Asia/Shanghai")).date()


def tomorrow_begins() -> datetime:
    local = datetime.now(ZoneInfo("Asia/Shanghai")).replace(hour=0, minute=0, second=0, microsecond=0)
    return (local + timedelta(days=1)).astimezone(UTC)


def point(desk: Desk) -> UUID:
    (listed,) = desk.get("/supply-points").json()["items"]
    return UUID(listed["id"])


def held(desk: Desk, *, now: datetime) -> list[str]:
    with transaction(desk.database.engine) as session:
        (decision,) = load_control.reassess(session, [point(desk)], trigger="test", pace=desk.pace, now=now)
    return [one.code for one in decision.held]


def give_notices(desk: Desk) -> None:
    now = datetime.now(UTC)
    with transaction(desk.database.engine) as session:
        for kind in (NoticeKind.WRITTEN, NoticeKind.SECOND):
            a_notice(
                session,
                supply_point_id=point(desk),
                kind=kind,
                issued_at=now - timedelta(days=9),
                cut_not_before=now - timedelta(hours=1),
                served_at=now - timedelta(days=8),
            )


def test_a_barred_time_holds_the_trip_and_not_the_limit(desk: Desk) -> None:
    give_notices(desk)
    made = desk.post("/no-cut-rules", rule(), role=Role.ADMINISTRATOR).json()
    assert held(desk, now=datetime.now(UTC)) == ["no_cut_time"]
    shown = desk.get(f"/supply-points/{point(desk)}").json()
    assert shown["stage"] == "limited"
    order = {"action": "trip", "round": 1, "reason": "energy is used up", "supply_point_id": str(point(desk))}
    refused = desk.post("/commands", order, role=Role.OPERATOR).json()
    assert [one["code"] for one in refused["interlocks"]] == ["no_cut_time"]
    assert tomorrow_begins().isoformat() in refused["interlocks"][0]["en"]
    body = {"rule_id": made["id"], "reason": "the examination is over"}
    ended = desk.approved(desk.post("/approvals/no-cut-rule-ends", body, role=Role.ADMINISTRATOR))
    assert ended.json()["result"] == {"rule_id": made["id"]}
    assert held(desk, now=datetime.now(UTC)) == []
    again = desk.post("/approvals/no-cut-rule-ends", body, role=Role.ADMINISTRATOR)
    assert refusal(again) == (409, "rule-ended")


def test_a_notice_names_the_first_time_at_which_a_cut_can_come(desk: Desk) -> None:
    day = (datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(days=3)).date()
    for offset in range(2):
        body = rule(day=str(day + timedelta(days=offset)))
        assert desk.post("/no-cut-rules", body, role=Role.ADMINISTRATOR).status_code == 201
    held(desk, now=datetime.now(UTC))
    (notice,) = desk.get(f"/supply-points/{point(desk)}/notices").json()["items"]
    expected = datetime.combine(day + timedelta(days=2), datetime.min.time(), tzinfo=ZoneInfo("Asia/Shanghai"))
    assert datetime.fromisoformat(notice["cut_not_before"]) == expected


def test_a_notice_by_hand_for_a_barred_time_is_refused_with_the_right_one(desk: Desk) -> None:
    day = (datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(days=5)).date()
    desk.post("/no-cut-rules", rule(day=str(day)), role=Role.ADMINISTRATOR)
    at = datetime.combine(day, datetime.min.time(), tzinfo=ZoneInfo("Asia/Shanghai")) + timedelta(hours=10)
    order = {"action": "notify", "supply_point_id": str(point(desk)), "reason": "energy is used up"}
    refused = desk.post("/commands", order | {"cut_not_before": at.isoformat()}, role=Role.OPERATOR)
    assert refusal(refused) == (409, "announced-for-no-cut-time")
    allowed_at = refused.json()["allowed_at"]
    assert desk.post("/commands", order | {"cut_not_before": allowed_at}, role=Role.OPERATOR).status_code == 201


def test_a_terminal_in_local_mode_is_not_let_loose_at_a_barred_time(desk: Desk) -> None:
    give_notices(desk)
    with transaction(desk.database.engine) as session:
        session.execute(text("UPDATE supply_contracts SET control_mode = 'local'"))
    desk.post("/no-cut-rules", rule(), role=Role.ADMINISTRATOR)
    now = datetime.now(UTC)
    with transaction(desk.database.engine) as session:
        (seen,) = pictures(
            session, [point(desk)], report_valid_for=timedelta(hours=1), retry_after=timedelta(seconds=1), now=now
        )
    codes = {
        cut: [one.code for one in why_not_cut(seen.facts, cut=cut, automatic=False, now=now)]
        for cut in (Cut.CONTROL, Cut.GUARANTEE_OFF, Cut.LIMIT)
    }
    assert codes == {Cut.CONTROL: ["no_cut_time"], Cut.GUARANTEE_OFF: ["no_cut_time"], Cut.LIMIT: []}


def test_rules_are_an_offices_or_everybodys_and_people_see_the_times(desk: Desk) -> None:
    with desk.database.engine.connect() as connection:
        code = connection.scalar(
            text(
                "SELECT office.code FROM offices AS office JOIN customers ON customers.office_id = office.id"
                " JOIN supply_points AS point ON point.customer_id = customers.id"
            )
        )
        other = connection.scalar(text("SELECT code FROM offices WHERE code <> :code LIMIT 1"), {"code": code})
    desk.post("/no-cut-rules", rule(office=other), role=Role.ADMINISTRATOR)
    assert desk.get(f"/offices/{code}/no-cut-times").json()["spans"] == []
    night = rule(bar="hours", day=None, from_time="18:00", until_time="08:00", office=code)
    desk.post("/no-cut-rules", night, role=Role.ADMINISTRATOR)
    times = desk.get(f"/offices/{code}/no-cut-times", days=2).json()
    assert {span["rule"] for span in times["spans"]} == {"18:00 to 08:00"}
    assert len(desk.get("/no-cut-rules", in_force=True).json()["items"]) == 2
    assert desk.get("/no-cut-rules", in_force=False).json()["items"] == []
    assert desk.get("/offices/nowhere/no-cut-times").status_code == 404
    nowhere = desk.post("/no-cut-rules", rule(office="nowhere"), role=Role.ADMINISTRATOR)
    assert refusal(nowhere) == (404, "office-unknown")


@pytest.mark.parametrize(
    "wrong",
    [
        {"bar": "hours", "day": None},
        {"bar": "hours", "day": None, "from_time": "18:00", "until_time": "18:00"},
        {"bar": "hours", "day": None, "from_time": "24:00", "until_time": "08:00"},
        {"bar": "weekends"},
        {"bar": "day", "day": None},
        {"from_time": "18:00", "until_time": "08:00"},
        {"valid_until": "2025-12-31"},
        {"country": "XX"},
        {"source": ""},
    ],
)
def test_a_rule_that_says_nothing_clear_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    refused = desk.post("/no-cut-rules", rule(**wrong), role=Role.ADMINISTRATOR)
    assert refused.status_code == 422
    assert desk.count("no_cut_rules") == 0
