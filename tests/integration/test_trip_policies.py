"""Nothing is cut by itself but under a policy that two people have approved, asked for again at the last moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_customer, a_live_terminal, a_person, a_policy_in_force, a_terminal, an_office
from ladder import (
    LIMITED_H,
    NOTICE_H,
    PACE,
    TRIP_H,
    WARNING_H,
    Factory,
    a_factory,
    limited,
    tripping,
)
from outbox import SIGNER, Outbox
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from app.clock import Clock
from app.commands.dispatch import Dispatcher
from app.commands.models import Command
from app.commands.rules import AckStep
from app.customers.rules import NoticePeriods
from app.database import transaction
from app.load_control import queries as load_control_queries
from app.load_control import service as load_control
from app.load_control.service import Pace
from app.mqtt.messages import Step
from app.notices.rules import NoticeKind
from app.policies.rules import ApprovedByProposer, BeginsInThePast, NewPolicy
from app.policies.service import put_in_force
from app.roles import Role
from app.staff.queries import OfficeUnknown
from app.verification import INVARIANTS, find_broken

NEW = NewPolicy(
    office=None, jurisdiction="上海 Shanghai", source="article 30", automatic_limits=True, automatic_trips=True
)
COLUMNS = (
    "jurisdiction", "source", "automatic_limits", "automatic_trips", "written_notice_s", "second_notice_s",
    "valid_from", "proposed_by", "approved_by", "approved_at",
)  # fmt: skip
(CUTS_UNDER_A_POLICY,) = (one for one in INVARIANTS if one.name == "P6 policies")


def approve(factory: Factory, **changes: Any) -> int:
    with transaction(factory.database.engine) as session:
        return a_policy_in_force(session, now=factory.now, **changes).policy.version


def held(factory: Factory) -> list[str]:
    return [one.code for one in factory.reassess().held]


def dispatch(factory: Factory, outbox: Outbox) -> None:
    """Send what is due at the factory's moment, with the check that the worker makes."""
    clock = Clock(started_at=datetime.now(UTC), shown_at=factory.now)
    pace = Pace(clock=clock, report_interval_s=900)

    def against(session: Session, command: Command, now: datetime) -> list[dict[str, Any]]:
        return [one.as_json() for one in load_control.reasons_against(session, command, pace=pace, now=now)]

    Dispatcher(
        factory.database.engine, clock=clock, signer=SIGNER, publish=outbox, reasons_against=against
    ).run_once()


def test_a_fresh_installation_cuts_nobody_and_says_why(database: Database) -> None:
    factory = a_factory(database, approved=False)
    factory.at(NOTICE_H).reassess()
    assert factory.told() == [NoticeKind.REMINDER]
    factory.at(TRIP_H)
    assert held(factory) == ["no_policy", "no_notice"]
    assert (factory.control().stage, factory.issued()["limit"], factory.issued()["trip"]) == ("warning", 0, 0)
    assert {NoticeKind.WRITTEN, NoticeKind.SECOND}.isdisjoint(factory.told())


def test_a_policy_that_comes_into_force_is_met_at_the_next_look_and_cuts_go_on(database: Database) -> None:
    factory = a_factory(database, approved=False)
    factory.at(TRIP_H)
    assert held(factory) == ["no_policy", "no_notice"]
    version = approve(factory, valid_from=factory.now + timedelta(seconds=15))
    with transaction(database.engine) as session:
        due = load_control_queries.due(session, now=factory.now + PACE.retry_after, limit=9)
    assert due == [factory.point]
    factory.at(TRIP_H + 0.01)
    assert held(factory) == ["no_notice"]
    assert factory.told()[-1] == NoticeKind.WRITTEN
    assert factory.decisions()[-1].facts["policy"]["version"] == version
    factory.show()
    factory.at(TRIP_H + 1)
    assert held(factory) == ["notice_period"]
    factory.obey("limit", limit_w=300_000)
    assert factory.control().stage == "limited"


def test_a_policy_that_allows_limits_only_lets_nothing_be_tripped_or_announced(database: Database) -> None:
    factory = a_factory(database, approved=False)
    version = approve(factory, automatic_trips=False)
    limited(factory).at(TRIP_H)
    decision = factory.reassess(times=2)
    assert (decision.stage.word, decision.trip_round) == ("limited", None)
    assert [one.code for one in decision.held] == ["policy_forbids", "no_second_notice"]
    assert f"version {version}" in decision.held[0].text("en")
    assert (NoticeKind.SECOND in factory.told(), factory.issued()["trip"]) == (False, 0)


def test_a_version_that_forbids_stops_a_trip_between_arming_and_operating(database: Database) -> None:
    factory, outbox = tripping(a_factory(database)), Outbox()
    (trip,) = factory.open("trip")
    dispatch(factory, outbox)
    assert [(one.op, one.step) for one in outbox.claims if one.op == "trip"] == [("trip", Step.ARM)]
    factory.answer(trip, AckStep.RECEIVED, AckStep.ARMED, active_power_w=480_000, nonce="n")
    approve(factory, automatic_limits=False, automatic_trips=False)
    dispatch(factory, outbox)
    assert [one.step for one in outbox.claims if one.op == "trip"] == [Step.ARM]
    ended = factory.command(trip.id)
    assert (ended.state, ended.operate_sent_at) == ("cancelled", None)
    assert "policy" in str(ended.outcome)
    assert held(factory) == ["policy_forbids"]
    assert factory.control().stage == "tripped"


def test_a_trip_that_was_armed_under_a_policy_still_in_force_operates(database: Database) -> None:
    factory, outbox = tripping(a_factory(database)), Outbox()
    (trip,) = factory.open("trip")
    dispatch(factory, outbox)
    factory.answer(trip, AckStep.RECEIVED, AckStep.ARMED, active_power_w=480_000, nonce="n")
    approve(factory)
    dispatch(factory, outbox)
    assert [one.step for one in outbox.claims if one.op == "trip"] == [Step.ARM, Step.OPERATE]


@pytest.mark.parametrize(
    ("agreed", "hours"), [(NoticePeriods(written_s=0, second_s=0), 96), (NoticePeriods(written_s=5 * 86_400), 120)]
)
def test_the_longer_notice_of_contract_and_policy_is_given(
    database: Database, agreed: NoticePeriods, hours: int
) -> None:
    factory = a_factory(database, approved=False, notice_periods=agreed)
    approve(factory, written_notice_s=4 * 86_400, second_notice_s=7_200)
    factory.at(NOTICE_H).reassess()
    (written,) = factory.notices(NoticeKind.WRITTEN)
    assert written.cut_not_before == factory.now + timedelta(hours=hours)
    factory.show()
    for hour in (WARNING_H, LIMITED_H):
        factory.at(hour).reassess()
        factory.show()
    factory.at(NOTICE_H + hours + TRIP_H).reassess()
    (second,) = factory.notices(NoticeKind.SECOND)
    assert second.cut_not_before == factory.now + timedelta(hours=2)


def test_an_offices_own_version_goes_before_that_of_everywhere(database: Database) -> None:
    factory = a_factory(database)
    with database.engine.connect() as connection:
        own = connection.scalar(text("SELECT code FROM offices WHERE id = (SELECT office_id FROM customers LIMIT 1)"))
    with transaction(database.engine) as session:
        other = an_office(session).code
    approve(factory, office=other, automatic_limits=False, automatic_trips=False)
    assert limited(factory).control().stage == "limited"
    approve(factory, office=own, automatic_limits=False, automatic_trips=False)
    approve(factory)
    assert factory.at(TRIP_H).reassess().held[0].code == "policy_forbids"


def test_a_cut_that_no_policy_has_allowed_is_found(database: Database) -> None:
    factory = tripping(a_factory(database))
    factory.power_w = 100_000
    factory.obey("trip", rounds="01------")
    owner = create_engine(database.superuser_url)
    with transaction(database.engine) as session:
        assert [row for one in INVARIANTS for row in find_broken(session, one)] == []
    with Session(owner) as session:
        session.execute(text("UPDATE trip_policies SET automatic_trips = false"))
        (broken,) = find_broken(session, CUTS_UNDER_A_POLICY)
    assert broken["op"] == "trip"
    owner.dispose()


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with a_desk(database, staff=[Role.OPERATOR, Role.APPROVER, Role.AUDITOR]) as opened:
        yield opened


def a_version(desk: Desk, **changes: Any) -> int:
    with transaction(desk.database.engine) as session:
        return a_policy_in_force(session, now=datetime.now(UTC), **changes).policy.version


def test_people_see_which_version_is_in_force_where_and_who_answers_for_it(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        own, other = an_office(session, code="OWN"), an_office(session, code="OTHER")
        assert own.id != other.id
    assert refusal(desk.get("/offices/OWN/trip-policy")) == (404, "no-policy-in-force")
    assert refusal(desk.get("/offices/NOWHERE/trip-policy")) == (404, "office-unknown")
    assert desk.get("/trip-policies").json() == {"items": [], "next_cursor": None}
    first, second = a_version(desk), a_version(desk, written_notice_s=5 * 86_400)
    third = a_version(desk, office="OWN", automatic_trips=False)
    fourth = a_version(desk, office="OWN", valid_from=datetime.now(UTC) + timedelta(days=1))
    shown = desk.get("/offices/OWN/trip-policy").json()
    assert (shown["version"], shown["office"], shown["automatic_trips"]) == (third, "OWN", False)
    assert shown["proposed_by"].startswith("operator.")
    assert shown["approved_by"].startswith("approver.")
    everywhere = desk.get("/offices/OTHER/trip-policy").json()
    assert (everywhere["version"], everywhere["office"], everywhere["written_notice_s"]) == (second, None, 432_000)
    listed = {
        in_force: [one["version"] for one in desk.get("/trip-policies", **asked).json()["items"]]
        for in_force, asked in (("all", {}), ("yes", {"in_force": True}), ("no", {"in_force": False}))
    }
    assert listed == {"all": [fourth, third, second, first], "yes": [third, second], "no": [fourth, first]}
    page = desk.get("/trip-policies", limit=3).json()
    rest = desk.get("/trip-policies", limit=3, cursor=page["next_cursor"]).json()
    assert ([one["version"] for one in rest["items"]], rest["next_cursor"]) == ([first], None)


def test_a_notice_by_hand_leaves_the_longer_period_too(desk: Desk) -> None:
    now = datetime.now(UTC)
    with transaction(desk.database.engine) as session:
        contract = a_contract(session, customer=a_customer(session), notice_periods=NoticePeriods(written_s=3_600))
        terminal = a_terminal(session, supply_point_id=contract.supply_point_id)
        a_live_terminal(session, terminal_id=terminal.id, now=now)
    order = {
        "action": "notify",
        "supply_point_id": str(contract.supply_point_id),
        "reason": "energy is used up",
        "cut_not_before": (now + timedelta(hours=71)).isoformat(),
    }
    a_version(desk)
    assert refusal(desk.post("/commands", order, role=Role.OPERATOR)) == (409, "notice-too-short")
    in_time = order | {"cut_not_before": (now + timedelta(hours=73)).isoformat()}
    assert desk.post("/commands", in_time, role=Role.OPERATOR).status_code == 201


def test_two_people_answer_for_a_version_and_the_record_names_both(desk: Desk) -> None:
    now = datetime.now(UTC)
    with transaction(desk.database.engine) as session:
        proposer, approver = (a_person(session, role=role) for role in (Role.OPERATOR, Role.APPROVER))
        seen = put_in_force(session, NEW, proposed_by=proposer.id, approved_by=approver.id, now=now)
        with pytest.raises(ApprovedByProposer):
            put_in_force(session, NEW, proposed_by=approver.id, approved_by=approver.id, now=now)
        with pytest.raises(BeginsInThePast):
            a_policy_in_force(session, now=now, valid_from=now - timedelta(seconds=1))
        with pytest.raises(OfficeUnknown):
            a_policy_in_force(session, now=now, office="NOWHERE")
    assert desk.count("trip_policies") == 1
    (deed,) = desk.get("/audit", action="trip_policy.put_in_force").json()["items"]
    assert (deed["subject"], deed["after"]["proposed_by"], deed["after"]["approved_by"]) == (
        f"version {seen.policy.version}",
        proposer.sign_in_name,
        approver.sign_in_name,
    )


@pytest.mark.parametrize(
    "change",
    ["UPDATE trip_policies SET automatic_trips = true", "DELETE FROM trip_policies", "TRUNCATE trip_policies"],
)
def test_a_version_is_never_changed_nor_taken_away(desk: Desk, change: str) -> None:
    a_version(desk)
    with desk.database.engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text(change))
    assert desk.count("trip_policies") == 1


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("approved_by", "proposed_by", "two_people"),
        ("written_notice_s", "259199", "written_notice"),
        ("second_notice_s", "86401", "second_notice"),
        ("automatic_limits", "false", "trips_need_limits"),
        ("valid_from", "approved_at - interval '1 second'", "not_in_the_past"),
    ],
)
def test_the_database_itself_takes_no_version_that_could_not_be_meant(
    desk: Desk, column: str, value: str, check: str
) -> None:
    a_version(desk)
    kept = {name: name for name in COLUMNS}
    values = ", ".join((kept | {column: value}).values())
    again = (
        f"INSERT INTO trip_policies (id, {', '.join(COLUMNS)}) SELECT gen_random_uuid(), {values} FROM trip_policies"  # noqa: S608 - names of our own
    )
    with desk.database.engine.connect() as connection, pytest.raises(IntegrityError, match=f"trip_policies_{check}"):
        connection.execute(text(again))
