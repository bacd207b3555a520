"""Staged commands by hand over HTTP: what they become, which interlock refuses them, and how they are called back."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_notice, a_purchase, a_state, a_terminal
from sqlalchemy import text

from app.clock import Clock
from app.commands.books import note_sent
from app.commands.rules import AckStep, CommandState
from app.commands.service import Answer, note_answers
from app.customers.queries import contract_by_no
from app.customers.rules import ControlMode, Threshold, Thresholds
from app.customers.service import close_contract
from app.database import new_id, transaction
from app.load_control.service import Pace, reassess
from app.mqtt.messages import ARGS_MODELS, Op
from app.notices.rules import NoticeKind
from app.roles import Role
from app.terminals.queries import terminal

TERMINAL = "SH-0001"
CUTS = ("limit", "trip", "end_guarantee", "enable_control")
DAY = timedelta(days=1)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with a_desk(database) as opened:
        yield opened


def a_site(
    desk: Desk,
    *,
    state: dict[str, Any] | None = None,
    told_at: datetime | None = None,
    clock: str = "synced",
    **terms: Any,
) -> UUID:
    """A supply point with 20 MWh left whose terminal is online: rounds 1 and 2, safe load 50 kW."""
    now = Clock().now()
    with transaction(desk.database.engine) as session:
        contract = a_contract(session, contract_no="HT-0001", **terms)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
        a_purchase(session, contract=contract, now=now)
        a_live_terminal(session, terminal_id=TERMINAL, now=told_at or now, state=state, clock=clock)
        return contract.supply_point_id


def order(point_id: UUID, action: str, **arguments: Any) -> dict[str, Any]:
    return {"action": action, "supply_point_id": str(point_id), "reason": "asked for by dispatch", **arguments}


def give(desk: Desk, body: dict[str, Any], *, key: str | None = None) -> Any:
    return desk.post("/commands", body, role=Role.OPERATOR, key=key)


def given_by_two(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    """One person alone is refused; asked for and approved, it becomes a command."""
    assert refusal(give(desk, body)) == (409, "two-persons-needed")
    return desk.command_of(desk.cut(body))


def notices_served(desk: Desk, point_id: UUID, **changes: dict[str, Any]) -> None:
    """Both notices given, served, and run out, but for what ``changes`` says of a kind."""
    now = Clock().now()
    past: dict[str, Any] = {"cut_not_before": now - DAY / 24, "served_at": now - 8 * DAY}
    with transaction(desk.database.engine) as session:
        for kind in (NoticeKind.WRITTEN, NoticeKind.SECOND):
            given = {**past, **changes.get(kind.value, {})}
            a_notice(session, supply_point_id=point_id, kind=kind, issued_at=now - 9 * DAY, **given)


@pytest.mark.parametrize(
    ("action", "arguments", "op", "args"),
    [
        ("limit", {"power_w": 300_000}, "limit", {"power_w": 300_000, "safe_load_w": 50_000, "alarm_delay_min": 0}),
        (
            "limit",
            {"power_w": 50_000, "until": "2100-01-01T08:00:00+08:00"},
            "limit",
            {"power_w": 50_000, "safe_load_w": 50_000, "alarm_delay_min": 0, "until": "2100-01-01T00:00:00.000Z"},
        ),
        ("lift_limit", {}, "limit", {"power_w": None, "alarm_delay_min": 0}),
        ("allow_close", {"round": 2}, "close", {"round": 2, "manner": "allow"}),
        ("direct_close", {"round": 1}, "close", {"round": 1, "manner": "direct"}),
        ("guarantee", {}, "guarantee", {"on": True}),
        ("end_guarantee", {}, "guarantee", {"on": False}),
        ("enable_control", {}, "control", {"enabled": True, "mode": "remote"}),
        ("disable_control", {}, "control", {"enabled": False, "mode": "remote"}),
        ("configure", {"trip_order": [2, 1]}, "configure", {"trip_order": [2, 1]}),
    ],
)
def test_an_order_becomes_a_command_that_the_terminal_can_read(
    desk: Desk, action: str, arguments: dict[str, Any], op: str, args: dict[str, Any]
) -> None:
    body = order(a_site(desk), action, **arguments)
    given = given_by_two(desk, body) if action in CUTS else give(desk, body).json()
    assert (given["op"], given["args"], given["state"], given["requested_by"]) == (
        op,
        args,
        "waiting",
        "operator.one",
    )
    ARGS_MODELS[Op(op)].model_validate_json(json.dumps(given["args"]))
    assert desk.get(f"/commands/{given['id']}").json() == given | {"steps": []}


def test_a_trip_goes_out_once_both_notices_have_run(desk: Desk) -> None:
    point_id = a_site(desk)
    notices_served(desk, point_id)
    given = given_by_two(desk, order(point_id, "trip", round=1, alarm_delay_min=5))
    assert (given["op"], given["command_class"], given["expires_at"] is None) == ("trip", "cut", False)
    assert given["args"] == {"round": 1, "alarm_delay_min": 5, "limit_min": 0, "safe_load_w": 50_000}


@pytest.mark.parametrize(
    ("action", "arguments", "kind"),
    [
        ("remind", {}, "reminder"),
        ("warn", {}, "warning"),
        ("notify", {"days": 4}, "written"),
        ("notify", {"days": 1, "kind": "second"}, "second"),
    ],
)
def test_what_is_told_gives_a_notice_that_the_terminal_carries(
    desk: Desk, action: str, arguments: dict[str, Any], kind: str
) -> None:
    point_id = a_site(desk)
    if "days" in arguments:
        arguments = arguments | {"cut_not_before": (Clock().now() + arguments["days"] * DAY).isoformat()}
        del arguments["days"]
    given = give(desk, order(point_id, action, **arguments)).json()
    (notice,) = desk.get(f"/supply-points/{point_id}/notices").json()["items"]
    assert (notice["kind"], notice["command_id"], given["args"]["stage"]) == (kind, given["id"], kind)
    assert given["args"]["text"] == {"zh": notice["text_zh"], "en": notice["text_en"]}
    assert ((notice["cut_not_before"] is None), notice["issued_by"] is None) == (action != "notify", False)


def _interlocks(answer: Any) -> list[str]:
    assert refusal(answer) == (409, "cut-refused")
    problem = answer.json()
    assert all(one["zh"] and one["en"] in problem["detail"] for one in problem["interlocks"])
    return [one["code"] for one in problem["interlocks"]]


@pytest.mark.parametrize(
    ("site", "body", "codes"),
    [
        ({"protected": True}, {"action": "limit", "power_w": 300_000}, ["protected"]),
        ({"protected": True}, {"action": "end_guarantee"}, ["protected"]),
        ({"protected": True}, {"action": "enable_control"}, ["protected"]),
        ({"state": a_state(guarantee="ordered")}, {"action": "limit", "power_w": 300_000}, ["guaranteed"]),
        ({"clock": "unset"}, {"action": "limit", "power_w": 300_000}, ["estimate"]),
        ({"told_at": Clock().now() - DAY}, {"action": "limit", "power_w": 300_000}, ["stale_report"]),
        ({"state": a_state(paid_until_wh=0)}, {"action": "limit", "power_w": 300_000}, ["credit_undelivered"]),
        ({"state": a_state(paid_until_wh=0)}, {"action": "enable_control"}, ["credit_undelivered"]),
        ({}, {"action": "trip", "round": 1}, ["no_notice"]),
        (
            {"protected": True, "state": a_state(guarantee="ordered")},
            {"action": "trip", "round": 1},
            ["protected", "guaranteed", "no_notice"],
        ),
        (
            {
                "control_mode": ControlMode.LOCAL,
                "thresholds": Thresholds(
                    notice=Threshold(energy_wh=50_000_000),
                    warning=Threshold(energy_wh=50_000_000),
                    limited=Threshold(energy_wh=50_000_000),
                    trip=Threshold(energy_wh=25_000_000),
                ),
            },
            {"action": "enable_control"},
            ["no_notice"],
        ),
    ],
)
def test_every_interlock_refuses_the_cut_and_is_named(
    desk: Desk, site: dict[str, Any], body: dict[str, Any], codes: list[str]
) -> None:
    point_id = a_site(desk, **site)
    before = desk.count("commands")
    assert _interlocks(give(desk, order(point_id, **body))) == codes
    assert (desk.count("commands"), desk.count("idempotency_keys")) == (before, 0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"written": {"served_at": None}}, "notice_not_served"),
        ({"written": {"cut_not_before": Clock().now() + DAY}}, "notice_period"),
        ({"second": {"served_at": None}}, "second_notice_not_served"),
        ({"second": {"cut_not_before": Clock().now() + DAY}}, "second_notice_period"),
    ],
)
def test_a_trip_waits_for_each_notice(desk: Desk, changes: dict[str, Any], code: str) -> None:
    point_id = a_site(desk)
    notices_served(desk, point_id, **changes)
    assert _interlocks(give(desk, order(point_id, "trip", round=1))) == [code]


@pytest.mark.parametrize("column", ["online", "commandable"])
@pytest.mark.parametrize(
    "body", [{"action": "limit", "power_w": 300_000}, {"action": "end_guarantee"}, {"action": "enable_control"}]
)
def test_a_cut_needs_a_terminal_that_can_be_reached(desk: Desk, column: str, body: dict[str, Any]) -> None:
    point_id = a_site(desk)
    with transaction(desk.database.engine) as session:
        session.execute(text(f"UPDATE terminal_live SET {column} = false"))  # noqa: S608 - a name of this file
    assert _interlocks(give(desk, order(point_id, **body))) == ["unreachable"]
    assert give(desk, order(point_id, "lift_limit")).status_code == 201


def test_raising_a_limit_is_no_cut(desk: Desk) -> None:
    point_id = a_site(desk, protected=True, state=a_state(limit_w=200_000))
    raised = give(desk, order(point_id, "limit", power_w=300_000))
    assert (raised.status_code, raised.json()["command_class"]) == (201, "restore")
    assert _interlocks(give(desk, order(point_id, "limit", power_w=100_000))) == ["protected"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"action": "limit", "power_w": 49_999}, (409, "limit-out-of-range")),
        ({"action": "limit", "power_w": 1_000_001}, (409, "limit-out-of-range")),
        ({"action": "trip", "round": 3}, (409, "round-not-fitted")),
        ({"action": "allow_close", "round": 8}, (409, "round-not-fitted")),
        ({"action": "configure", "trip_order": [1, 3]}, (409, "round-not-fitted")),
        ({"action": "guarantee", "until": "2020-01-01T00:00:00Z"}, (409, "ends-in-the-past")),
        ({"action": "notify", "cut_not_before": "2020-01-01T00:00:00Z"}, (409, "notice-too-short")),
        ({"action": "configure"}, (422, "unreadable")),
        ({"action": "configure", "trip_order": [1, 1]}, (422, "unreadable")),
        ({"action": "explode"}, (422, "unreadable")),
        ({"action": "limit"}, (422, "unreadable")),
        ({"action": "trip", "round": 9}, (422, "unreadable")),
        ({"action": "trip", "round": 1, "power_w": 1}, (422, "unreadable")),
        ({"action": "remind", "reason": "no"}, (422, "unreadable")),
    ],
)
def test_an_order_that_does_not_fit_is_refused(desk: Desk, body: dict[str, Any], expected: tuple[int, str]) -> None:
    point_id = a_site(desk)
    before = desk.count("commands")
    assert refusal(give(desk, order(point_id, body.pop("action")) | body)) == expected
    assert (desk.count("commands"), desk.count("notices")) == (before, 0)


def test_a_round_that_is_tripped_already_is_not_taken_over_by_hand(desk: Desk) -> None:
    point_id = a_site(desk, state=a_state(rounds="01------"))
    notices_served(desk, point_id)
    assert refusal(give(desk, order(point_id, "trip", round=1))) == (409, "round-tripped")
    assert refusal(give(desk, order(point_id, "trip", round=2))) == (409, "two-persons-needed")


def test_where_there_is_nothing_to_command(desk: Desk) -> None:
    assert refusal(give(desk, order(new_id(), "remind"))) == (404, "no-such-supply-point")
    with transaction(desk.database.engine) as session:
        bare = a_contract(session).supply_point_id
    assert refusal(give(desk, order(bare, "remind"))) == (404, "no-terminal-fitted")
    point_id = a_site(desk)
    with transaction(desk.database.engine) as session:
        terminal(session, TERMINAL).retired_at = Clock().now()
    assert refusal(give(desk, order(point_id, "remind"))) == (409, "terminal-retired")
    with transaction(desk.database.engine) as session:
        close_contract(session, "HT-0001", now=Clock().now())
    assert refusal(give(desk, order(point_id, "remind"))) == (409, "not-under-contract")


def test_the_same_key_orders_once(desk: Desk) -> None:
    point_id = a_site(desk)
    first = give(desk, order(point_id, "remind"), key="k")
    again = give(desk, order(point_id, "remind"), key="k")
    assert (first.content, again.headers["idempotent-replayed"]) == (again.content, "true")
    assert desk.count("notices") == 1
    other = give(desk, order(point_id, "warn"), key="k")
    assert refusal(other) == (422, "idempotency-key-reused")


def test_only_operators_order_and_call_back(desk: Desk) -> None:
    point_id = a_site(desk)
    for role in set(Role) - {Role.OPERATOR}:
        assert refusal(desk.post("/commands", order(point_id, "remind"), role=role)) == (403, "not-allowed")
    cancelled = desk.post(f"/commands/{new_id()}/cancel", {"reason": "a mistake"}, role=Role.CASHIER)
    assert refusal(cancelled) == (403, "not-allowed")
    assert desk.count("notices") == 0


def test_a_reminder_does_not_push_a_notice_of_a_cut_aside(desk: Desk) -> None:
    point_id = a_site(desk)
    later = (Clock().now() + 4 * DAY).isoformat()
    first = give(desk, order(point_id, "notify", cut_not_before=later)).json()
    assert refusal(give(desk, order(point_id, "remind"))) == (409, "notice-on-its-way")
    newer = give(desk, order(point_id, "notify", cut_not_before=(Clock().now() + 5 * DAY).isoformat()))
    assert newer.status_code == 201
    assert desk.get(f"/commands/{first['id']}").json()["state"] == "superseded"


def test_a_purchase_takes_back_what_a_person_ordered_and_announced(desk: Desk) -> None:
    point_id = a_site(desk)
    notices_served(desk, point_id)
    tripped = given_by_two(desk, order(point_id, "trip", round=1))
    with transaction(desk.database.engine) as session:
        a_purchase(session, contract=contract_by_no(session, "HT-0001"), now=Clock().now())
    assert desk.get(f"/commands/{tripped['id']}").json()["outcome"] == "a purchase was booked"
    notices = desk.get(f"/supply-points/{point_id}/notices").json()["items"]
    assert [notice["withdrawn_because"] for notice in notices] == ["a purchase was booked"] * 2
    assert "no_notice" in _interlocks(give(desk, order(point_id, "trip", round=1)))


def test_a_second_notice_by_hand_stands_above_the_threshold_until_supply_is_guaranteed(desk: Desk) -> None:
    point_id = a_site(desk)
    at = Clock().now() + DAY
    assert give(desk, order(point_id, "notify", kind="second", cut_not_before=at.isoformat())).status_code == 201
    decide_anew(desk, point_id)
    (notice,) = desk.get(f"/supply-points/{point_id}/notices").json()["items"]
    assert notice["withdrawn_at"] is None
    with transaction(desk.database.engine) as session:
        guaranteed = a_state(guarantee="ordered")
        session.execute(
            text("UPDATE terminal_live SET state = CAST(:state AS jsonb)"), {"state": json.dumps(guaranteed)}
        )
    decide_anew(desk, point_id)
    (notice,) = desk.get(f"/supply-points/{point_id}/notices").json()["items"]
    assert notice["withdrawn_because"] == "the cut was averted"


def decide_anew(desk: Desk, point_id: UUID) -> None:
    pace = Pace(clock=Clock(), report_interval_s=900)
    with transaction(desk.database.engine) as session:
        reassess(session, [point_id], trigger="time", pace=pace, now=pace.clock.now())


def test_settings_that_have_not_arrived_are_carried_on(desk: Desk) -> None:
    point_id = a_site(desk)
    give(desk, order(point_id, "configure", report_interval_s=300))
    second = give(desk, order(point_id, "configure", auto_guarantee_min=60)).json()
    assert second["args"] == {"report_interval_s": 300, "auto_guarantee_min": 60}


def test_a_command_is_called_back_with_its_notice(desk: Desk) -> None:
    point_id = a_site(desk)
    later = (Clock().now() + 4 * DAY).isoformat()
    given = give(desk, order(point_id, "notify", cut_not_before=later)).json()
    assert given["recallable"] is True
    back = desk.post(f"/commands/{given['id']}/cancel", {"reason": "the wrong customer"}, role=Role.OPERATOR)
    assert back.status_code == 200
    shown = back.json()
    assert (shown["state"], shown["recallable"]) == ("cancelled", False)
    assert shown["outcome"] == "called back by operator.one: the wrong customer"
    assert [step["step"] for step in shown["steps"]] == ["cancelled"]
    (notice,) = desk.get(f"/supply-points/{point_id}/notices").json()["items"]
    assert notice["withdrawn_because"] == shown["outcome"]
    again = desk.post(f"/commands/{given['id']}/cancel", {"reason": "the wrong customer"}, role=Role.OPERATOR)
    assert refusal(again) == (409, "not-recallable")
    assert again.json()["state"] == "cancelled"


def test_what_has_gone_too_far_or_was_paid_for_is_not_called_back(desk: Desk) -> None:
    point_id = a_site(desk)
    (credit,) = desk.get("/commands", supply_point_id=str(point_id)).json()["items"]
    assert (credit["op"], credit["recallable"], credit["requested_by"]) == ("credit", False, None)
    limited = given_by_two(desk, order(point_id, "limit", power_w=300_000))
    with transaction(desk.database.engine) as session:
        session.execute(text("UPDATE commands SET state = 'operating' WHERE id = :id"), {"id": limited["id"]})
    for command_id, said in ((credit["id"], "bought or taken back"), (limited["id"], "may be acting")):
        answer = desk.post(f"/commands/{command_id}/cancel", {"reason": "a mistake"}, role=Role.OPERATOR)
        assert refusal(answer) == (409, "not-recallable")
        assert said in answer.json()["detail"]
    unknown = desk.post(f"/commands/{new_id()}/cancel", {"reason": "a mistake"}, role=Role.OPERATOR)
    assert refusal(unknown) == (404, "no-such-command")


def test_a_command_shows_its_facts_as_they_become_known(desk: Desk) -> None:
    point_id = a_site(desk)
    given = give(desk, order(point_id, "guarantee")).json()
    command_id, now = UUID(given["id"]), Clock().now()
    with transaction(desk.database.engine) as session:
        note_sent(session, [command_id], step="do", now=now)
        for step in (AckStep.RECEIVED, AckStep.EXECUTED):
            answer = Answer(terminal_id=TERMINAL, command_id=command_id, step=step, code=None, at=now)
            note_answers(session, [answer], now=now)
    shown = desk.get(f"/commands/{command_id}").json()
    assert shown["state"] == "executed"
    assert [shown[fact] is None for fact in ("sent_at", "received_at", "executed_at", "verified_at")] == [
        False,
        False,
        False,
        True,
    ]
    assert [step["step"] for step in shown["steps"]] == ["sent do", "received", "executed"]
    assert refusal(desk.get(f"/commands/{new_id()}")) == (404, "no-such-command")


def test_commands_are_listed_newest_first_by_place_and_state(desk: Desk) -> None:
    point_id = a_site(desk)
    for round_no in (1, 2):
        give(desk, order(point_id, "allow_close", round=round_no))
    first = desk.get("/commands", supply_point_id=str(point_id), limit=2).json()
    second = desk.get("/commands", supply_point_id=str(point_id), limit=2, cursor=first["next_cursor"]).json()
    assert [row["op"] for row in first["items"] + second["items"]] == [
        "close",
        "close",
        "credit",
    ]
    assert [row["args"].get("round") for row in first["items"]] == [2, 1]
    assert desk.get("/commands", state=CommandState.VERIFIED.value).json()["items"] == []
    assert desk.get("/commands", supply_point_id=str(new_id())).json()["items"] == []
    assert refusal(desk.get("/commands", state="lost")) == (422, "unreadable")
