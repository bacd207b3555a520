"""What one person may not do alone: who asks, who approves, what ends the waiting, and what was done without."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_notice, a_person, a_purchase, a_state, a_terminal
from outbox import SIGNER, Outbox, later
from people import bearer
from prometheus_client import REGISTRY
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from app.approvals import sweep
from app.clock import Clock
from app.commands.dispatch import Dispatcher
from app.commands.models import Command
from app.commands.rules import Op
from app.customers.queries import contract_by_no
from app.database import new_id, transaction
from app.load_control import service as load_control
from app.notices import service as notices
from app.notices.rules import NoticeKind
from app.refunds import service as refunds
from app.roles import Role
from app.verification import INVARIANTS, find_broken

TERMINAL = "SH-0001"
#: 100 MWh at 0.8 yuan/kWh.
PAID_FEN, PAID_WH = 8_000_000, 100_000_000
HOUR = timedelta(hours=1)
VERIFIED = text("""
    UPDATE commands SET state = 'verified', executed_at = now(), verified_at = now(), ended_at = now()
     WHERE op = 'credit' AND ended_at IS NULL
""")
ANOTHER_ROUND = """
    UPDATE approvals SET wanted = replace(wanted::text, '"round": 1', '"round": 2')::jsonb WHERE id = :id
"""


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with a_desk(database, staff=(Role.OPERATOR, Role.APPROVER)) as opened:
        now = Clock().now()
        with transaction(database.engine) as session:
            point = a_contract(session, contract_no="HT-0001").supply_point_id
            a_terminal(session, supply_point_id=point, terminal_id=TERMINAL)
            a_purchase(session, contract=contract_by_no(session, "HT-0001"), now=now, paid_fen=PAID_FEN)
            for kind in (NoticeKind.WRITTEN, NoticeKind.SECOND):
                a_notice(
                    session,
                    supply_point_id=point,
                    kind=kind,
                    issued_at=now - 240 * HOUR,
                    cut_not_before=now - HOUR,
                    served_at=now - 200 * HOUR,
                )
        tells(opened)
        yield opened


def tells(desk: Desk, *, supplied_wh: int = 1_000_000, **state: Any) -> None:
    told = a_state(**{"paid_until_wh": PAID_WH, "order_no": 1, **state})
    with transaction(desk.database.engine) as session:
        a_live_terminal(session, terminal_id=TERMINAL, now=Clock().now(), state=told, supplied_wh=supplied_wh)
        session.execute(VERIFIED)


def point(desk: Desk) -> str:
    (listed,) = desk.get("/supply-points").json()["items"]
    return str(listed["id"])


def trip(desk: Desk, round_no: int = 1) -> dict[str, Any]:
    return {"action": "trip", "round": round_no, "supply_point_id": point(desk), "reason": "asked for by dispatch"}


def asked(desk: Desk, *orders: dict[str, Any]) -> dict[str, Any]:
    answer = desk.post("/approvals/orders", {"orders": list(orders or (trip(desk),))}, role=Role.OPERATOR)
    assert answer.status_code == 201, answer.text
    request: dict[str, Any] = answer.json()
    return request


def approve(desk: Desk, request: dict[str, Any], **changes: Any) -> Any:
    body = {"digest": request["digest"], **changes}
    return desk.post(f"/approvals/{request['id']}/approve", body, role=Role.APPROVER)


def state_of(desk: Desk, request: dict[str, Any]) -> tuple[str, str | None]:
    seen = desk.get(f"/approvals/{request['id']}").json()
    return seen["state"], seen["decided_because"]


def commands(desk: Desk) -> list[str]:
    listed = desk.get("/commands").json()["items"]
    return [one["op"] for one in listed if one["op"] != "credit"]


def dispatch(desk: Desk) -> Outbox:
    def against(session: Session, command: Command, now: Any) -> list[dict[str, Any]]:
        who = refunds.reasons_against if command.op == Op.CREDIT else load_control.reasons_against
        return [one.as_json() for one in who(session, command, pace=desk.pace, now=now)]

    outbox = Outbox()
    Dispatcher(
        desk.database.engine, clock=later(0.0), signer=SIGNER, publish=outbox, reasons_against=against
    ).run_once()
    return outbox


def change(desk: Desk, statement: str, *, past_triggers: bool = False, **values: Any) -> None:
    """Somebody with the database in hand writes."""
    engine = create_engine(desk.database.superuser_url)
    try:
        with engine.begin() as connection:
            if past_triggers:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(statement), values)
    finally:
        engine.dispose()


def test_who_asks_and_who_approves_are_two_and_both_stand_on_the_command(desk: Desk) -> None:
    request = asked(desk, trip(desk), trip(desk, 2))
    assert (request["state"], request["requested_by"], commands(desk)) == ("asked", "operator.one", [])
    approved = approve(desk, request).json()
    assert (approved["state"], approved["decided_by"]) == ("approved", "approver.one")
    given = [desk.get(f"/commands/{one}").json() for one in approved["result"]["command_ids"]]
    assert [(one["args"]["round"], one["requested_by"], one["approval_id"]) for one in given] == [
        (1, "operator.one", request["id"]), (2, "operator.one", request["id"]),
    ]  # fmt: skip
    assert [claims.op for claims in dispatch(desk).claims] == ["trip", "trip"]
    with transaction(desk.database.engine) as session:
        assert [one.name for one in INVARIANTS if find_broken(session, one)] == []
        actions = session.execute(text("SELECT action FROM audit_events WHERE action LIKE 'approval%' ORDER BY at"))
        assert [row.action for row in actions] == ["approval.asked", "approval.approved"]


def test_nobody_approves_refuses_or_reviews_their_own(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        both = a_person(session, role=Role.OPERATOR, name="wu.di")
        both.roles = [Role.OPERATOR, Role.APPROVER]
        session.flush()
        header = bearer(both, settings=desk.settings)
    desk.headers[Role.OPERATOR] = desk.headers[Role.APPROVER] = header
    request = asked(desk)
    assert refusal(approve(desk, request)) == (403, "own-request")
    no = desk.post(f"/approvals/{request['id']}/refuse", {"reason": "a try"}, role=Role.APPROVER)
    assert refusal(no) == (403, "own-request")
    alone = desk.post("/approvals/alone", {"order": trip(desk)}, role=Role.OPERATOR).json()
    reviewed = desk.post(f"/approvals/{alone['id']}/review", {"finding": "all well"}, role=Role.APPROVER)
    assert refusal(reviewed) == (403, "own-request")


def test_the_approver_is_shown_what_is_so_now_the_notices_and_what_stands_against_it(desk: Desk) -> None:
    request = asked(desk)
    desk.post("/brake/pulls", {"scope": "all", "reason": "readings look wrong"}, role=Role.APPROVER)
    seen = desk.get(f"/approvals/{request['id']}", role=Role.APPROVER).json()
    (site,) = seen["supply_points"]
    assert (site["remaining_wh"], site["rounds"], site["online"], site["stage"]) == (
        PAID_WH - 1_000_000, "11------", True, "normal",
    )  # fmt: skip
    assert sorted(one["kind"] for one in site["notices"]) == ["second", "written"]
    assert all(one["served_how"] and one["cut_not_before"] for one in site["notices"])
    assert (seen["changed"], [one["code"] for one in seen["against"][0]["interlocks"]]) == ([], ["brake_on"])
    refused = approve(desk, request)
    assert refusal(refused) == (409, "cut-refused")
    assert (commands(desk), state_of(desk, request)) == ([], ("asked", None))


def a_purchase_is_booked(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        a_purchase(session, contract=contract_by_no(session, "HT-0001"), now=Clock().now())


def a_notice_is_withdrawn(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        notices.withdraw(session, UUID(point(desk)), because="test", now=Clock().now())


def supply_is_guaranteed(desk: Desk) -> None:
    body = {"action": "guarantee", "supply_point_id": point(desk), "reason": "examination day"}
    assert desk.post("/commands", body, role=Role.OPERATOR).status_code == 201


def a_relay_moves(desk: Desk) -> None:
    tells(desk, rounds="10------")


def the_safe_load_is_another(desk: Desk) -> None:
    change(desk, "UPDATE terminals SET safe_load_w = 60000")


def the_contract_ends(desk: Desk) -> None:
    change(desk, "UPDATE supply_contracts SET closed_at = now()")


CHANGES = [
    (a_purchase_is_booked, "paid_until_wh"),
    (a_notice_is_withdrawn, "written_notice"),
    (supply_is_guaranteed, "guaranteed"),
    (a_relay_moves, "rounds"),
    (the_safe_load_is_another, "what would be done"),
    (the_contract_ends, "no open contract"),
]


@pytest.mark.parametrize(("happens", "named"), CHANGES)
def test_whatever_changes_ends_the_request_and_is_named(
    desk: Desk, happens: Callable[[Desk], None], named: str
) -> None:
    request = asked(desk)
    happens(desk)
    seen = desk.get(f"/approvals/{request['id']}").json()
    assert any(named in one for one in seen["changed"])
    refused = approve(desk, request)
    assert refused.status_code == 409
    assert commands(desk) in ([], ["guarantee"])
    assert sweep.run_once(desk.database.engine, pace=desk.pace) == 1
    state, because = state_of(desk, request)
    assert (state, named in str(because)) == ("lapsed", True)


def test_what_has_lapsed_is_not_revived_when_things_are_as_they_were(desk: Desk) -> None:
    request = asked(desk)
    a_relay_moves(desk)
    sweep.run_once(desk.database.engine, pace=desk.pace)
    tells(desk)
    assert refusal(approve(desk, request)) == (409, "request-over")


def test_what_runs_and_is_used_meanwhile_changes_nothing(desk: Desk) -> None:
    request = asked(desk)
    tells(desk, supplied_wh=1_400_000)
    assert sweep.run_once(desk.database.engine, pace=desk.pace) == 0
    assert approve(desk, request).status_code == 200


def test_half_an_hour_later_it_is_over(desk: Desk) -> None:
    request = asked(desk)
    change(desk, "UPDATE approvals SET requested_at = requested_at - interval '30 min', lapses_at = now()")
    assert state_of(desk, request)[0] == "lapsed"
    assert refusal(approve(desk, request)) == (409, "request-over")
    assert sweep.run_once(desk.database.engine, pace=desk.pace) == 1
    assert state_of(desk, request) == ("lapsed", "nobody decided in time")


def test_who_approves_sends_back_what_they_saw(desk: Desk) -> None:
    first, second = asked(desk), asked(desk, trip(desk, 2))
    assert refusal(approve(desk, first, digest=second["digest"])) == (409, "not-what-was-seen")
    assert refusal(approve(desk, first, digest="no")) == (422, "unreadable")
    change(desk, ANOTHER_ROUND, id=first["id"])
    assert refusal(approve(desk, first)) == (409, "not-what-was-seen")
    assert commands(desk) == []


def test_two_approvers_at_once_give_one_command(desk: Desk) -> None:
    request = asked(desk)
    answers: list[int] = []
    together = threading.Barrier(2)

    def approve_it() -> None:
        together.wait(timeout=10)
        answers.append(approve(desk, request).status_code)

    threads = [threading.Thread(target=approve_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(answers), commands(desk)) == ([200, 409], ["trip"])


@pytest.mark.parametrize("action", ["refuse", "withdraw"])
def test_what_was_refused_or_withdrawn_is_over(desk: Desk, action: str) -> None:
    request = asked(desk)
    role = Role.APPROVER if action == "refuse" else Role.OPERATOR
    body = {"reason": "they have paid at the bank"} if action == "refuse" else {}
    other = desk.post(f"/approvals/{request['id']}/withdraw", {}, role=Role.CASHIER)
    assert refusal(other) == (403, "not-your-request")
    ended = desk.post(f"/approvals/{request['id']}/{action}", body, role=role).json()
    assert ended["state"] == {"refuse": "refused", "withdraw": "withdrawn"}[action]
    assert refusal(approve(desk, request)) == (409, "request-over")
    assert commands(desk) == []
    assert refusal(desk.post(f"/approvals/{new_id()}/withdraw", {}, role=Role.OPERATOR)) == (404, "no-such-approval")


def test_what_takes_nothing_away_or_is_ordered_twice_is_not_asked_for(desk: Desk) -> None:
    tells(desk, limit_w=200_000)
    raised = {"action": "limit", "power_w": 300_000, "supply_point_id": point(desk), "reason": "the mill is back"}
    assert refusal(desk.post("/approvals/orders", {"orders": [raised]}, role=Role.OPERATOR)) == (409, "needs-nobody")
    twice = {"orders": [trip(desk), trip(desk)]}
    assert refusal(desk.post("/approvals/orders", twice, role=Role.OPERATOR)) == (409, "ordered-twice")
    lift = {"action": "lift_limit", "supply_point_id": point(desk), "reason": "the mill is back"}
    assert refusal(desk.post("/approvals/orders", {"orders": [lift]}, role=Role.OPERATOR)) == (422, "unreadable")


def test_a_cut_without_approval_cannot_even_be_written(desk: Desk) -> None:
    written = """
        INSERT INTO commands (id, terminal_id, supply_point_id, op, args, slot, version, command_class, reason,
               requested_by, approval_id, state, issued_at, expires_at, due_at, attempts)
        SELECT gen_random_uuid(), 'SH-0001', :point, 'trip', '{"round": 2}', 'round-2', 77, 'cut', 'forged',
               id, CAST(:approval AS uuid), 'waiting', now(), now() + interval '1 min', now(), 0
          FROM staff_members WHERE sign_in_name = 'operator.one'
    """
    with pytest.raises(IntegrityError, match="no approval stands behind it"):
        change(desk, written, point=point(desk), approval=None)
    # With the approval of another cut it can be written; the interlock reads what was approved.
    approval_id = approve(desk, asked(desk)).json()["id"]
    change(desk, written, point=point(desk), approval=approval_id)
    assert [claims.args["round"] for claims in dispatch(desk).claims] == [1]
    (forged,) = [one for one in desk.get("/commands").json()["items"] if one["reason"] == "forged"]
    assert (forged["state"], "approval" in forged["outcome"]) == ("cancelled", True)
    with transaction(desk.database.engine) as session:
        assert [one.name for one in INVARIANTS if find_broken(session, one)] == ["P5 two persons"]


def test_who_breaks_the_glass_cuts_at_once_and_is_reviewed(desk: Desk) -> None:
    alone = desk.post("/approvals/alone", {"order": trip(desk)}, role=Role.OPERATOR).json()
    assert (alone["state"], alone["decided_by"], commands(desk)) == ("alone", None, ["trip"])
    assert [claims.op for claims in dispatch(desk).claims] == ["trip"]
    sweep.count_waiting(desk.database.engine, now=Clock().now())
    assert REGISTRY.get_sample_value("wattgate_done_alone_unreviewed") == 1
    assert [one["id"] for one in desk.get("/approvals", unreviewed=True).json()["items"]] == [alone["id"]]
    review = f"/approvals/{alone['id']}/review"
    reviewed = desk.post(review, {"finding": "the fire brigade had asked"}, role=Role.APPROVER).json()
    assert (reviewed["reviewed_by"], reviewed["finding"]) == ("approver.one", "the fire brigade had asked")
    assert desk.get("/approvals", unreviewed=True).json()["items"] == []
    assert refusal(desk.post(review, {"finding": "once more"}, role=Role.APPROVER)) == (409, "nothing-to-review")
    sweep.count_waiting(desk.database.engine, now=Clock().now())
    assert REGISTRY.get_sample_value("wattgate_done_alone_unreviewed") == 0


def test_without_a_review_nobody_breaks_the_glass_again_and_the_interlocks_hold_for_them(desk: Desk) -> None:
    first = desk.post("/approvals/alone", {"order": trip(desk)}, role=Role.OPERATOR).json()
    again = desk.post("/approvals/alone", {"order": trip(desk, 2)}, role=Role.OPERATOR)
    assert refusal(again) == (409, "review-first")
    change(desk, "UPDATE approvals SET review_due_at = now() - interval '1 s'", past_triggers=True)
    sweep.count_waiting(desk.database.engine, now=Clock().now())
    assert REGISTRY.get_sample_value("wattgate_done_alone_overdue") == 1
    desk.post(f"/approvals/{first['id']}/review", {"finding": "all well"}, role=Role.APPROVER)
    a_notice_is_withdrawn(desk)
    barred = desk.post("/approvals/alone", {"order": trip(desk, 2)}, role=Role.OPERATOR)
    assert refusal(barred) == (409, "cut-refused")
    many = desk.post("/approvals/alone", {"orders": [trip(desk), trip(desk, 2)]}, role=Role.OPERATOR)
    assert refusal(many) == (422, "unreadable")


def test_nobody_floods_the_approvers(desk: Desk) -> None:
    for _ in range(20):
        asked(desk)
    more = desk.post("/approvals/orders", {"orders": [trip(desk)]}, role=Role.OPERATOR)
    assert refusal(more) == (409, "too-many-asked")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE commands SET approval_id = NULL WHERE op = 'trip'",
        "UPDATE commands SET args = args || '{\"round\": 2}' WHERE op = 'trip'",
        "UPDATE commands SET command_class = 'restore' WHERE op = 'trip'",
        "UPDATE approvals SET wanted = '{}'",
        "UPDATE approvals SET digest = ''",
        "UPDATE approvals SET state = 'refused', result = NULL",
        "UPDATE approvals SET result = '{\"command_ids\": []}'",
        "UPDATE approvals SET decided_by = (SELECT id FROM staff_members WHERE sign_in_name LIKE 'cashier%')",
        """INSERT INTO approvals (id, kind, wanted, standing, digest, reason, state, requested_by, requested_at,
                  lapses_at, decided_by, decided_at, result)
           SELECT gen_random_uuid(), kind, wanted, standing, digest, reason, state, requested_by, requested_at,
                  lapses_at, decided_by, decided_at, result FROM approvals""",
    ],
)
def test_what_was_approved_and_ordered_cannot_be_written_anew_by_the_service(desk: Desk, statement: str) -> None:
    approve(desk, asked(desk))
    with pytest.raises((IntegrityError, ProgrammingError)), transaction(desk.database.engine) as session:
        session.execute(text(statement))


def test_a_refund_above_what_one_may_take_back_is_asked_for_and_approved(database: Database) -> None:
    with a_desk(database, staff=(Role.APPROVER,), refund_alone_fen=500_000) as desk:
        with transaction(database.engine) as session:
            contract = a_contract(session, contract_no="HT-0001")
            a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
            sold = a_purchase(session, contract=contract, now=Clock().now(), paid_fen=PAID_FEN)
        tells(desk, supplied_wh=0)
        body = {"purchase_no": sold.purchase_no, "kind": "refund", "energy_wh": 10_000_000, "reason": "winter"}
        refused = desk.post("/refunds", body, role=Role.CASHIER)
        assert refusal(refused) == (409, "two-persons-needed")
        assert "8,000" in refused.json()["detail"]
        request = desk.post("/approvals/refunds", body, role=Role.CASHIER).json()
        assert request["standing"][sold.purchase_no]["deposit_back_fen"] == 800_000
        approved = desk.approved(desk.post("/approvals/refunds", body, role=Role.CASHIER)).json()
        refund = desk.get(f"/refunds/{approved['result']['refund_id']}").json()
        assert (refund["energy_wh"], refund["state"]) == (10_000_000, "taking_back")
        # The other request met another standing: the energy has gone.
        assert refusal(approve(desk, request))[0] == 409


def test_a_small_refund_needs_nobody_else(database: Database) -> None:
    with a_desk(database, refund_alone_fen=80_000) as desk:
        with transaction(database.engine) as session:
            contract = a_contract(session, contract_no="HT-0001")
            a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
            sold = a_purchase(session, contract=contract, now=Clock().now(), paid_fen=PAID_FEN)
        tells(desk, supplied_wh=0)
        body = {"purchase_no": sold.purchase_no, "kind": "refund", "energy_wh": 1_000_000, "reason": "winter"}
        assert desk.post("/refunds", body, role=Role.CASHIER).status_code == 201


def test_the_brake_is_made_tighter_by_one_and_looser_by_two(desk: Desk) -> None:
    before = next(one for one in desk.get("/brake").json()["limits"] if one["scope"] == "feeder")
    looser = {
        "cuts_per_hour": before["cuts_per_hour"] + 1,
        "power_w_per_hour": before["power_w_per_hour"],
        "reason": "the feeder serves more customers now",
    }
    path = "/api/v1/brake/limits/feeder"
    alone = desk.http.put(path, json=looser, headers=desk.headers[Role.ADMINISTRATOR])
    assert refusal(alone) == (409, "two-persons-needed")
    tighter = {**looser, "cuts_per_hour": 1}
    assert desk.http.put(path, json=tighter, headers=desk.headers[Role.ADMINISTRATOR]).status_code == 200
    same = desk.post("/approvals/brake-limits", {**tighter, "scope": "feeder"}, role=Role.ADMINISTRATOR)
    assert refusal(same) == (409, "needs-nobody")
    request = desk.post("/approvals/brake-limits", {**looser, "scope": "feeder"}, role=Role.ADMINISTRATOR)
    assert desk.approved(request).json()["result"] == {"scope": "feeder"}
    now = next(one for one in desk.get("/brake").json()["limits"] if one["scope"] == "feeder")
    assert now["cuts_per_hour"] == looser["cuts_per_hour"]


def test_what_is_cut_by_itself_is_proposed_by_one_and_put_in_force_by_another(desk: Desk) -> None:
    assert refusal(desk.get("/offices/OFFICE-1/trip-policy"))[0] == 404
    policy = {
        "jurisdiction": "上海 Shanghai",
        "source": "provincial supply rules, article 30",
        "automatic_limits": True,
        "automatic_trips": True,
        "written_notice_s": 604_800,
        "second_notice_s": 1_800,
        "reason": "the province asks for seven days",
    }
    proposed = desk.post("/approvals/trip-policies", policy, role=Role.ADMINISTRATOR)
    other = desk.post("/approvals/trip-policies", policy | {"office": "nowhere"}, role=Role.ADMINISTRATOR)
    assert refusal(other)[0] == 404
    short = desk.post("/approvals/trip-policies", policy | {"second_notice_s": 60}, role=Role.ADMINISTRATOR)
    assert refusal(short) == (409, "period-out-of-range")
    again = desk.post("/approvals/trip-policies", policy, role=Role.ADMINISTRATOR).json()
    version = desk.approved(proposed).json()["result"]["version"]
    (shown,) = desk.get("/trip-policies").json()["items"]
    assert (shown["version"], shown["proposed_by"], shown["approved_by"], shown["in_force"]) == (
        version, "administrator.one", "approver.one", True,
    )  # fmt: skip
    # The other proposal was made when nothing was in force.
    assert refusal(approve(desk, again)) == (409, "changed-since")


def correction(desk: Desk) -> dict[str, Any]:
    return {"action": "refresh", "supply_point_id": point(desk), "reason": "restored from yesterday's backup"}


def test_a_terminal_that_holds_more_than_the_books_is_put_right_by_two(desk: Desk) -> None:
    tells(desk, paid_until_wh=PAID_WH + 5_000_000)
    assert refusal(desk.post("/commands", correction(desk), role=Role.OPERATOR)) == (409, "two-persons-needed")
    given = desk.command_of(desk.cut(correction(desk)))
    args = given["args"]
    assert (args["mode"], args["paid_until_wh"], args["order_no"]) == ("refresh", PAID_WH, 2)
    (sent,) = dispatch(desk).claims
    assert (sent.op, sent.args["paid_until_wh"]) == ("credit", PAID_WH)
    again = desk.post("/approvals/orders", {"orders": [correction(desk)]}, role=Role.OPERATOR)
    assert refusal(again) == (409, "credit-on-its-way")


def test_a_correction_that_would_leave_too_little_is_held(desk: Desk) -> None:
    tells(desk, paid_until_wh=PAID_WH + 5_000_000, supplied_wh=PAID_WH - 1)
    given = desk.command_of(desk.cut(correction(desk)))
    assert dispatch(desk).claims == []
    held = desk.get(f"/commands/{given['id']}").json()
    assert [one["code"] for one in held["held"]] == ["must_stay"]


def test_requests_are_listed_newest_first_and_by_state(desk: Desk) -> None:
    first, second = asked(desk), asked(desk, trip(desk, 2))
    approve(desk, first)
    listed = desk.get("/approvals").json()["items"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    waiting = desk.get("/approvals", state="asked").json()["items"]
    assert [one["id"] for one in waiting] == [second["id"]]
    assert [one["id"] for one in desk.get("/approvals", unreviewed=False).json()["items"]] == [
        second["id"], first["id"],
    ]  # fmt: skip
    assert refusal(desk.get(f"/approvals/{new_id()}")) == (404, "no-such-approval")


def test_the_same_key_asks_and_approves_once(desk: Desk) -> None:
    body = {"orders": [trip(desk)]}
    first = desk.post("/approvals/orders", body, role=Role.OPERATOR, key="k")
    assert desk.post("/approvals/orders", body, role=Role.OPERATOR, key="k").content == first.content
    path, seen = f"/approvals/{first.json()['id']}/approve", {"digest": first.json()["digest"]}
    once = desk.post(path, seen, role=Role.APPROVER, key="k")
    assert desk.post(path, seen, role=Role.APPROVER, key="k").content == once.content
    assert commands(desk) == ["trip"]
