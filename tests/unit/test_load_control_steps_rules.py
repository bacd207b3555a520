"""The check at the last moment, the commands that a decision asks for, and when a notice lets a cut come."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.commands.rules import CommandClass, class_of
from app.commands.rules import Op as CommandOp
from app.customers.rules import ControlMode, Threshold, Thresholds
from app.load_control.facts import Cut, Facts, NoticeGiven, Round, Stage
from app.load_control.interlocks import why_not_cut
from app.load_control.reasons import Reason
from app.load_control.rules import StageDecision, Step, steps
from app.mqtt.messages import ARGS_MODELS, Op
from app.notices.rules import NoticeKind
from app.policies.rules import Policy

KWH = 1000
NOW = datetime(2026, 3, 9, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WRITTEN = NoticeGiven(
    kind=NoticeKind.WRITTEN, cut_not_before=NOW - timedelta(days=1), served_at=NOW - timedelta(days=4)
)
SECOND = NoticeGiven(kind=NoticeKind.SECOND, cut_not_before=NOW - HOUR, served_at=NOW - HOUR)
ROUNDS = (
    Round(round=1, importance=3, load_w=200_000, relay="1"),
    Round(round=2, importance=1, load_w=100_000, relay="1"),
)
POLICY = Policy(
    version=3, automatic_limits=True, automatic_trips=True, written_notice_s=259_200, second_notice_s=1_800
)
#: Tripping is decided, and nothing stands against it.
READY = Facts(
    paid_until_wh=100_000 * KWH,
    supplied_wh=100_000 * KWH,
    supplied_at=NOW,
    thresholds=Thresholds(
        notice=Threshold(energy_wh=50_000 * KWH),
        warning=Threshold(energy_wh=30_000 * KWH),
        limited=Threshold(energy_wh=10_000 * KWH),
        trip=Threshold(energy_wh=0),
    ),
    policy=POLICY,
    active_power_w=411_000,
    safe_load_w=40_000,
    contract_limit_w=300_000,
    rounds=ROUNDS,
    written_notice=WRITTEN,
    second_notice=SECOND,
    stage=Stage.TRIPPED,
    stage_paid_until_wh=100_000 * KWH,
)
UNSURE: list[tuple[str, dict[str, Any]]] = [
    ("estimate", {"estimated": True}),
    ("stale_report", {"supplied_at": NOW - HOUR}),
    ("stale_report", {"supplied_at": None}),
    ("credit_undelivered", {"credit_undelivered": True}),
    ("unreachable", {"reachable": False}),
]
NOTICE_WANTING: list[tuple[str, dict[str, Any]]] = [
    ("no_notice", {"written_notice": None}),
    ("notice_not_served", {"written_notice": replace(WRITTEN, served_at=None)}),
    ("notice_period", {"written_notice": replace(WRITTEN, served_at=NOW)}),
    ("no_second_notice", {"second_notice": None}),
    ("second_notice_not_served", {"second_notice": replace(SECOND, served_at=None)}),
    ("second_notice_period", {"second_notice": replace(SECOND, served_at=NOW)}),
]
LIMITS_ONLY = replace(POLICY, automatic_trips=False)
NOT_PERMITTED: list[tuple[str, dict[str, Any]]] = [
    ("no_policy", {"policy": None}),
    ("policy_forbids", {"policy": replace(POLICY, automatic_limits=False, automatic_trips=False)}),
]
NEVER: list[tuple[str, dict[str, Any]]] = [("protected", {"protected": True}), ("guaranteed", {"guaranteed": True})]
LOCAL = {"control_mode": ControlMode.LOCAL}


def left(remaining_kwh: int) -> dict[str, Any]:
    return {"supplied_wh": READY.paid_until_wh - remaining_kwh * KWH}


def codes_against(cut: Cut, *, automatic: bool, **facts: Any) -> list[str]:
    found = why_not_cut(replace(READY, **facts), cut=cut, automatic=automatic, now=NOW)
    return [reason.code for reason in found]


@pytest.mark.parametrize("automatic", [True, False], ids=["automatic", "by hand"])
@pytest.mark.parametrize("cut", list(Cut))
def test_nothing_stands_against_a_cut_that_is_due(cut: Cut, *, automatic: bool) -> None:
    assert codes_against(cut, automatic=automatic) == []


@pytest.mark.parametrize(
    ("code", "fact"),
    [*NEVER, ("terminal_decides", LOCAL), *NOT_PERMITTED, *UNSURE, *NOTICE_WANTING],
    ids=lambda value: str(value)[:30],
)
def test_an_automatic_trip_needs_all_that_its_decision_needed(code: str, fact: dict[str, Any]) -> None:
    assert codes_against(Cut.TRIP, automatic=True, **fact) == [code]


@pytest.mark.parametrize(
    ("code", "fact"), [*NEVER, ("terminal_decides", LOCAL), *NOT_PERMITTED, *UNSURE, *NOTICE_WANTING[:2]]
)
def test_an_automatic_limit_needs_all_that_its_decision_needed(code: str, fact: dict[str, Any]) -> None:
    assert codes_against(Cut.LIMIT, automatic=True, **fact) == [code]


def test_a_policy_may_let_the_service_limit_and_not_trip() -> None:
    assert codes_against(Cut.LIMIT, automatic=True, policy=LIMITS_ONLY) == []
    found = why_not_cut(replace(READY, policy=LIMITS_ONLY), cut=Cut.TRIP, automatic=True, now=NOW)
    assert found == (Reason("policy_forbids", version=3),)


@pytest.mark.parametrize(("_code", "fact"), [*NOT_PERMITTED, ("policy_forbids", {"policy": LIMITS_ONLY})])
@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_by_hand_needs_no_policy(cut: Cut, _code: str, fact: dict[str, Any]) -> None:
    assert codes_against(cut, automatic=False, **fact) == []


@pytest.mark.parametrize(("_code", "fact"), NOTICE_WANTING[2:])
def test_a_limit_waits_for_no_period(_code: str, fact: dict[str, Any]) -> None:
    assert codes_against(Cut.LIMIT, automatic=True, **fact) == []


@pytest.mark.parametrize(
    ("cut", "stage", "remaining_kwh", "reached"),
    [
        (Cut.TRIP, Stage.LIMITED, 1, False),
        (Cut.TRIP, Stage.LIMITED, 0, True),
        (Cut.TRIP, Stage.WARNING, 10_000, False),
        (Cut.LIMIT, Stage.WARNING, 10_001, False),
        (Cut.LIMIT, Stage.WARNING, 10_000, True),
        (Cut.LIMIT, Stage.NORMAL, 60_000, False),
        (Cut.LIMIT, Stage.LIMITED, 20_000, True),  # without a purchase a limit stays, and may be set again
        (Cut.TRIP, Stage.TRIPPED, 1, False),  # a trip that stands is kept, and none is added
    ],
)
def test_an_automatic_cut_needs_its_threshold(cut: Cut, stage: Stage, remaining_kwh: int, *, reached: bool) -> None:
    found = codes_against(cut, automatic=True, stage=stage, **left(remaining_kwh))
    assert found == ([] if reached else ["threshold_not_reached"])


@pytest.mark.parametrize(("cut", "level_kwh"), [(Cut.TRIP, 0), (Cut.LIMIT, 10_000)])
def test_what_a_refund_took_back_but_did_not_get_cuts_nobody_automatically(cut: Cut, level_kwh: int) -> None:
    facts = {"stage": Stage.WARNING, **left(level_kwh - 5)}
    found = {
        refunding: codes_against(cut, automatic=True, **facts, refunding_wh=refunding * KWH) for refunding in (5, 6)
    }
    assert found == {5: [], 6: ["refund_unproved"]}
    assert codes_against(cut, automatic=False, **facts, refunding_wh=6 * KWH) == []


@pytest.mark.parametrize("cut", list(Cut))
def test_a_terminal_in_local_mode_is_let_loose_only_on_what_the_books_say(cut: Cut) -> None:
    loosens = cut in (Cut.CONTROL, Cut.GUARANTEE_OFF)
    assert codes_against(cut, automatic=False, **LOCAL, taking_back=True) == ["not_taken_over"] * loosens
    assert codes_against(cut, automatic=False, taking_back=True) == []


@pytest.mark.parametrize(("code", "fact"), [*NEVER, *UNSURE])
@pytest.mark.parametrize("cut", [Cut.TRIP, Cut.LIMIT])
def test_a_cut_by_hand_is_stopped_by_what_makes_it_wrong(cut: Cut, code: str, fact: dict[str, Any]) -> None:
    assert codes_against(cut, automatic=False, **fact) == [code]


@pytest.mark.parametrize(("code", "fact"), NOTICE_WANTING)
def test_a_trip_by_hand_needs_its_notices_and_a_limit_by_hand_does_not(code: str, fact: dict[str, Any]) -> None:
    assert codes_against(Cut.TRIP, automatic=False, **fact) == [code]
    assert codes_against(Cut.LIMIT, automatic=False, **fact) == []


@pytest.mark.parametrize("cut", [Cut.TRIP, Cut.LIMIT])
def test_a_cut_by_hand_needs_no_threshold(cut: Cut) -> None:
    assert codes_against(cut, automatic=False, stage=Stage.NORMAL, **left(60_000)) == []
    assert codes_against(cut, automatic=False, **LOCAL) == []


@pytest.mark.parametrize(("code", "fact"), NOTICE_WANTING)
@pytest.mark.parametrize("cut", [Cut.CONTROL, Cut.GUARANTEE_OFF])
def test_what_lets_a_terminal_trip_at_once_needs_the_notices_of_a_trip(
    cut: Cut, code: str, fact: dict[str, Any]
) -> None:
    assert codes_against(cut, automatic=False, **LOCAL, **fact) == [code]
    assert codes_against(cut, automatic=False, **LOCAL, **fact, **left(1)) == []
    assert codes_against(cut, automatic=False, **fact) == []


@pytest.mark.parametrize(("code", "fact"), [NEVER[0], *UNSURE])
@pytest.mark.parametrize("cut", [Cut.CONTROL, Cut.GUARANTEE_OFF])
def test_what_lets_a_terminal_trip_later_needs_sure_facts(cut: Cut, code: str, fact: dict[str, Any]) -> None:
    assert codes_against(cut, automatic=False, **fact) == [code]


def test_only_taking_a_guarantee_off_ignores_the_guarantee() -> None:
    found = {cut: codes_against(cut, automatic=False, guaranteed=True) for cut in Cut}
    assert found == {
        Cut.LIMIT: ["guaranteed"],
        Cut.TRIP: ["guaranteed"],
        Cut.CONTROL: ["guaranteed"],
        Cut.GUARANTEE_OFF: [],
    }


@given(
    st.sampled_from([Cut.TRIP, Cut.LIMIT]),
    st.sampled_from(["automatic", "by hand"]),
    st.lists(st.sampled_from([*NEVER, *UNSURE]), min_size=1, unique_by=lambda row: row[0]),
)
def test_every_single_thing_that_stands_against_a_cut_is_named(
    cut: Cut, how: str, against: list[tuple[str, dict[str, Any]]]
) -> None:
    facts = {name: value for _, fact in against for name, value in fact.items()}
    assert sorted(codes_against(cut, automatic=how == "automatic", **facts)) == sorted(code for code, _ in against)


def a_decision(stage: Stage, *, trip_round: int | None = None) -> StageDecision:
    return StageDecision(stage=stage, because=(Reason("protected"),), trip_round=trip_round, look_again_at=NOW + HOUR)


LIMIT_300_KW = Step(op="limit", args={"power_w": 300_000, "alarm_delay_min": 0, "safe_load_w": 40_000})
LIFT = Step(op="limit", args={"power_w": None, "alarm_delay_min": 0})
ALLOW_2 = Step(op="close", args={"round": 2, "manner": "allow"})
TRIP_2 = Step(op="trip", args={"round": 2, "alarm_delay_min": 0, "limit_min": 0, "safe_load_w": 40_000})
LIMITED_BY_US = {"limit_w": 300_000, "limit_by_service": True}


def with_round_2(**changes: Any) -> dict[str, Any]:
    return {"rounds": (ROUNDS[0], replace(ROUNDS[1], **changes))}


TRIPPED_BY_US = with_round_2(relay="0", tripped_by_service=True)
LATELY = NOW - READY.retry_after + timedelta(milliseconds=1)
BEFORE = NOW - READY.retry_after
UNDELIVERED = {"credit_undelivered": True, "order_no": 7, "terminal_paid_until_wh": 60_000 * KWH}
CREDIT_7 = Step(
    op="credit",
    args={
        "order_no": 7,
        "mode": "append",
        "value_wh": 40_000 * KWH,
        "paid_until_wh": 100_000 * KWH,
        "alarm_wh": 30_000 * KWH,
        "trip_wh": 0,
    },
)
STEPS: list[tuple[str, Stage, int | None, dict[str, Any], tuple[Step, ...]]] = [
    ("limited without a limit", Stage.LIMITED, None, {}, (LIMIT_300_KW,)),
    ("limited with its limit", Stage.LIMITED, None, LIMITED_BY_US, ()),
    ("limited with a person's limit", Stage.LIMITED, None, {"limit_w": 500_000}, ()),
    ("limited with a limit of zero", Stage.LIMITED, None, {"limit_w": 0}, ()),
    ("limited with a limit on its way", Stage.LIMITED, None, {"limit_in_flight": True}, ()),
    ("limited and guaranteed", Stage.LIMITED, None, {"guaranteed": True}, ()),
    ("tripped without a limit", Stage.TRIPPED, 2, {}, (LIMIT_300_KW, TRIP_2)),
    ("tripped with its limit", Stage.TRIPPED, 2, LIMITED_BY_US, (TRIP_2,)),
    ("tripped and waiting", Stage.TRIPPED, None, LIMITED_BY_US, ()),
    ("tripped keeps its rounds", Stage.TRIPPED, None, {**LIMITED_BY_US, **TRIPPED_BY_US}, ()),
    ("warned with a limit left", Stage.WARNING, None, LIMITED_BY_US, (LIFT,)),
    ("warned with a limit of zero left", Stage.WARNING, None, {**LIMITED_BY_US, "limit_w": 0}, (LIFT,)),
    ("warned with a person's limit", Stage.WARNING, None, {"limit_w": 500_000}, ()),
    ("warned without a limit", Stage.WARNING, None, {"limit_by_service": True}, ()),
    ("warned while lifting", Stage.WARNING, None, {**LIMITED_BY_US, "limit_in_flight": True}, ()),
    ("limited after a trip", Stage.LIMITED, None, {**LIMITED_BY_US, **TRIPPED_BY_US}, (ALLOW_2,)),
    ("normal after a trip", Stage.NORMAL, None, {**LIMITED_BY_US, **TRIPPED_BY_US}, (LIFT, ALLOW_2)),
    ("normal after a person's trip", Stage.NORMAL, None, with_round_2(relay="0"), ()),
    (
        "normal while a trip is on its way",
        Stage.NORMAL,
        None,
        with_round_2(trip_in_flight=True, tripped_by_service=True),
        (ALLOW_2,),
    ),
    (
        "normal while a close is on its way",
        Stage.NORMAL,
        None,
        with_round_2(relay="0", close_in_flight=True, tripped_by_service=True),
        (),
    ),
    ("normal and closed again", Stage.NORMAL, None, with_round_2(tripped_by_service=True), ()),
    ("normal and not fitted", Stage.NORMAL, None, with_round_2(relay="-", tripped_by_service=True), ()),
    ("limited just after its limit failed", Stage.LIMITED, None, {"limit_failed_at": LATELY}, ()),
    ("limited some time after its limit failed", Stage.LIMITED, None, {"limit_failed_at": BEFORE}, (LIMIT_300_KW,)),
    (
        "normal just after a close failed",
        Stage.NORMAL,
        None,
        with_round_2(relay="0", tripped_by_service=True, close_failed_at=LATELY),
        (),
    ),
    (
        "normal just after a trip failed",
        Stage.NORMAL,
        None,
        with_round_2(relay="0", tripped_by_service=True, trip_failed_at=LATELY),
        (ALLOW_2,),
    ),
    (
        "normal some time after a close failed",
        Stage.NORMAL,
        None,
        with_round_2(relay="0", tripped_by_service=True, close_failed_at=BEFORE),
        (ALLOW_2,),
    ),
    ("a credit that did not arrive", Stage.NORMAL, None, UNDELIVERED, (CREDIT_7,)),
    ("a credit on its way", Stage.NORMAL, None, {**UNDELIVERED, "credit_in_flight": True}, ()),
    ("a credit that just failed", Stage.NORMAL, None, {**UNDELIVERED, "credit_failed_at": LATELY}, ()),
    ("a credit that failed before", Stage.NORMAL, None, {**UNDELIVERED, "credit_failed_at": BEFORE}, (CREDIT_7,)),
    ("a credit under local control", Stage.NORMAL, None, {**UNDELIVERED, **LOCAL}, (CREDIT_7,)),
    ("a credit that arrived", Stage.NORMAL, None, {**UNDELIVERED, "credit_undelivered": False}, ()),
    ("no purchase on this terminal", Stage.NORMAL, None, {**UNDELIVERED, "order_no": 0, "started": False}, ()),
    ("limited on a stale report", Stage.LIMITED, None, {"supplied_at": NOW - HOUR}, ()),
    ("limited without a notice", Stage.LIMITED, None, {"written_notice": None}, ()),
    ("limited above its level", Stage.LIMITED, None, {**left(20_000), "stage": Stage.LIMITED}, (LIMIT_300_KW,)),
    ("limited under local control", Stage.LIMITED, None, LOCAL, ()),
    ("normal under local control", Stage.NORMAL, None, {**LOCAL, **LIMITED_BY_US, **TRIPPED_BY_US}, ()),
]


@pytest.mark.parametrize(("_what", "stage", "trip_round", "facts", "expected"), STEPS, ids=[row[0] for row in STEPS])
def test_a_decision_asks_for_what_is_not_so_yet_and_nothing_more(
    _what: str, stage: Stage, trip_round: int | None, facts: dict[str, Any], expected: tuple[Step, ...]
) -> None:
    assert steps(a_decision(stage, trip_round=trip_round), replace(READY, **facts), now=NOW) == expected


@pytest.mark.parametrize("step", [LIMIT_300_KW, LIFT, ALLOW_2, TRIP_2, CREDIT_7], ids=lambda step: step.op)
def test_every_step_is_a_command_of_the_protocol(step: Step) -> None:
    args = json.dumps(step.args)
    assert ARGS_MODELS[Op(step.op)].model_validate_json(args).model_dump(exclude_unset=True) == step.args


@pytest.mark.parametrize("limit_w", [None, 500_000])
def test_what_takes_supply_away_is_sent_as_a_cut(limit_w: int | None) -> None:
    classes = {step.op: class_of(CommandOp(step.op), step.args, limit_w=limit_w) for step in (LIMIT_300_KW, TRIP_2)}
    assert set(classes.values()) == {CommandClass.CUT}
    back = [class_of(CommandOp(step.op), step.args, limit_w=300_000) for step in (LIFT, ALLOW_2, CREDIT_7)]
    assert set(back) == {CommandClass.RESTORE}


@given(
    st.sampled_from(Stage),
    st.none() | st.integers(0, 500_000),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.lists(
        st.builds(
            Round,
            round=st.integers(1, 8),
            importance=st.integers(1, 3),
            load_w=st.just(1000),
            relay=st.sampled_from("01-"),
            trip_in_flight=st.booleans(),
            close_in_flight=st.booleans(),
            tripped_by_service=st.booleans(),
        ),
        max_size=8,
    ),
)
def test_below_the_stage_of_a_cut_only_supply_is_given_back(
    stage: Stage, limit_w: int | None, so: tuple[bool, bool, bool], rounds: list[Round]
) -> None:
    facts = replace(
        READY,
        limit_w=limit_w,
        limit_in_flight=so[0],
        limit_by_service=so[1],
        guaranteed=so[2],
        rounds=tuple(rounds),
    )
    asked = steps(a_decision(stage), facts, now=NOW)
    cuts = [step for step in asked if class_of(CommandOp(step.op), step.args, limit_w=limit_w) is CommandClass.CUT]
    assert len(cuts) <= (stage >= Stage.LIMITED and not facts.guaranteed)
    assert not [step for step in asked if step.op == "trip"]
    ours = {one.round for one in rounds if one.tripped_by_service}
    assert {step.args["round"] for step in asked if step.op == "close"} <= ours


def test_a_cut_comes_after_its_time_and_after_its_period() -> None:
    noon = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    second = NoticeGiven(
        kind=NoticeKind.SECOND, cut_not_before=noon, served_at=datetime(2026, 3, 4, 11, 45, tzinfo=UTC)
    )
    assert second.cut_from(period_s=1800) == datetime(2026, 3, 4, 12, 15, tzinfo=UTC)
    assert second.cut_from(period_s=900) == noon
    assert second.cut_from(period_s=0) == noon
    assert replace(second, served_at=None).cut_from(period_s=1800) is None


@given(
    st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1)),  # noqa: DTZ001
    st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(9000, 1, 1)),  # noqa: DTZ001
    st.integers(0, 30 * 86_400),
)
def test_a_cut_is_never_before_what_was_announced_nor_before_the_period_has_run(
    cut_not_before: datetime, served_at: datetime, period_s: int
) -> None:
    notice = NoticeGiven(kind=NoticeKind.WRITTEN, cut_not_before=cut_not_before, served_at=served_at)
    cut_from = notice.cut_from(period_s=period_s)
    assert cut_from is not None
    assert cut_from >= cut_not_before
    assert cut_from >= served_at + timedelta(seconds=period_s)
    assert cut_from in (cut_not_before, served_at + timedelta(seconds=period_s))


def test_what_remains_is_what_was_paid_less_what_was_supplied() -> None:
    assert replace(READY, supplied_wh=99_999 * KWH).remaining_wh == 1 * KWH
    assert replace(READY, supplied_wh=None).remaining_wh == READY.paid_until_wh


def test_stages_have_words_and_an_order() -> None:
    assert [stage.word for stage in Stage] == ["normal", "notice", "warning", "limited", "tripped"]
    assert sorted(Stage) == list(Stage)


@pytest.mark.parametrize(
    ("trip_in_flight", "close_in_flight", "in_flight"),
    [(0, 0, False), (1, 0, True), (0, 1, True), (1, 1, True)],
)
def test_a_round_is_in_flight_either_way(trip_in_flight: int, close_in_flight: int, *, in_flight: bool) -> None:
    one = replace(ROUNDS[0], trip_in_flight=bool(trip_in_flight), close_in_flight=bool(close_in_flight))
    assert one.in_flight is in_flight
