"""Load control over days: the ladder down, the way back up, and everything that must never be cut."""

from collections import Counter
from typing import Any

import pytest
from databases import Database
from factories import a_contract, a_notice, a_state, a_terminal
from ladder import (
    CONTRACT,
    HOUR,
    LIMITED_H,
    MINUTE,
    NOTICE_H,
    PACE,
    PAID_WH,
    START,
    TERMINAL,
    TRIP_H,
    WARNING_H,
    Factory,
    a_factory,
    limited,
    tripping,
)  # fmt: skip
from sqlalchemy import text

from app.commands.rules import AckStep, CommandState, Op
from app.customers.queries import contract_by_no
from app.customers.rules import ControlMode
from app.database import transaction
from app.load_control import queries
from app.load_control.sweep import run_once
from app.notices.rules import NoticeKind
from app.terminals import presence
from app.terminals.models import TerminalLive


@pytest.fixture
def factory(database: Database) -> Factory:
    return a_factory(database)


def test_above_every_threshold_nothing_is_told_or_ordered(factory: Factory) -> None:
    decision = factory.reassess(times=3)
    assert (decision.stage.word, factory.told(), factory.issued()) == ("normal", [], Counter(credit=1))


def test_at_the_notice_threshold_the_written_notice_is_given_once(factory: Factory) -> None:
    factory.at(NOTICE_H).reassess(times=3)
    (notice,), (warning,) = factory.notices(), factory.commands("warn")
    assert factory.control().stage == "notice"
    assert (notice.kind, notice.command_id, notice.served_at, notice.issued_by) == ("written", warning.id, None, None)
    assert notice.cut_not_before == START + (NOTICE_H + 72) * HOUR
    assert warning.args == {"stage": "written", "text": {"zh": notice.text_zh, "en": notice.text_en}}
    assert "2026-03-09 12:00" in notice.text_en
    assert factory.issued() == Counter(credit=1, warn=1)


def test_at_the_warning_threshold_the_terminal_warns_once(factory: Factory) -> None:
    factory.at(NOTICE_H).reassess()
    factory.show()
    factory.at(WARNING_H).reassess(times=3)
    assert factory.control().stage == "warning"
    assert factory.told() == ["written", "warning"]
    assert [one.stage for one in factory.commands("warn")] == ["written", "warning"]


def test_a_warning_does_not_push_aside_a_written_notice_that_has_not_arrived(factory: Factory) -> None:
    factory.at(NOTICE_H).reassess()
    (written,) = factory.notices()
    factory.at(WARNING_H).reassess()
    factory.show()
    assert written.command_id is not None
    assert factory.command(written.command_id).state != CommandState.SUPERSEDED
    assert [one.served_at is not None for one in factory.notices(NoticeKind.WRITTEN)] == [True]


def test_at_the_limit_threshold_the_contract_limit_is_ordered_once(factory: Factory) -> None:
    factory.at(NOTICE_H).reassess()
    factory.show()
    factory.at(WARNING_H).reassess()
    factory.show()
    factory.at(LIMITED_H).reassess(times=3)
    (limit,) = factory.commands("limit")
    assert factory.control().stage == "limited"
    assert (limit.args, limit.command_class, limit.requested_by) == (
        {"power_w": 300_000, "alarm_delay_min": 0, "safe_load_w": 50_000},
        "cut",
        None,
    )
    assert limit.decision_id == factory.control().decision_id
    assert factory.told() == ["written", "warning", "limited"]
    factory.show()
    factory.obey("limit", limit_w=300_000)
    factory.at(LIMITED_H + 1).reassess(times=3)
    assert factory.issued() == Counter(credit=1, warn=3, limit=1)


def test_a_limit_waits_for_the_proof_that_the_written_notice_arrived(factory: Factory) -> None:
    factory.at(LIMITED_H)
    for code in ("no_notice", "notice_not_served", "notice_not_served"):
        decision = factory.reassess()
        assert (decision.stage.word, [one.code for one in decision.held]) == ("warning", [code])
    assert (factory.told(), factory.open("limit")) == (["written"], [])
    factory.show()
    assert factory.reassess().stage.word == "limited"
    assert len(factory.open("limit")) == 1


def test_a_limit_that_ran_out_is_ordered_again(factory: Factory) -> None:
    factory.at(LIMITED_H).reassess()
    factory.show()
    factory.reassess()
    factory.bring_to(factory.open("limit")[0], CommandState.EXPIRED)
    factory.now += PACE.retry_after
    factory.reassess(times=2)
    assert [one.state for one in factory.commands("limit")] == ["expired", "waiting"]


def test_at_the_trip_threshold_the_second_notice_comes_once_and_the_trip_waits_for_it(factory: Factory) -> None:
    limited(factory).at(TRIP_H)
    held = [[one.code for one in factory.reassess().held] for _ in range(3)]
    assert held == [["no_second_notice"], ["second_notice_not_served"], ["second_notice_not_served"]]
    (second,) = factory.notices(NoticeKind.SECOND)
    assert (second.issued_at, second.cut_not_before) == (factory.now, factory.now + 30 * MINUTE)
    assert (factory.control().stage, factory.open("trip")) == ("limited", [])


def test_no_trip_before_the_second_notice_has_run_out(factory: Factory) -> None:
    limited(factory).at(TRIP_H).reassess()
    factory.at(TRIP_H + 0.2)
    factory.show()
    decision = factory.at(TRIP_H + 0.5).reassess()
    assert [one.code for one in decision.held] == ["second_notice_period"]
    assert decision.held[0].facts["until"] == (START + (TRIP_H + 0.7) * HOUR).isoformat()
    assert factory.open("trip") == []
    factory.at(TRIP_H + 0.69).reassess()
    assert factory.open("trip") == []
    factory.at(TRIP_H + 0.7).reassess()
    assert len(factory.open("trip")) == 1


def test_the_least_important_round_trips_first_and_once(factory: Factory) -> None:
    tripping(factory).reassess(times=3)
    (trip,) = factory.commands("trip")
    assert factory.control().stage == "tripped"
    assert (trip.args["round"], trip.args["safe_load_w"], trip.command_class) == (1, 50_000, "cut")
    assert factory.told() == ["written", "warning", "limited", "second", "tripped"]
    assert factory.issued() == Counter(credit=1, warn=5, limit=1, trip=1)


def test_the_next_round_waits_for_the_proof_of_the_one_before_and_for_the_pause(factory: Factory) -> None:
    tripping(factory)
    assert [one.code for one in factory.reassess().held] == ["round_in_flight"]
    factory.power_w = 380_000
    factory.obey("trip", rounds="01------")
    factory.at(TRIP_H + 0.51)
    assert [one.code for one in factory.reassess(times=2).held] == ["round_pause"]
    factory.at(TRIP_H + 0.52).reassess(times=3)
    assert [one.args["round"] for one in factory.commands("trip")] == [1, 2]
    factory.power_w = 130_000
    factory.obey("trip", rounds="00------")
    factory.at(TRIP_H + 1).reassess(times=2)
    assert len(factory.commands("trip")) == 2


def test_the_series_stops_where_only_the_safe_load_is_left(factory: Factory) -> None:
    tripping(factory)
    factory.power_w = 50_000
    factory.obey("trip", rounds="01------")
    decision = factory.at(TRIP_H + 1).reassess()
    assert [one.code for one in decision.held] == ["safe_load_kept"]
    factory.power_w = 50_001
    factory.at(TRIP_H + 1.01).reassess()
    assert [one.args["round"] for one in factory.open("trip")] == [2]


def test_a_trip_that_ran_out_is_decided_anew(factory: Factory) -> None:
    tripping(factory)
    factory.bring_to(factory.open("trip")[0], CommandState.EXPIRED)
    factory.now += PACE.retry_after
    factory.reassess(times=2)
    assert [one.state for one in factory.commands("trip")] == ["expired", "waiting"]


@pytest.mark.parametrize(
    "state", [CommandState.WAITING, CommandState.SENT, CommandState.RECEIVED, CommandState.ARMED]
)
def test_a_purchase_calls_back_a_trip_that_has_not_been_operated(factory: Factory, state: CommandState) -> None:
    (trip,) = tripping(factory).open("trip")
    factory.bring_to(trip, state)
    factory.buy()
    called_back = factory.command(trip.id)
    assert (called_back.state, called_back.outcome) == ("cancelled", "a purchase was booked")
    assert called_back.ended_at == factory.now
    assert factory.commands("close") == []
    (lift,) = factory.open("limit")
    assert (lift.args["power_w"], lift.command_class) == (None, "restore")
    assert factory.control().stage == "normal"


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (CommandState.OPERATING, "unknown"),
        (CommandState.DELAYING, "unknown"),
        (CommandState.UNKNOWN, "unknown"),
        (CommandState.EXECUTED, "executed"),
    ],
)
def test_a_purchase_undoes_a_trip_that_may_have_happened(factory: Factory, state: CommandState, left: str) -> None:
    (trip,) = tripping(factory).open("trip")
    factory.bring_to(trip, state)
    factory.buy()
    (close,) = factory.open("close")
    assert (close.args, close.command_class, close.slot) == ({"round": 1, "manner": "allow"}, "restore", "round-1")
    assert close.version > trip.version
    assert factory.command(trip.id).state == left
    factory.reassess(times=2)
    assert len(factory.commands("close")) == 1


def test_a_purchase_closes_every_round_that_the_service_tripped_and_lifts_its_limit(factory: Factory) -> None:
    tripping(factory)
    factory.power_w = 380_000
    factory.obey("trip", rounds="01------")
    factory.at(TRIP_H + 1).reassess()
    factory.power_w = 130_000
    factory.obey("trip", rounds="00------")
    factory.buy()
    assert [one.args["round"] for one in factory.open("close")] == [1, 2]
    assert [one.args["power_w"] for one in factory.open("limit")] == [None]
    assert factory.told()[-1] == "restored"
    factory.reassess(times=3)
    assert factory.issued() == Counter(credit=2, warn=6, limit=2, trip=2, close=2)
    factory.at(TRIP_H + 1.1)
    for close in factory.open("close"):
        factory.answer(close, AckStep.EXECUTED)
    factory.answer(factory.open("limit")[0], AckStep.EXECUTED)
    factory.state |= {"rounds": "11------", "limit_w": None}
    factory.take_credit()
    factory.at(TRIP_H + 1.2).reassess(times=2)
    assert factory.issued() == Counter(credit=2, warn=6, limit=2, trip=2, close=2)


def test_a_purchase_calls_back_a_limit_that_waits(factory: Factory) -> None:
    factory.at(LIMITED_H).reassess()
    factory.show()
    factory.reassess()
    factory.buy()
    assert [(one.state, one.outcome) for one in factory.commands("limit")] == [("cancelled", "a purchase was booked")]
    assert factory.control().stage == "normal"


def test_a_limit_that_may_have_been_set_while_a_purchase_came_is_lifted_once_it_shows(factory: Factory) -> None:
    factory.at(LIMITED_H).reassess()
    factory.show()
    factory.reassess()
    (limit,) = factory.open("limit")
    factory.bring_to(limit, CommandState.OPERATING)
    factory.buy()
    assert len(factory.commands("limit")) == 1
    factory.answer(limit, AckStep.EXECUTED)
    factory.state |= {"limit_w": 300_000}
    factory.prove()
    factory.at(LIMITED_H + 0.1).reassess()
    assert [one.args["power_w"] for one in factory.open("limit")] == [None]


def test_without_a_purchase_a_stage_never_softens(factory: Factory) -> None:
    limited(factory)
    with transaction(factory.database.engine) as session:
        session.execute(text("UPDATE terminal_live SET supplied_wh = 0"))
    decision = factory.reassess()
    assert (decision.stage.word, [one.code for one in decision.because]) == ("limited", ["held_until_purchase"])


def test_a_round_that_a_person_tripped_stays_tripped_over_a_purchase(factory: Factory) -> None:
    limited(factory)
    factory.power_w = 250_000
    factory.trip(2, by_person=True)
    factory.obey("trip", rounds="10------")
    factory.buy()
    factory.reassess(times=2)
    assert factory.control().stage == "normal"
    assert factory.commands("close") == []


def test_a_limit_that_a_person_set_stays_over_a_purchase(factory: Factory) -> None:
    factory.at(NOTICE_H).reassess()
    factory.show()
    factory.order(Op.LIMIT, {"power_w": 200_000, "alarm_delay_min": 0}, by_person=True)
    factory.obey("limit", limit_w=200_000)
    factory.buy()
    factory.reassess(times=2)
    assert factory.control().stage == "normal"
    assert len(factory.commands("limit")) == 1


@pytest.mark.parametrize("fate", [CommandState.WAITING, CommandState.REFUSED, CommandState.EXPIRED])
def test_a_trip_of_a_person_that_did_nothing_does_not_keep_what_the_service_tripped_from_closing(
    factory: Factory, fate: CommandState
) -> None:
    tripping(factory)
    factory.power_w = 380_000
    factory.obey("trip", rounds="01------")
    factory.at(TRIP_H + 0.6)
    factory.bring_to(factory.trip(1, by_person=True), fate)
    factory.buy()
    assert [one.args["round"] for one in factory.open("close")] == [1]


PROTECTIONS = [
    ({"protected": True}, {}, ["protected"]),
    ({}, {"guarantee": "ordered"}, ["guaranteed"]),
    ({}, {"guarantee": "automatic"}, ["guaranteed"]),
    ({"control_mode": ControlMode.LOCAL}, {}, ["terminal_decides"]),
]


@pytest.mark.parametrize(("terms", "state", "codes"), PROTECTIONS)
def test_a_protected_guaranteed_or_local_point_is_warned_and_never_cut(
    database: Database, terms: dict[str, Any], state: dict[str, Any], codes: list[str]
) -> None:
    factory = a_factory(database, **terms)
    factory.state |= state
    factory.at(NOTICE_H).reassess()
    factory.show()
    for hours in (WARNING_H, LIMITED_H, TRIP_H, TRIP_H + 0.5, TRIP_H + 100):
        decision = factory.at(hours).reassess(times=2)
    assert (decision.stage.word, [one.code for one in decision.held]) == ("warning", codes)
    assert factory.issued() == Counter(credit=1, warn=2)
    assert factory.told() == ["written" if codes == ["terminal_decides"] else "reminder", "warning"]


@pytest.mark.parametrize(("terms", "state", "codes"), PROTECTIONS)
def test_a_cut_that_was_decided_is_stopped_at_the_last_moment(
    factory: Factory, terms: dict[str, Any], state: dict[str, Any], codes: list[str]
) -> None:
    (trip,) = tripping(factory).open("trip")
    assert factory.against(trip) == []
    with transaction(factory.database.engine) as session:
        contract = contract_by_no(session, CONTRACT)
        for name, value in terms.items():
            setattr(contract, name, value)
    factory.state |= state
    factory.at(TRIP_H + 0.5)
    assert factory.against(trip) == codes


def test_the_check_at_the_last_moment_follows_what_has_happened_since(factory: Factory) -> None:
    (trip,) = tripping(factory).open("trip")
    factory.now += 30 * MINUTE
    assert factory.against(trip) == []
    factory.now += MINUTE
    assert factory.against(trip) == ["stale_report"]
    factory.at(TRIP_H + 2)
    assert factory.against(trip) == []
    with transaction(factory.database.engine) as session:
        presence.note_deaths(session, {TERMINAL: "0" * 32}, now=factory.now)
    assert factory.against(trip) == ["unreachable"]
    factory.at(TRIP_H + 2)
    factory.buy()
    assert factory.against(trip) == ["credit_undelivered", "threshold_not_reached", "no_notice"]


def test_an_estimate_never_cuts(factory: Factory) -> None:
    (trip,) = tripping(factory).open("trip")
    with transaction(factory.database.engine) as session:
        session.get_one(TerminalLive, TERMINAL).clock = "unset"
    assert factory.against(trip) == ["estimate"]
    assert [one.code for one in factory.reassess().held] == ["estimate"]


def test_a_persons_trip_needs_no_threshold_but_its_notices(factory: Factory) -> None:
    trip = factory.trip(1, by_person=True)
    assert factory.against(trip) == ["no_notice"]
    with transaction(factory.database.engine) as session:
        for kind in (NoticeKind.WRITTEN, NoticeKind.SECOND):
            a_notice(
                session,
                supply_point_id=factory.point,
                kind=kind,
                issued_at=START - 100 * HOUR,
                cut_not_before=START - HOUR,
                served_at=START - 99 * HOUR,
            )
    assert factory.against(trip) == []
    assert factory.against(factory.trip(2)) == ["threshold_not_reached"]


def test_before_the_first_report_nothing_can_be_cut(database: Database) -> None:
    with transaction(database.engine) as session:
        point = a_contract(session, contract_no=CONTRACT).supply_point_id
        a_terminal(session, supply_point_id=point, terminal_id=TERMINAL)
    factory = Factory(database=database, point=point, state=a_state())
    factory.buy()
    decision = factory.reassess(times=2)
    assert (decision.stage.word, [one.code for one in decision.because]) == ("normal", ["no_report_yet"])
    assert factory.issued() == Counter(credit=1)


def test_before_the_first_purchase_nothing_is_controlled(database: Database) -> None:
    factory = a_factory(database, bought=False)
    for hours in (1, 100, 1000):
        decision = factory.at(hours).reassess()
    assert (decision.stage.word, [one.code for one in decision.because]) == ("normal", ["not_started"])
    assert (factory.told(), factory.commands()) == ([], [])
    assert [one.because[0]["code"] for one in factory.decisions()] == ["not_started"]


def test_when_to_look_again_moves_with_the_stage(factory: Factory) -> None:
    seen = []
    for hours in (0, NOTICE_H, WARNING_H, LIMITED_H):
        factory.at(hours).reassess()
        control = factory.control()
        seen.append((control.stage, control.look_again_at - factory.now, control.look_again_at_wh))
        if factory.open("warn"):
            factory.show()
    assert seen == [
        ("normal", HOUR, 50_000_000),
        ("notice", HOUR, 70_000_000),
        ("warning", HOUR, 90_000_000),
        ("limited", HOUR, 100_000_000),
    ]
    factory.at(TRIP_H).reassess()
    assert (factory.control().look_again_at - factory.now, factory.control().look_again_at_wh) == (
        PACE.retry_after,
        None,
    )


def test_a_counter_that_reaches_the_reading_has_its_point_looked_at(factory: Factory) -> None:
    factory.at(NOTICE_H - 0.001).reassess()
    with transaction(factory.database.engine) as session:
        assert queries.crossed(session, {TERMINAL}) == []
    factory.at(NOTICE_H)
    with transaction(factory.database.engine) as session:
        assert queries.crossed(session, {TERMINAL}) == [factory.point]
        assert queries.crossed(session, {"SH-NONE"}) == []


def test_the_sweep_looks_at_what_is_due_and_then_leaves_it(factory: Factory) -> None:
    assert run_once(factory.database.engine, pace=PACE) == 1
    assert run_once(factory.database.engine, pace=PACE) == 0
    factory.buy()
    assert factory.control().look_again_at == factory.now
    assert run_once(factory.database.engine, pace=PACE) == 1


def test_every_decision_is_recorded_with_its_reasons_and_facts_and_only_news_is(factory: Factory) -> None:
    tripping(factory).reassess(times=2, trigger="time")
    shown = [(one.stage_before, one.stage, [held["code"] for held in one.held]) for one in factory.decisions()]
    assert shown == [
        ("normal", "notice", []),
        ("notice", "warning", []),
        ("warning", "limited", []),
        ("limited", "limited", ["no_second_notice"]),
        ("limited", "tripped", []),
    ]
    first = factory.decisions()[0]
    assert (first.trigger, first.decided_at, first.facts["remaining_wh"]) == (
        "report",
        START + NOTICE_H * HOUR,
        50_000_000,
    )
    assert first.because == [
        {
            "code": "at_or_below",
            "facts": {"stage": "notice", "level_wh": 50_000_000, "remaining_wh": 50_000_000},
            "zh": first.because[0]["zh"],
            "en": "50,000 kWh left, at or below the notice threshold of 50,000 kWh.",
        }
    ]
    (trip,) = factory.commands("trip")
    assert trip.decision_id == factory.decisions()[-1].id
    assert trip.reason == "-250 kWh left, at or below the trip threshold of 0 kWh."


def test_notices_are_withdrawn_when_the_stage_is_normal_again(factory: Factory) -> None:
    tripping(factory).buy()
    announced = [*factory.notices(NoticeKind.WRITTEN), *factory.notices(NoticeKind.SECOND)]
    assert [(one.withdrawn_at, one.withdrawn_because) for one in announced] == [
        (factory.now, "the allowance is above its thresholds")
    ] * 2


def test_a_withdrawn_notice_does_not_count_for_the_next_run_out(factory: Factory) -> None:
    tripping(factory).buy()
    factory.take_credit()
    factory.at(2 * TRIP_H + 1)
    decision = factory.reassess()
    assert (decision.stage.word, [one.code for one in decision.held]) == ("warning", ["no_notice"])
    assert [one.withdrawn_at is None for one in factory.notices(NoticeKind.WRITTEN)] == [False, True]
    assert [one.state for one in factory.commands("trip")] == ["cancelled"]
    assert [one.code for one in factory.reassess().held] == ["notice_not_served"]


def test_after_a_purchase_that_gives_supply_back_the_next_cut_needs_a_second_notice_of_its_own(
    factory: Factory,
) -> None:
    tripping(factory)
    factory.power_w = 380_000
    factory.obey("trip", rounds="01------")
    # 20 MWh: above the limit threshold, below that of a warning, so the stage is not normal.
    factory.buy(paid_fen=1_600_000)
    assert factory.control().stage == "warning"
    (close,) = factory.open("close")
    factory.answer(close, AckStep.EXECUTED)
    factory.state |= {"rounds": "11------"}
    factory.take_credit()
    factory.at(TRIP_H + 45).reassess()
    assert factory.open("trip") == []
    assert len(factory.notices(NoticeKind.SECOND)) == 2


def test_a_purchase_in_normal_stage_only_has_the_point_looked_at_again(factory: Factory) -> None:
    factory.reassess()
    decided = len(factory.decisions())
    factory.now += MINUTE
    factory.buy()
    assert factory.control().look_again_at == factory.now
    assert (len(factory.decisions()), factory.issued()) == (decided, Counter(credit=2))
    factory.take_credit()
    factory.at(1).reassess()
    assert factory.control().look_again_at_wh == 2 * PAID_WH - 50_000_000


def test_an_answer_shows_that_a_command_was_sent_even_if_nobody_lived_to_say_so(factory: Factory) -> None:
    factory.buy()
    (credit,) = factory.open("credit")
    assert credit.sent_at is None
    factory.answer(credit, AckStep.RECEIVED)
    assert factory.command(credit.id).sent_at == factory.now


def test_a_proof_shows_that_a_command_was_sent_even_if_nobody_lived_to_say_so(factory: Factory) -> None:
    factory.buy()
    (credit,) = factory.open("credit")
    factory.take_credit()
    proved = factory.command(credit.id)
    assert proved.state == CommandState.VERIFIED
    assert None not in (proved.sent_at, proved.received_at, proved.executed_at)
