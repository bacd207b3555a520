"""No fault may darken a town: after so many cuts within an hour the rest waits until a person has looked."""

from collections.abc import Iterator

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from outbox import later
from prometheus_client import REGISTRY
from sqlalchemy import text
from town import Town, a_town

from app.brake import sweep
from app.database import transaction
from app.roles import Role
from app.verification import INVARIANTS, find_broken


@pytest.fixture
def town(database: Database) -> Town:
    return a_town(database, points=10)


@pytest.fixture
def large_town(database: Database) -> Town:
    return a_town(database, points=30)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with a_desk(database, staff=[Role.OPERATOR, Role.APPROVER, Role.ADMINISTRATOR, Role.AUDITOR]) as opened:
        yield opened


def test_every_allowance_at_zero_cuts_what_the_brake_lets_through_and_no_more(large_town: Town, desk: Desk) -> None:
    town = large_town
    town.at_zero()
    town.minutes_pass(8)
    # Ten an hour for each office, four for each feeder, twenty in all; each cut with its power on record.
    assert len(town.cuts) == 20
    per_office = town.rows("SELECT office, count(*) FROM cuts_let_through GROUP BY office ORDER BY office")
    assert per_office == [("OF-1", 10), ("OF-2", 10)]
    assert max(count for (count,) in town.rows("SELECT count(*) FROM cuts_let_through GROUP BY feeder")) <= 4
    assert town.rows("SELECT count(*) FROM commands WHERE command_class = 'cut' AND ended_at IS NULL") == [(0,)]
    # Nothing is dropped: each point says what holds it, and the brake stays on although minutes pass.
    held = 'SELECT count(*) FROM control_states WHERE held @> \'[{"code": "brake_on"}]\''
    assert town.rows(held) == [(30,)]
    shown = desk.get("/brake").json()
    assert (shown["cuts_last_hour"], {pull["scope"] for pull in shown["on"]}) >= (20, {"feeder", "office"})
    sweep.count_pulled(town.database.engine)
    assert REGISTRY.get_sample_value("wattgate_brake_pulled", {"scope": "office"}) == 2
    town.minutes_pass(2)
    assert len(town.cuts) == 20


def test_a_person_looks_and_releases_it_and_the_rest_goes_on(large_town: Town, desk: Desk) -> None:
    town = large_town
    town.at_zero()
    town.minutes_pass(8)
    before = len(town.cuts)
    release_all(town, desk)
    # The offices and feeders go on, and find that the hour has brought enough in all.
    town.minutes_pass(1)
    assert ([pull["scope"] for pull in desk.get("/brake").json()["on"]], len(town.cuts)) == (["all"], before)
    release_all(town, desk)
    town.minutes_pass(3)
    assert before < len(town.cuts) <= before + 20


def release_all(town: Town, desk: Desk) -> None:
    for pull in desk.get("/brake").json()["on"]:
        path = f"/brake/pulls/{pull['id']}/release"
        assert (pull["pulled_by"], "within an hour" in pull["because"]) == (None, True)
        assert desk.post(path, {"reason": "all are overdue"}, role=Role.OPERATOR).status_code == 403
        released = desk.post(path, {"reason": "all are overdue"}, role=Role.APPROVER).json()
        assert released["released_because"] == "all are overdue"
        again = desk.post(path, {"reason": "all are overdue"}, role=Role.APPROVER)
        assert refusal(again) == (409, "brake-released")
    assert desk.get("/brake").json()["on"] == []
    with transaction(town.database.engine) as session:
        # The town's clock is ahead of the desk's.
        session.execute(text("UPDATE brake_pulls SET released_at = :now"), {"now": later(town.passed_s).now()})


def test_restores_pass_while_the_brake_is_on(town: Town, desk: Desk) -> None:
    town.at_zero()
    town.minutes_pass(5)
    tripped = next(name for name, relays in town.rounds.items() if "0" in relays)
    desk.post("/brake/pulls", {"scope": "all", "reason": "readings look wrong"}, role=Role.OPERATOR)
    with transaction(town.database.engine) as session:
        session.execute(
            text("UPDATE allowances SET paid_until_wh = 90000000 WHERE supply_point_id = :id"),
            {"id": town.terminals[tripped]},
        )
    town.minutes_pass(2)
    assert town.rounds[tripped] == "11------"


def test_a_pull_by_hand_holds_cuts_of_people_and_of_the_service(town: Town, desk: Desk) -> None:
    wanted = {"scope": "feeder", "place": "F0", "reason": "readings look wrong"}
    pulled = desk.post("/brake/pulls", wanted, role=Role.APPROVER).json()
    assert refusal(desk.post("/brake/pulls", wanted, role=Role.OPERATOR)) == (409, "brake-on")
    trip = {"action": "trip", "round": 1, "reason": "second notice has run"}
    there = desk.cut({**trip, "supply_point_id": str(town.terminals["SH-0000"])})
    assert (there.status_code, [one["code"] for one in there.json()["interlocks"]]) == (409, ["brake_on"])
    assert "approver" in there.json()["remedy"]
    elsewhere = desk.cut({**trip, "supply_point_id": str(town.terminals["SH-0005"])})
    assert elsewhere.status_code == 200
    town.at_zero()
    town.minutes_pass(3)
    assert {one.terminal_id for one in town.cuts} & {f"SH-{number:04d}" for number in range(5)} == set()
    # A second person looks before cuts go on.
    path = f"/brake/pulls/{pulled['id']}/release"
    assert refusal(desk.post(path, {"reason": "looked"}, role=Role.APPROVER)) == (409, "own-pull")


def test_what_was_armed_when_the_brake_was_pulled_is_called_back(town: Town, desk: Desk) -> None:
    trip = {"action": "trip", "round": 1, "reason": "second notice has run"}
    point = str(town.terminals["SH-0000"])
    ordered = desk.command_of(desk.cut({**trip, "supply_point_id": point}))
    town.sends()
    assert desk.get(f"/commands/{ordered['id']}").json()["state"] == "armed"
    desk.post("/brake/pulls", {"scope": "all", "reason": "a token was stolen"}, role=Role.OPERATOR)
    town.sends()
    ended = desk.get(f"/commands/{ordered['id']}").json()
    assert (ended["state"], "brake" in ended["outcome"], town.cuts) == ("cancelled", True, [])


def test_an_operator_cuts_so_many_an_hour_and_no_more(town: Town, desk: Desk) -> None:
    body = {"cuts_per_hour": 2, "power_w_per_hour": 8_000_000, "reason": "a new colleague"}
    path = "/api/v1/brake/limits/operator"
    assert desk.http.put(path, json=body, headers=desk.headers[Role.AUDITOR]).status_code == 403
    put = desk.http.put(path, json=body, headers=desk.headers[Role.ADMINISTRATOR])
    assert put.json() == {"scope": "operator", "cuts_per_hour": 2, "power_w_per_hour": 8_000_000}
    for name in ("SH-0000", "SH-0005", "SH-0006"):
        order = {"action": "trip", "round": 1, "reason": "asked for", "supply_point_id": str(town.terminals[name])}
        assert desk.cut(order).status_code == 200
    town.sends()
    town.sends()
    assert len(town.cuts) == 2
    (on,) = desk.get("/brake").json()["on"]
    assert on["scope"] == "operator"
    order = {"action": "trip", "round": 2, "reason": "asked for", "supply_point_id": str(town.terminals["SH-0009"])}
    refused = desk.cut(order)
    assert [one["code"] for one in refused.json()["interlocks"]] == ["brake_on"]


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ({"scope": "feeder", "place": "F99"}, (404, "no-such-place")),
        ({"scope": "office", "place": "nowhere"}, (404, "no-such-place")),
        ({"scope": "operator", "place": "nobody"}, (404, "no-such-place")),
        ({"scope": "all", "place": "F0"}, (422, "unreadable")),
        ({"scope": "feeder"}, (422, "unreadable")),
    ],
)
def test_a_brake_that_would_protect_nobody_is_refused(
    desk: Desk, wanted: dict[str, str], answer: tuple[int, str]
) -> None:
    refused = desk.post("/brake/pulls", {**wanted, "reason": "readings look wrong"}, role=Role.OPERATOR)
    assert (refused.status_code, answer[1] in refused.json()["type"]) == (answer[0], True)


def test_every_pull_release_and_limit_is_on_record(town: Town, desk: Desk) -> None:
    pulled = desk.post("/brake/pulls", {"scope": "all", "reason": "a token was stolen"}, role=Role.OPERATOR).json()
    desk.post(f"/brake/pulls/{pulled['id']}/release", {"reason": "it was revoked"}, role=Role.APPROVER)
    actions = [
        row[0] for row in town.rows("SELECT action FROM audit_events WHERE subject_kind = 'brake' ORDER BY at")
    ]
    assert actions == ["brake.pulled", "brake.released"]
    (listed,) = desk.get("/brake/pulls", on=False).json()["items"]
    assert (listed["id"], desk.get("/brake/pulls", on=True).json()["items"]) == (pulled["id"], [])
    with transaction(town.database.engine) as session:
        assert [(one.name, row) for one in INVARIANTS for row in find_broken(session, one)] == []
