"""The same step for many: a frozen list, a dry run, waves, a stop by itself and by hand, and the way back."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from desk import Desk, a_desk, refusal
from factories import a_live_terminal, a_person, a_purchase
from httpx import Response
from outbox import later
from people import bearer
from prometheus_client import REGISTRY
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from town import Town, Towns

from app.campaigns import sweep
from app.clock import Clock
from app.commands.rules import AckStep
from app.commands.service import Answer, note_answers
from app.customers.models import SupplyContract
from app.database import new_id, transaction
from app.embedded.postgres import EmbeddedPostgres
from app.roles import Role
from app.verification import INVARIANTS, find_broken

WIDE_OPEN = "UPDATE brake_limits SET cuts_per_hour = 10000, power_w_per_hour = 1099511627776"
LIMIT = {"action": "limit", "power_w": 100_000, "reason": "the grid is short"}


@pytest.fixture(scope="module")
def towns(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Towns]:
    with ExitStack() as stack:
        yield Towns(postgres=postgres, template=template_database, points=15, stack=stack)


@pytest.fixture
def town(towns: Towns) -> Iterator[Town]:
    with towns.another() as copied:
        yield copied


@pytest.fixture
def a_town_is_there(town: Town) -> None:
    assert len(town.terminals) == 15


@pytest.fixture
def desk(town: Town) -> Iterator[Desk]:
    with a_desk(town.database, staff=[Role.OPERATOR, Role.APPROVER, Role.AUDITOR]) as opened:
        yield opened


def write(town: Town, statement: str, **values: Any) -> None:
    engine = create_engine(town.database.superuser_url)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def make(desk: Desk, wanted: dict[str, Any], **choose: Any) -> Any:
    choice = choose or {"stage": "normal"}
    return desk.post("/campaigns", {**wanted, "choose": choice}, role=Role.OPERATOR)


def made(desk: Desk, wanted: dict[str, Any] = LIMIT, **choose: Any) -> dict[str, Any]:
    answer = make(desk, wanted, **choose)
    assert answer.status_code == 201, answer.text
    campaign: dict[str, Any] = answer.json()
    return campaign


def started(desk: Desk, campaign: dict[str, Any]) -> None:
    """Asked for by the operator, approved by the approver."""
    body = {"campaign_id": campaign["id"], "reason": "the grid is short"}
    answer = desk.approved(desk.post("/approvals/campaigns", body, role=Role.OPERATOR))
    assert answer.status_code == 200, answer.text


def seen(desk: Desk, campaign: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = desk.get(f"/campaigns/{campaign['id']}").json()
    return answer


def targets(desk: Desk, campaign: dict[str, Any]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = desk.get(f"/campaigns/{campaign['id']}/targets", limit=200).json()["items"]
    return listed


def goes_on(town: Town, turns: int = 1, *, every_s: float = 5.0) -> None:
    """Take turns as the worker does, and let the terminals answer what is sent."""
    for _ in range(turns):
        town.passed_s += every_s
        sweep.run_once(town.database.engine, pace=town.pace)
        town.sends(after_s=0)
        town.sends(after_s=0)


def until(town: Town, desk: Desk, campaign: dict[str, Any], state: str) -> dict[str, Any]:
    for _ in range(100):
        now = seen(desk, campaign)
        if now["state"] == state:
            return now
        goes_on(town)
    raise AssertionError(f"not {state}: {seen(desk, campaign)}")


def test_a_dry_run_says_who_would_be_cut_and_who_not_and_why_and_orders_nothing(town: Town, desk: Desk) -> None:
    write(
        town, "UPDATE supply_contracts SET protected = true WHERE supply_point_id = :id", id=town.terminals["SH-0003"]
    )
    write(town, "UPDATE terminal_live SET online = false WHERE terminal_id = 'SH-0004'")
    campaign = made(desk)
    assert (campaign["state"], campaign["targets"], campaign["waves"]) == ("draft", 13, [1, 10, 2])
    assert campaign["left_out_because"] == {"protected": 1, "unreachable": 1}
    assert campaign["power_at_stake_w"] == 13 * 380_000
    listed = targets(desk, campaign)
    assert [one["wave"] for one in listed] == [1, *[2] * 10, *[3] * 2, None, None]
    left_out = {one["supply_point_id"]: one["left_out"][0] for one in listed[13:]}
    assert left_out[str(town.terminals["SH-0003"])]["code"] == "protected"
    assert all(one["zh"] and one["en"] for one in left_out.values())
    assert all(one["args"]["power_w"] == 100_000 for one in listed[:13])
    goes_on(town, 3)
    assert (desk.count("commands") - 15, town.executed) == (0, [])


@pytest.mark.usefixtures("a_town_is_there")
def test_the_list_comes_in_random_order_and_is_paged(desk: Desk) -> None:
    orders = {tuple(one["supply_point_id"] for one in targets(desk, made(desk))) for _ in range(3)}
    assert len(orders) > 1
    campaign = made(desk, feeder="F1")
    first = desk.get(f"/campaigns/{campaign['id']}/targets", limit=3).json()
    rest = desk.get(f"/campaigns/{campaign['id']}/targets", limit=3, cursor=first["next_cursor"]).json()
    assert [one["position"] for one in first["items"] + rest["items"]] == [1, 2, 3, 4, 5]
    assert {one["feeder"] for one in first["items"]} == {"F1"}
    assert refusal(desk.get(f"/campaigns/{campaign['id']}/targets", cursor="bm8")) == (400, "cursor-unreadable")


@pytest.mark.usefixtures("a_town_is_there")
def test_one_person_starts_no_campaign_of_cuts(desk: Desk) -> None:
    campaign = made(desk)
    alone = desk.post(f"/campaigns/{campaign['id']}/start", {}, role=Role.OPERATOR)
    assert refusal(alone) == (409, "two-persons-needed")
    started(desk, campaign)
    body = {"campaign_id": campaign["id"], "reason": "once more"}
    assert refusal(desk.post("/approvals/campaigns", body, role=Role.OPERATOR)) == (409, "not-in-that-state")
    reminder = made(desk, {"action": "remind", "reason": "a holiday is coming"}, feeder="F0")
    body = {"campaign_id": reminder["id"], "reason": "a holiday is coming"}
    assert refusal(desk.post("/approvals/campaigns", body, role=Role.OPERATOR)) == (409, "needs-nobody")


def test_waves_go_out_one_after_the_other_and_each_target_once(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    started(desk, campaign)
    waves: list[int] = []
    for _ in range(100):
        goes_on(town)
        now = seen(desk, campaign)
        ordered = now["progress"]["done"] + now["progress"]["under_way"]
        if not waves or waves[-1] != ordered:
            waves.append(ordered)
        if now["state"] == "finished":
            break
    assert now["state"] == "finished"
    assert now["progress"] == {
        "waiting": 0, "left_out": 0, "under_way": 0, "done": 15, "refused": 0, "unknown": 0, "called_back": 0,
    }  # fmt: skip
    assert waves[0] in (0, 1)
    assert {1, 11, 15} <= set(waves)
    assert sorted(one.terminal_id for one in town.cuts) == sorted(town.terminals)
    with transaction(town.database.engine) as session:
        assert [one.name for one in INVARIANTS if find_broken(session, one)] == []


def test_a_first_terminal_that_refuses_stops_it_before_the_second(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    first = targets(desk, campaign)[0]
    name = next(name for name, point in town.terminals.items() if str(point) == first["supply_point_id"])
    town.stubborn[name] = "not_fitted"
    started(desk, campaign)
    stopped = until(town, desk, campaign, "stopped")
    assert "1 of 1 terminals refused" in stopped["stopped_because"]
    assert (stopped["progress"]["refused"], stopped["progress"]["waiting"], town.cuts) == (1, 14, [])
    sweep.count(town.database.engine)
    assert REGISTRY.get_sample_value("wattgate_campaigns", {"state": "stopped"}) == 1
    # Who made it does not let it go on; another looks, and the same refusal stops it no second time.
    assert refusal(resume(desk, stopped, role=Role.OPERATOR)) == (403, "another-resumes")
    assert resume(desk, stopped).json()["state"] == "running"
    finished = until(town, desk, campaign, "finished")
    assert (finished["progress"]["done"], finished["progress"]["refused"]) == (14, 1)


def test_terminals_that_say_nothing_stop_it(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    for one in targets(desk, campaign)[1:3]:
        name = next(name for name, point in town.terminals.items() if str(point) == one["supply_point_id"])
        town.stubborn[name] = None
    started(desk, campaign)
    for _ in range(60):
        goes_on(town)
        if seen(desk, campaign)["state"] == "stopped":
            break
        with transaction(town.database.engine) as session:
            session.execute(
                text("""UPDATE commands SET state = 'expired', ended_at = now(), outcome = 'not armed in time'
                         WHERE state IN ('waiting', 'sent') AND expires_at < :now"""),
                {"now": later(town.passed_s).now()},
            )
    stopped = seen(desk, campaign)
    assert (stopped["state"], "did not say" in stopped["stopped_because"]) == ("stopped", True)
    assert stopped["progress"]["unknown"] >= 1
    assert seen(desk, campaign)["progress"]["waiting"] >= 4


def test_a_person_stops_it_and_what_is_armed_is_called_back(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    started(desk, campaign)
    for _ in range(20):
        town.passed_s += 5
        sweep.run_once(town.database.engine, pace=town.pace)
        if seen(desk, campaign)["progress"]["under_way"]:
            break
    town.sends(after_s=0)
    assert [one.step for one in town.executed] == []
    stop = f"/campaigns/{campaign['id']}/stop"
    stopped = desk.post(stop, {"reason": "the grid has recovered"}, role=Role.APPROVER).json()
    assert (stopped["state"], stopped["progress"]["under_way"]) == ("stopped", 1)
    town.sends(after_s=0)
    goes_on(town, 5)
    assert (town.cuts, seen(desk, campaign)["progress"]["called_back"]) == ([], 1)
    (command,) = [one for one in desk.get("/commands").json()["items"] if one["op"] == "limit"]
    assert [one["code"] for one in command["held"]] == ["campaign_stopped"]
    assert refusal(desk.post(stop, {"reason": "once more"}, role=Role.APPROVER)) == (409, "not-in-that-state")
    resumed(desk, campaign)
    assert until(town, desk, campaign, "finished")["progress"]["done"] == 15


def test_the_brake_holds_the_campaign_and_drops_no_target(town: Town, desk: Desk) -> None:
    campaign = made(desk)
    started(desk, campaign)
    stopped = until(town, desk, campaign, "stopped")
    assert "brake" in stopped["stopped_because"]
    assert 1 <= len(town.cuts) <= 5
    assert stopped["progress"]["left_out"] == 0
    done = stopped["progress"]["done"]
    assert done + stopped["progress"]["waiting"] + stopped["progress"]["called_back"] == 15
    write(town, WIDE_OPEN)
    write(town, "UPDATE brake_pulls SET released_at = now(), released_by = (SELECT id FROM staff_members LIMIT 1),"
                " released_because = 'looked'")  # fmt: skip
    resumed(desk, campaign)
    assert until(town, desk, campaign, "finished")["progress"]["done"] == 15
    assert sorted(one.terminal_id for one in town.cuts) == sorted(town.terminals)


def test_who_cannot_be_reached_for_a_moment_is_asked_again_in_the_same_wave(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    started(desk, campaign)
    away = {"id": targets(desk, campaign)[-1]["supply_point_id"]}
    offline = """UPDATE terminal_live SET online = {online}
                  WHERE terminal_id = (SELECT id FROM terminals WHERE supply_point_id = :id)"""
    write(town, offline.format(online=False), **away)
    for _ in range(60):
        goes_on(town)
        if seen(desk, campaign)["progress"]["done"] == 14:
            break
    so_far = seen(desk, campaign)["progress"]
    assert (so_far["done"], so_far["waiting"], so_far["left_out"]) == (14, 1, 0)
    write(town, offline.format(online=True), **away)
    assert until(town, desk, campaign, "finished")["progress"]["done"] == 15


def test_what_somebody_else_has_ordered_meanwhile_stays_theirs(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    first = targets(desk, campaign)[0]["supply_point_id"]
    started(desk, campaign)
    quicker = desk.cut({**LIMIT, "supply_point_id": first, "reason": "another is quicker"})
    assert quicker.status_code == 200, quicker.text
    town.passed_s += 60
    sweep.run_once(town.database.engine, pace=town.pace)
    town.passed_s += 60
    sweep.run_once(town.database.engine, pace=town.pace)
    assert seen(desk, campaign)["left_out_because"] == {"ordered_already": 1}


def test_who_cannot_be_reached_all_through_the_wave_is_left_out(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    started(desk, campaign)
    write(town, "UPDATE terminal_live SET online = false WHERE terminal_id = 'SH-0007'")
    finished = until(town, desk, campaign, "finished")
    assert (finished["progress"]["done"], finished["left_out_because"]) == (14, {"unreachable": 1})


def test_who_has_bought_since_the_list_was_made_is_left_out(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    bought = town.terminals["SH-0007"]
    with transaction(town.database.engine) as session:
        contract = session.query(SupplyContract).filter_by(supply_point_id=bought).one()
        a_purchase(session, contract=contract, now=Clock().now())
    write(town, "UPDATE commands SET state = 'verified', ended_at = now() WHERE ended_at IS NULL")
    told = '{"paid_until_wh": 42000000, "order_no": 2}'
    has_it = "UPDATE terminal_live SET state = state || CAST(:told AS jsonb) WHERE terminal_id = 'SH-0007'"
    write(town, has_it, told=told)
    started(desk, campaign)
    finished = until(town, desk, campaign, "finished")
    assert (finished["progress"]["done"], finished["left_out_because"]) == (14, {"changed_since": 1})
    assert "SH-0007" not in {one.terminal_id for one in town.cuts}


def test_a_list_that_somebody_has_changed_is_not_started_and_the_service_may_not_change_it(
    town: Town, desk: Desk
) -> None:
    campaign = made(desk)
    change = """UPDATE campaign_targets SET args = jsonb_set(args, '{power_w}', '60000') WHERE position = 1"""
    with pytest.raises(ProgrammingError, match="permission denied"), transaction(town.database.engine) as session:
        session.execute(text(change))
    write(town, change)
    body = {"campaign_id": campaign["id"], "reason": "the grid is short"}
    assert refusal(desk.post("/approvals/campaigns", body, role=Role.OPERATOR)) == (409, "list-changed")


def test_what_was_done_is_given_back_feeder_by_feeder(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk, {"action": "trip", "round": 1, "reason": "the grid is short"})
    assert refusal(desk.post(f"/campaigns/{campaign['id']}/give-back", {}, role=Role.OPERATOR))[0] == 409
    started(desk, campaign)
    until(town, desk, campaign, "finished")
    assert all(relays == "01------" for relays in town.rounds.values())
    back = desk.post(f"/campaigns/{campaign['id']}/give-back", {}, role=Role.OPERATOR).json()
    assert (back["action"], back["state"], back["gives_back"]) == ("allow_close", "running", campaign["id"])
    assert (back["waves"], back["approval_id"]) == ([15], None)
    twice = desk.post(f"/campaigns/{campaign['id']}/give-back", {}, role=Role.OPERATOR)
    assert refusal(twice) == (409, "given-back-already")
    town.executed.clear()
    goes_on(town, every_s=0.1)
    goes_on(town, every_s=0.1)
    # One on each of three feeders at once; the next of each five seconds later.
    assert len(town.executed) == 3
    goes_on(town)
    assert len(town.executed) == 6
    assert until(town, desk, back, "finished")["progress"]["done"] == 15
    assert all(relays == "11------" for relays in town.rounds.values())
    again = desk.post(f"/campaigns/{back['id']}/give-back", {}, role=Role.OPERATOR)
    assert refusal(again) == (409, "nothing-to-give-back")


def test_a_reminder_needs_nobody_else_and_is_withdrawn_before_it_starts(town: Town, desk: Desk) -> None:
    remind = {"action": "remind", "reason": "a holiday is coming"}
    first = made(desk, remind, feeder="F0")
    gone = desk.post(f"/campaigns/{first['id']}/withdraw", {}, role=Role.OPERATOR).json()
    assert gone["state"] == "withdrawn"
    second = made(desk, remind, supply_point_ids=[str(one) for one in town.terminals.values()])
    assert desk.post(f"/campaigns/{second['id']}/start", {}, role=Role.OPERATOR).json()["state"] == "running"
    until(town, desk, second, "finished")
    assert desk.count("notices WHERE kind = 'reminder'") == 15
    listed = desk.get("/campaigns").json()["items"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    assert [one["id"] for one in desk.get("/campaigns", state="withdrawn").json()["items"]] == [first["id"]]


def test_a_campaign_of_cuts_is_not_resumed_the_next_day(town: Town, desk: Desk) -> None:
    campaign = made(desk)
    started(desk, campaign)
    desk.post(f"/campaigns/{campaign['id']}/stop", {"reason": "a doubt"}, role=Role.OPERATOR)
    write(town, "UPDATE campaigns SET started_at = started_at - interval '25 h'")
    assert refusal(resume(desk, seen(desk, campaign))) == (409, "too-late-to-resume")


@pytest.mark.parametrize(
    ("wanted", "choose", "expected"),
    [
        (LIMIT, {"feeder": "F99"}, (409, "nobody-to-reach")),
        (LIMIT | {"power_w": 1}, {"feeder": "F0"}, (409, "nobody-to-reach")),
        ({"action": "trip", "round": 8, "reason": "a try"}, {"feeder": "F0"}, (409, "nobody-to-reach")),
        ({"action": "explode", "reason": "a try"}, {"feeder": "F0"}, (422, "unreadable")),
        (LIMIT, {"stage": "asleep"}, (422, "unreadable")),
        (LIMIT, {"supply_point_ids": [str(UUID(int=1))] * 2}, (422, "unreadable")),
    ],
)
def test_a_campaign_that_makes_no_sense_is_refused(
    town: Town, desk: Desk, wanted: dict[str, Any], choose: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert town.terminals
    assert refusal(make(desk, wanted, **choose)) == expected
    assert refusal(desk.post("/campaigns", {**wanted, "choose": {}}, role=Role.OPERATOR)) == (422, "unreadable")
    assert desk.count("campaigns") == 0


def test_only_operators_make_campaigns_and_there_is_no_other(town: Town, desk: Desk) -> None:
    refused = desk.post("/campaigns", {**LIMIT, "choose": {"feeder": "F0"}}, role=Role.CASHIER)
    assert (refusal(refused), len(town.terminals)) == ((403, "not-allowed"), 15)
    for path in ("", "/targets"):
        assert refusal(desk.get(f"/campaigns/{new_id()}{path}")) == (404, "no-such-campaign")
    with transaction(town.database.engine) as session:
        other = a_person(session, role=Role.OPERATOR)
        header = bearer(other, settings=desk.settings)
    campaign = made(desk)
    started(desk, campaign)
    desk.post(f"/campaigns/{campaign['id']}/stop", {"reason": "a doubt"}, role=Role.OPERATOR)
    desk.headers[Role.OPERATOR] = header
    assert refusal(resume(desk, seen(desk, campaign), role=Role.OPERATOR)) == (403, "another-resumes")
    # An approver lets go on what was looked at, not what it has become since.
    assert refusal(resume(desk, campaign)) == (409, "went-on-since")
    resumed(desk, campaign)


def stopped_by_hand(desk: Desk, campaign: dict[str, Any]) -> None:
    answer = desk.post(f"/campaigns/{campaign['id']}/stop", {"reason": "a doubt"}, role=Role.OPERATOR)
    assert answer.status_code == 200


def resume(desk: Desk, shown: dict[str, Any], *, role: Role = Role.APPROVER) -> Response:
    return desk.post(f"/campaigns/{shown['id']}/resume", {"standing": shown["standing"]}, role=role)


def resumed(desk: Desk, campaign: dict[str, Any]) -> None:
    assert resume(desk, seen(desk, campaign)).status_code == 200


def until_wave(town: Town, desk: Desk, campaign: dict[str, Any], wave: int) -> None:
    for _ in range(60):
        if seen(desk, campaign)["wave"] == wave:
            return
        goes_on(town)
    raise AssertionError(f"never in wave {wave}")


def test_a_long_look_between_stop_and_resume_drops_no_cut_of_the_last_wave(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    started(desk, campaign)
    until_wave(town, desk, campaign, 3)
    stopped_by_hand(desk, campaign)
    town.passed_s += 400
    with transaction(town.database.engine) as session:
        for name in town.terminals:
            a_live_terminal(session, terminal_id=name, now=town.pace.clock.now(), state=town.state_of(name))
    resumed(desk, campaign)
    assert until(town, desk, campaign, "finished")["progress"]["done"] == 15


def test_a_campaign_is_not_finished_while_a_cut_of_it_is_on_its_way(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk, feeder="F0")
    town.stubborn = dict.fromkeys(town.terminals)
    started(desk, campaign)
    for _ in range(40):
        town.passed_s += 10
        sweep.run_once(town.database.engine, pace=town.pace)
    assert seen(desk, campaign)["state"] == "running"
    assert seen(desk, campaign)["progress"]["under_way"] == 1


def test_who_has_not_made_it_does_not_ask_for_it_and_no_old_list_is_approved(town: Town, desk: Desk) -> None:
    campaign = made(desk)
    mine = desk.headers[Role.OPERATOR]
    with transaction(town.database.engine) as session:
        other = a_person(session, role=Role.OPERATOR)
        desk.headers[Role.OPERATOR] = bearer(other, settings=desk.settings)
    body = {"campaign_id": campaign["id"], "reason": "the grid is short"}
    assert refusal(desk.post("/approvals/campaigns", body, role=Role.OPERATOR)) == (403, "asked-by-its-maker")
    desk.headers[Role.OPERATOR] = mine
    write(town, "UPDATE campaigns SET made_at = made_at - interval '25 h'")
    assert refusal(desk.post("/approvals/campaigns", body, role=Role.OPERATOR)) == (409, "draft-too-old")


def test_the_approval_of_one_campaign_carries_no_other(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    approved, other = made(desk, feeder="F0"), made(desk, feeder="F1")
    started(desk, approved)
    until(town, desk, approved, "finished")
    cut = len(town.cuts)
    with transaction(town.database.engine) as session:
        take_over = "UPDATE campaigns SET state = 'running', approval_id = :approval WHERE id = :id"
        values = {"approval": seen(desk, approved)["approval_id"], "id": other["id"]}
        session.execute(text(take_over), values)
    goes_on(town, 10)
    assert len(town.cuts) == cut
    with pytest.raises(IntegrityError, match="no more targets"), transaction(town.database.engine) as session:
        session.execute(
            text("""INSERT INTO campaign_targets
                    SELECT :id, 99, supply_point_id, feeder, wave, arguments, terminal_id, op, args, paid_until_wh,
                           power_w, after_s, NULL, left_out
                      FROM campaign_targets WHERE campaign_id = :other LIMIT 1"""),
            {"id": approved["id"], "other": other["id"]},
        )


def test_what_a_person_took_back_is_not_ordered_again_and_what_expired_early_is(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk)
    first, second = (one["supply_point_id"] for one in targets(desk, campaign)[:2])
    names = {str(point): name for name, point in town.terminals.items()}
    town.stubborn = {names[second]: None}
    started(desk, campaign)
    until_wave(town, desk, campaign, 2)
    for _ in range(12):
        goes_on(town)
    (on_its_way,) = [one for one in targets(desk, campaign) if one["progress"] == "under_way"]
    back = desk.post(
        f"/commands/{on_its_way['command_id']}/cancel", {"reason": "a hospital is behind it"}, role=Role.OPERATOR
    )
    assert back.status_code == 200
    stopped = until(town, desk, campaign, "stopped")
    assert "taken back" in stopped["stopped_because"]
    # As if the first had not been heard.
    not_heard = """
        UPDATE commands SET state = 'expired', executed_at = NULL, verified_at = NULL, operate_sent_at = NULL
         WHERE id = (SELECT command_id FROM campaign_targets WHERE position = 1)
    """
    write(town, not_heard)
    write(
        town,
        "UPDATE terminal_live SET state = state || '{\"limit_w\": null}' WHERE terminal_id = :name",
        name=names[first],
    )
    resumed(desk, campaign)
    finished = until(town, desk, campaign, "finished")
    assert (finished["progress"]["done"], finished["progress"]["called_back"], finished["progress"]["waiting"]) == (
        14, 1, 0,
    )  # fmt: skip
    assert names[second] not in {one.terminal_id for one in town.cuts}


def test_a_late_refusal_of_what_was_taken_back_jams_nothing(town: Town, desk: Desk) -> None:
    write(town, WIDE_OPEN)
    campaign = made(desk, feeder="F0")
    started(desk, campaign)
    for _ in range(20):
        town.passed_s += 5
        sweep.run_once(town.database.engine, pace=town.pace)
        if seen(desk, campaign)["progress"]["under_way"]:
            break
    stopped_by_hand(desk, campaign)
    town.sends(after_s=0)
    (first,) = [one for one in desk.get("/commands").json()["items"] if one["op"] == "limit"]
    assert first["state"] == "cancelled"
    resumed(desk, campaign)
    late = Answer(
        terminal_id=first["terminal_id"],
        command_id=UUID(first["id"]),
        step=AckStep.REFUSED,
        code="EXPIRED",
        at=town.pace.clock.now(),
        detail={},
    )
    with transaction(town.database.engine) as session:
        note_answers(session, [late], now=town.pace.clock.now())
    assert until(town, desk, campaign, "finished")["progress"]["done"] == 5


def test_a_round_that_is_tripped_already_is_left_to_who_tripped_it(town: Town, desk: Desk) -> None:
    write(
        town, "UPDATE terminal_live SET state = state || '{\"rounds\": \"01------\"}' WHERE terminal_id = 'SH-0001'"
    )
    campaign = made(desk, {"action": "trip", "round": 1, "reason": "the grid is short"}, feeder="F0")
    assert (campaign["targets"], campaign["left_out_because"]) == (4, {"tripped_already": 1})


def test_the_approver_of_a_campaign_sees_its_dry_run_and_who_would_be_left_out_now(town: Town, desk: Desk) -> None:
    campaign = made(desk, feeder="F0")
    body = {"campaign_id": campaign["id"], "reason": "the grid is short"}
    asked = desk.post("/approvals/campaigns", body, role=Role.OPERATOR).json()
    write(town, "UPDATE terminal_live SET online = false WHERE terminal_id = 'SH-0001'")
    shown = desk.get(f"/approvals/{asked['id']}", role=Role.APPROVER).json()["campaign"]
    assert (shown["targets"], shown["power_at_stake_w"], shown["left_out_now"]) == (5, 1_900_000, {"unreachable": 1})
