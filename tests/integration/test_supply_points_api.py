"""Supply points over HTTP: what is left, which stage, why, and what the customer was told."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_policy_in_force, a_purchase, a_state, a_terminal
from sqlalchemy import event, text

from app.clock import Clock
from app.customers.service import close_contract
from app.database import new_id, transaction
from app.load_control import queries
from app.load_control.service import reassess
from app.roles import Role


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with a_desk(database, staff=Role) as opened:
        yield opened


@pytest.fixture
def warned(desk: Desk) -> UUID:
    """A supply point with 20 MWh left at 480 kW, below its warning threshold of 30 MWh."""
    now = Clock().now()
    with transaction(desk.database.engine) as session:
        a_policy_in_force(session)
        contract = a_contract(session)
        point_id = contract.supply_point_id
        terminal = a_terminal(session, supply_point_id=point_id, terminal_id="SH-0001")
        a_purchase(session, contract=contract, now=now)
        a_live_terminal(session, terminal_id=terminal.id, now=now, state=a_state(paid_until_wh=20_500_000))
    with transaction(desk.database.engine) as session:
        reassess(session, [point_id], trigger="report", pace=desk.pace, now=now)
    return point_id


def test_a_supply_point_shows_what_is_left_and_why(desk: Desk, warned: UUID) -> None:
    shown = desk.get(f"/supply-points/{warned}", role=Role.CASHIER).json()
    assert (shown["stage"], shown["remaining_wh"], shown["remaining_kwh"]) == ("warning", 20_000_000, "20000.000")
    assert (shown["paid_until_wh"], shown["credit_undelivered"]) == (21_000_000, True)
    assert (shown["recent_load_w"], shown["supply_left_h"]) == (480_000, 41)
    assert (shown["online"], shown["commandable"], shown["limit_w"], shown["guarantee"]) == (True, True, None, "off")
    assert [(one["round"], one["relay"]) for one in shown["rounds"]] == [(1, "closed"), (2, "closed")]
    assert shown["balances"] == {
        "deposit_fen": 1_680_000,
        "deposit_yuan": "16800.00",
        "receivable_fen": 0,
        "receivable_yuan": "0.00",
    }
    (because,) = shown["because"]
    assert (because["code"], because["facts"]["stage"]) == ("at_or_below", "warning")
    assert ("20,000 kWh" in because["en"], "20,000 千瓦时" in because["zh"]) == (True, True)
    left = datetime.fromisoformat(shown["trip_forecast_at"]) - Clock().now()
    assert timedelta(hours=41, minutes=35) < left < timedelta(hours=41, minutes=40)


def test_why_shows_decisions_with_their_facts_and_the_notices(desk: Desk, warned: UUID) -> None:
    why = desk.get(f"/supply-points/{warned}/why").json()
    (decision,) = why["decisions"]
    assert (decision["stage_before"], decision["stage"], decision["trigger"]) == ("normal", "warning", "report")
    assert (decision["facts"]["remaining_wh"], decision["facts"]["recent_load_w"]) == (20_000_000, 480_000)
    (notice,) = why["notices"]
    assert (notice["kind"], notice["served_at"]) == ("written", None)
    assert "20,000 千瓦时" in notice["text_zh"]
    assert desk.get(f"/supply-points/{warned}/notices").json()["items"] == why["notices"]


def test_the_proof_of_a_notice_is_recorded_once_and_control_looks_again(desk: Desk, warned: UUID) -> None:
    (notice,) = desk.get(f"/supply-points/{warned}/notices").json()["items"]
    before = _look_again_at(desk)
    path = f"/notices/{notice['id']}/served"
    assert refusal(desk.post(path, {"how": "signed"}, role=Role.CASHIER)) == (403, "not-allowed")
    assert refusal(desk.post(path, {"how": "x"}, role=Role.OPERATOR)) == (422, "unreadable")
    served = desk.post(path, {"how": "handed over at the gate, signed"}, role=Role.OPERATOR)
    assert served.status_code == 200
    assert (served.json()["served_how"], served.json()["served_at"] is None) == (
        "handed over at the gate, signed",
        False,
    )
    assert _look_again_at(desk) > before
    assert refusal(desk.post(path, {"how": "again"}, role=Role.OPERATOR)) == (409, "already-served")
    unknown = desk.post(f"/notices/{new_id()}/served", {"how": "signed"}, role=Role.OPERATOR)
    assert refusal(unknown) == (404, "no-such-notice")


def test_a_withdrawn_notice_is_served_no_more(desk: Desk, warned: UUID) -> None:
    (notice,) = desk.get(f"/supply-points/{warned}/notices").json()["items"]
    cancelled = desk.post(f"/commands/{notice['command_id']}/cancel", {"reason": "a mistake"}, role=Role.OPERATOR)
    assert cancelled.status_code == 200
    answer = desk.post(f"/notices/{notice['id']}/served", {"how": "signed"}, role=Role.OPERATOR)
    assert refusal(answer) == (409, "notice-withdrawn")


@pytest.mark.parametrize("tail", ["", "/why", "/notices", "/reports", "/events"])
def test_an_unknown_supply_point_is_told_as_such(desk: Desk, tail: str) -> None:
    assert refusal(desk.get(f"/supply-points/{new_id()}{tail}")) == (404, "no-such-supply-point")
    assert refusal(desk.get(f"/supply-points/7{tail}")) == (422, "unreadable")


def test_before_a_terminal_is_fitted_the_point_is_shown_as_it_is(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        point_id = a_contract(session, opening_supplied_wh=5_000).supply_point_id
    shown = desk.get(f"/supply-points/{point_id}").json()
    assert (shown["remaining_wh"], shown["terminal_id"], shown["online"], shown["rounds"]) == (0, None, False, [])
    assert (shown["supply_left_h"], shown["trip_forecast_at"], shown["guarantee"]) == (None, None, None)


def test_supply_points_come_in_pages_with_one_statement_each(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        for _ in range(5):
            a_terminal(session, supply_point_id=a_contract(session).supply_point_id)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(desk.database.engine, "before_cursor_execute", note)
    first = desk.get("/supply-points", limit=3).json()
    event.remove(desk.database.engine, "before_cursor_execute", note)
    second = desk.get("/supply-points", limit=3, cursor=first["next_cursor"]).json()
    numbers = [row["point_no"] for row in first["items"] + second["items"]]
    assert (len(statements), len(first["items"]), len(numbers)) == (1, 3, 5)
    assert numbers == sorted(numbers)
    assert {row["stage"] for row in first["items"]} == {"normal"}


def test_points_that_nothing_can_be_decided_for_are_never_due(desk: Desk) -> None:
    now = Clock().now()
    with transaction(desk.database.engine) as session:
        a_contract(session)
        closed = a_contract(session, contract_no="HT-CLOSED")
        a_terminal(session, supply_point_id=closed.supply_point_id)
        close_contract(session, "HT-CLOSED", now=now)
        decided = a_contract(session).supply_point_id
        a_terminal(session, supply_point_id=decided)
        retired = a_terminal(session, supply_point_id=a_contract(session).supply_point_id)
        retired.retired_at = now
    with transaction(desk.database.engine) as session:
        assert queries.due(session, now=now, limit=10) == [decided]


def _look_again_at(desk: Desk) -> Any:
    with desk.database.engine.connect() as connection:
        return connection.scalar(text("SELECT look_again_at FROM control_states"))


def test_a_contract_is_not_closed_while_supply_is_cut_and_is_once_it_is_given_back(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        contract = a_contract(session, contract_no="HT-CUT")
        a_terminal(session, supply_point_id=contract.supply_point_id)
        stage = text("UPDATE control_states SET stage = :stage WHERE supply_point_id = :id")
        session.execute(stage, {"stage": "tripped", "id": contract.supply_point_id})
    answer = desk.post("/contracts/HT-CUT/close", {}, role=Role.ACCOUNT_MANAGER)
    assert refusal(answer) == (409, "supply-still-cut")
    with transaction(desk.database.engine) as session:
        session.execute(stage, {"stage": "warning", "id": contract.supply_point_id})
    assert desk.post("/contracts/HT-CUT/close", {}, role=Role.ACCOUNT_MANAGER).status_code == 200
