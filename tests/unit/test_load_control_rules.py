"""The stage follows the allowance down and a purchase up; a cut comes only when nothing at all stands against it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.customers.rules import ControlMode, NoticePeriods, Threshold, Thresholds
from app.load_control.facts import Cut, Facts, NoticeGiven, Round, Stage
from app.load_control.interlocks import obstacles, why_not_cut
from app.load_control.levels import UNWATCHED_WH, Levels, levels, threatened
from app.load_control.reasons import Reason
from app.load_control.rules import NoticeDue, StageDecision, decide_stage, forecast_trip_at
from app.notices.rules import NoticeKind
from app.policies.rules import Policy

KWH = 1000
NOW = datetime(2026, 3, 9, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
WRITTEN = NoticeGiven(
    kind=NoticeKind.WRITTEN, cut_not_before=NOW - timedelta(days=1), served_at=NOW - timedelta(days=4)
)
SECOND = NoticeGiven(kind=NoticeKind.SECOND, cut_not_before=NOW - HOUR, served_at=NOW - HOUR)
THRESHOLDS = Thresholds(
    notice=Threshold(energy_wh=50_000 * KWH),
    warning=Threshold(energy_wh=30_000 * KWH),
    limited=Threshold(energy_wh=10_000 * KWH),
    trip=Threshold(energy_wh=0),
)
ROUNDS = (
    Round(round=1, importance=3, load_w=200_000, relay="1"),
    Round(round=2, importance=1, load_w=100_000, relay="1"),
    Round(round=3, importance=2, load_w=71_000, relay="1"),
)
POLICY = Policy(
    version=3, automatic_limits=True, automatic_trips=True, written_notice_s=259_200, second_notice_s=1_800
)
LIMITS_ONLY = replace(POLICY, automatic_trips=False)
NOTHING_AUTOMATIC = replace(POLICY, automatic_limits=False, automatic_trips=False)
#: Nothing stands against a cut here; ``remaining`` says what is due.
READY = Facts(
    paid_until_wh=100_000 * KWH,
    supplied_wh=0,
    supplied_at=NOW - timedelta(minutes=5),
    thresholds=THRESHOLDS,
    policy=POLICY,
    active_power_w=411_000,
    safe_load_w=40_000,
    contract_limit_w=300_000,
    rounds=ROUNDS,
    written_notice=WRITTEN,
    second_notice=SECOND,
    stage_paid_until_wh=100_000 * KWH,
)


def with_left(remaining_kwh: int, **changes: Any) -> Facts:
    facts = replace(READY, **changes)
    return replace(facts, supplied_wh=facts.paid_until_wh - remaining_kwh * KWH)


def decided(facts: Facts) -> StageDecision:
    return decide_stage(facts, now=NOW)


def codes(reasons: tuple[Reason, ...]) -> list[str]:
    return [reason.code for reason in reasons]


MOMENTS = st.integers(-10_000, 10_000).map(lambda minutes: NOW + timedelta(minutes=minutes))
LEVELS = st.one_of(
    st.builds(Threshold, energy_wh=st.integers(-50_000, 50_000).map(lambda kwh: kwh * KWH)),
    st.builds(Threshold, supply_hours=st.integers(0, 100)),
)
PERIODS = st.builds(NoticePeriods, written_s=st.integers(0, 7 * 86_400), second_s=st.integers(0, 7200))
POLICIES = st.sampled_from(
    [POLICY, POLICY, POLICY, LIMITS_ONLY, NOTHING_AUTOMATIC, None],
)
STAGES = st.sampled_from(Stage)


def notices(kind: NoticeKind) -> st.SearchStrategy[NoticeGiven | None]:
    given_notice = st.builds(NoticeGiven, kind=st.just(kind), cut_not_before=MOMENTS, served_at=st.none() | MOMENTS)
    return st.none() | given_notice


@st.composite
def fitted_rounds(draw: st.DrawFn) -> tuple[Round, ...]:
    numbers = draw(st.lists(st.integers(1, 8), unique=True, max_size=4))
    return tuple(
        Round(
            round=number,
            importance=draw(st.integers(1, 3)),
            load_w=100_000,
            relay=draw(st.sampled_from("1110-")),
            trip_in_flight=draw(st.integers(0, 9)) == 0,
            close_in_flight=draw(st.integers(0, 9)) == 0,
            tripped_by_service=draw(st.booleans()),
        )
        for number in numbers
    )


MOSTLY = st.integers(0, 7).map(bool)
RARELY = MOSTLY.map(lambda often: not often)
ANY_FACTS = st.builds(
    Facts,
    paid_until_wh=st.integers(-(10**8), 10**8),
    supplied_wh=st.integers(0, 10**8),
    supplied_at=st.sampled_from([None, NOW - HOUR, NOW, NOW, NOW, NOW]),
    started=MOSTLY,
    estimated=RARELY,
    recent_load_w=st.integers(-1000, 600_000),
    active_power_w=st.none() | st.integers(-1000, 600_000),
    thresholds=st.builds(Thresholds, notice=LEVELS, warning=LEVELS, limited=LEVELS, trip=LEVELS),
    notice_periods=PERIODS,
    policy=POLICIES,
    control_mode=st.sampled_from([ControlMode.REMOTE, ControlMode.REMOTE, ControlMode.REMOTE, ControlMode.LOCAL]),
    protected=RARELY,
    guaranteed=RARELY,
    reachable=MOSTLY,
    credit_undelivered=RARELY,
    safe_load_w=st.integers(0, 50_000),
    limit_w=st.none() | st.integers(0, 300_000),
    limit_by_service=st.booleans(),
    rounds=fitted_rounds(),
    last_trip_at=st.none() | MOMENTS,
    written_notice=notices(NoticeKind.WRITTEN),
    second_notice=notices(NoticeKind.SECOND),
    stage=STAGES,
    stage_paid_until_wh=st.integers(-(10**8), 10**8),
)
#: As above, where a cut is near: little is left, and the notices have mostly run.
NEAR_A_CUT = st.builds(
    lambda facts, remaining_wh, reached: replace(
        facts,
        supplied_wh=facts.paid_until_wh - remaining_wh,
        thresholds=THRESHOLDS,
        written_notice=WRITTEN if reached else facts.written_notice,
        second_notice=SECOND if reached else facts.second_notice,
    ),
    ANY_FACTS,
    st.integers(-20_000 * KWH, 60_000 * KWH) | st.sampled_from([0, 1, 10_000 * KWH, 10_000 * KWH + 1]),
    MOSTLY,
)
FACTS = ANY_FACTS | NEAR_A_CUT
MANY = settings(max_examples=100, deadline=None)


@pytest.mark.parametrize(
    ("remaining_kwh", "stage", "because"),
    [
        (50_001, Stage.NORMAL, "50,001 kWh left, above the notice threshold of 50,000 kWh."),
        (50_000, Stage.NOTICE, "50,000 kWh left, at or below the notice threshold of 50,000 kWh."),
        (30_001, Stage.NOTICE, "30,001 kWh left, at or below the notice threshold of 50,000 kWh."),
        (30_000, Stage.WARNING, "30,000 kWh left, at or below the warning threshold of 30,000 kWh."),
        (20_000, Stage.WARNING, "20,000 kWh left, at or below the warning threshold of 30,000 kWh."),
        (10_001, Stage.WARNING, "10,001 kWh left, at or below the warning threshold of 30,000 kWh."),
        (10_000, Stage.LIMITED, "10,000 kWh left, at or below the limit threshold of 10,000 kWh."),
        (1, Stage.LIMITED, "1 kWh left, at or below the limit threshold of 10,000 kWh."),
        (0, Stage.TRIPPED, "0 kWh left, at or below the trip threshold of 0 kWh."),
        (-5, Stage.TRIPPED, "-5 kWh left, at or below the trip threshold of 0 kWh."),
    ],
)
def test_the_allowance_names_the_stage(remaining_kwh: int, stage: Stage, because: str) -> None:
    decision = decided(with_left(remaining_kwh))
    assert decision.stage is stage
    assert [reason.text("en") for reason in decision.because] == [because]
    assert decision.held == ()


def test_the_written_notice_comes_early_enough_for_the_load() -> None:
    at = levels(replace(READY, recent_load_w=500_000, thresholds=replace(THRESHOLDS, notice=Threshold(energy_wh=0))))
    assert at == Levels(notice=36_250 * KWH, warning=30_000 * KWH, limited=10_000 * KWH, trip=0)


def test_a_site_that_feeds_in_needs_no_head_start() -> None:
    assert levels(replace(READY, recent_load_w=-500_000)) == levels(replace(READY, recent_load_w=0))


@pytest.mark.parametrize("recent_load_w", [0, -1])
def test_without_a_load_thresholds_stand_as_the_contract_has_them(recent_load_w: int) -> None:
    nothing = Thresholds(**dict.fromkeys(("notice", "warning", "limited", "trip"), Threshold(energy_wh=0)))
    at = levels(replace(READY, recent_load_w=recent_load_w, thresholds=nothing))
    assert at == Levels(notice=0, warning=0, limited=0, trip=0)


@given(FACTS)
def test_levels_are_ordered(facts: Facts) -> None:
    at = levels(facts)
    assert at.notice >= at.warning >= at.limited >= at.trip
    assert [at.of(stage) for stage in Stage if stage] == [at.notice, at.warning, at.limited, at.trip]
    assert at.trip == facts.thresholds.trip.level_wh(recent_load_w=max(facts.recent_load_w, 0))


@given(FACTS)
def test_a_written_notice_has_time_to_run_before_the_trip_at_the_recent_load(facts: Facts) -> None:
    at = levels(facts)
    needed_s = facts.notice_periods.written_s + facts.notice_periods.second_s
    assert (at.notice - at.trip + 1) * 3600 > max(facts.recent_load_w, 0) * needed_s - 3600


@pytest.mark.parametrize(("remaining_kwh", "is_threatened"), [(1, False), (0, True), (-1, True)])
def test_a_cut_threatens_at_and_below_the_trip_threshold(remaining_kwh: int, *, is_threatened: bool) -> None:
    assert threatened(with_left(remaining_kwh)) is is_threatened


@pytest.mark.parametrize(
    ("above_kwh", "load_w", "hours"),
    [(10_000, 500_000, 20), (0, 500_000, 0), (-1, 500_000, 0), (1, 1000, 1)],
)
def test_the_forecast_divides_what_is_left_by_the_load(above_kwh: int, load_w: int, hours: int) -> None:
    facts = with_left(above_kwh, recent_load_w=load_w)
    assert forecast_trip_at(facts, now=NOW) == NOW + hours * HOUR


def test_the_forecast_counts_from_the_trip_threshold() -> None:
    thresholds = replace(THRESHOLDS, trip=Threshold(energy_wh=-5_000 * KWH))
    facts = with_left(5_000, recent_load_w=500_000, thresholds=thresholds)
    assert forecast_trip_at(facts, now=NOW) == NOW + 20 * HOUR


@pytest.mark.parametrize("unknown", [{"recent_load_w": 0}, {"recent_load_w": -1}, {"supplied_wh": None}])
def test_without_a_load_or_a_report_there_is_no_forecast(unknown: dict[str, Any]) -> None:
    assert forecast_trip_at(replace(READY, **({"recent_load_w": 1} | unknown)), now=NOW) is None


def test_the_forecast_of_a_great_allowance_stays_within_ten_years() -> None:
    facts = replace(READY, paid_until_wh=2**62, recent_load_w=1)
    assert forecast_trip_at(facts, now=NOW) == NOW + timedelta(days=3660)


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize(("unknown", "code"), [({"supplied_wh": None}, "no_report_yet"), ({}, "not_started")])
def test_nothing_is_decided_before_the_first_report_and_the_first_purchase(
    stage: Stage, unknown: dict[str, Any], code: str
) -> None:
    started = code == "no_report_yet"
    decision = decided(replace(with_left(-1, stage=stage, started=started), **unknown))
    # After an exchange of the terminal the first report is news; before the first purchase none is.
    at_wh = 0 if started else None
    expected = StageDecision(stage=stage, because=(Reason(code),), look_again_at=NOW + HOUR, look_again_at_wh=at_wh)
    assert decision == expected


def test_before_the_first_purchase_that_is_the_reason_even_without_a_report() -> None:
    assert codes(decided(replace(READY, supplied_wh=None, started=False)).because) == ["not_started"]


@MANY
@given(FACTS, st.integers(0, 10**8))
def test_the_stage_never_falls_as_the_allowance_falls(facts: Facts, less_wh: int) -> None:
    assume(facts.started and facts.supplied_wh is not None)
    poorer = replace(facts, supplied_wh=(facts.supplied_wh or 0) + less_wh)
    assert decided(poorer).stage >= decided(facts).stage


@MANY
@given(FACTS)
def test_without_a_purchase_a_stage_never_softens(facts: Facts) -> None:
    assume(not facts.protected and not facts.guaranteed and facts.paid_until_wh <= facts.stage_paid_until_wh)
    assert decided(facts).stage >= facts.stage


def due_by_level(facts: Facts) -> Stage:
    at = levels(facts)
    return max(stage for stage in Stage if stage is Stage.NORMAL or facts.remaining_wh <= at.of(stage))


@MANY
@given(FACTS)
def test_after_a_purchase_no_stage_is_harsher_than_the_allowance_says(facts: Facts) -> None:
    assume(facts.started and facts.paid_until_wh > facts.stage_paid_until_wh)
    assert decided(facts).stage <= due_by_level(facts)


@pytest.mark.parametrize(
    ("remaining_kwh", "stage"),
    [(60_000, Stage.NORMAL), (40_000, Stage.NOTICE), (20_000, Stage.WARNING), (5_000, Stage.LIMITED)],
)
@pytest.mark.parametrize("undelivered", [True, False], ids=["on its way", "delivered"])
def test_a_purchase_brings_a_tripped_point_to_where_its_allowance_is(
    remaining_kwh: int, stage: Stage, *, undelivered: bool
) -> None:
    facts = with_left(
        remaining_kwh, stage=Stage.TRIPPED, stage_paid_until_wh=99_999 * KWH, credit_undelivered=undelivered
    )
    assert decided(facts).stage is stage


@pytest.mark.parametrize(
    ("stage_paid_until_kwh", "stage"), [(99_999, Stage.WARNING), (100_000, Stage.LIMITED), (100_001, Stage.LIMITED)]
)
def test_only_a_purchase_since_the_last_decision_softens(stage_paid_until_kwh: int, stage: Stage) -> None:
    facts = with_left(20_000, stage=Stage.LIMITED, stage_paid_until_wh=stage_paid_until_kwh * KWH)
    decision = decided(facts)
    assert decision.stage is stage
    assert codes(decision.because) == ["at_or_below" if stage is Stage.WARNING else "held_until_purchase"]


def test_a_stage_that_is_due_again_is_not_called_held() -> None:
    assert codes(decided(with_left(20_000, stage=Stage.WARNING)).because) == ["at_or_below"]


def test_a_stage_kept_without_a_purchase_trips_no_further_round_above_the_trip_threshold() -> None:
    decision = decided(with_left(20_000, stage=Stage.TRIPPED))
    assert decision.stage is Stage.TRIPPED
    assert codes(decision.because) == ["held_until_purchase"]
    assert decision.trip_round is None


@pytest.mark.parametrize(
    "never", [{"protected": True}, {"guaranteed": True}, {"protected": True, "guaranteed": True}]
)
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("remaining_kwh", [10_000, 0])
def test_protected_and_guaranteed_points_are_warned_and_never_cut(
    remaining_kwh: int, stage: Stage, never: dict[str, Any]
) -> None:
    decision = decided(with_left(remaining_kwh, stage=stage, **never))
    assert decision.stage is Stage.WARNING
    assert codes(decision.held) == list(never)
    assert decision.trip_round is None


@MANY
@given(FACTS, st.booleans())
def test_protection_and_guarantee_hold_whatever_else_is_so(facts: Facts, protected: bool) -> None:  # noqa: FBT001
    assume(facts.started)
    decision = decided(replace(facts, protected=protected, guaranteed=not protected))
    assert decision.stage <= Stage.WARNING
    assert decision.trip_round is None


def served(notice: NoticeGiven, **changes: Any) -> NoticeGiven:
    return replace(notice, **changes)


AGAINST_ANY_CUT: list[tuple[str, dict[str, Any]]] = [
    ("terminal_decides", {"control_mode": ControlMode.LOCAL}),
    ("no_policy", {"policy": None}),
    ("policy_forbids", {"policy": NOTHING_AUTOMATIC}),
    ("estimate", {"estimated": True}),
    ("stale_report", {"supplied_at": NOW - timedelta(minutes=35, milliseconds=1)}),
    ("stale_report", {"supplied_at": None}),
    ("credit_undelivered", {"credit_undelivered": True}),
    ("unreachable", {"reachable": False}),
    ("no_notice", {"written_notice": None}),
    ("notice_not_served", {"written_notice": served(WRITTEN, served_at=None)}),
]
SOON = timedelta(milliseconds=1)
AGAINST_A_TRIP: list[tuple[str, dict[str, Any]]] = [
    ("policy_forbids", {"policy": LIMITS_ONLY}),
    ("notice_period", {"written_notice": served(WRITTEN, served_at=NOW - timedelta(days=3) + SOON)}),
    ("notice_period", {"written_notice": served(WRITTEN, cut_not_before=NOW + SOON)}),
    ("no_second_notice", {"second_notice": None}),
    ("second_notice_not_served", {"second_notice": served(SECOND, served_at=None)}),
    ("second_notice_period", {"second_notice": served(SECOND, served_at=NOW - timedelta(minutes=30) + SOON)}),
    ("second_notice_period", {"second_notice": served(SECOND, cut_not_before=NOW + SOON)}),
]


@pytest.mark.parametrize(("code", "fact"), AGAINST_ANY_CUT)
@pytest.mark.parametrize("remaining_kwh", [10_000, 0, -10_000])
def test_a_single_doubt_keeps_a_point_at_warning_and_is_named(
    remaining_kwh: int, code: str, fact: dict[str, Any]
) -> None:
    decision = decided(with_left(remaining_kwh, **fact))
    assert decision.stage is Stage.WARNING
    assert codes(decision.held) == [code]
    assert decision.trip_round is None


@pytest.mark.parametrize(("code", "fact"), AGAINST_ANY_CUT)
def test_a_single_doubt_keeps_a_limited_point_limited(code: str, fact: dict[str, Any]) -> None:
    decision = decided(with_left(0, stage=Stage.LIMITED, **fact))
    assert decision.stage is Stage.LIMITED
    assert codes(decision.held) == [code]
    assert decision.trip_round is None


@pytest.mark.parametrize(("code", "fact"), AGAINST_A_TRIP)
@pytest.mark.parametrize("stage", [Stage.NORMAL, Stage.WARNING, Stage.LIMITED])
def test_a_notice_that_has_not_run_keeps_a_point_from_its_trip_and_is_named(
    stage: Stage, code: str, fact: dict[str, Any]
) -> None:
    decision = decided(with_left(0, stage=stage, **fact))
    assert decision.stage is Stage.LIMITED
    assert codes(decision.held) == [code]
    assert decision.trip_round is None


@pytest.mark.parametrize(("code", "fact"), [*AGAINST_ANY_CUT, *AGAINST_A_TRIP])
def test_a_single_doubt_stops_a_series_of_trips_where_it_is(code: str, fact: dict[str, Any]) -> None:
    decision = decided(with_left(0, stage=Stage.TRIPPED, **fact))
    assert decision.stage is Stage.TRIPPED
    assert codes(decision.held) == [code]
    assert decision.trip_round is None


@MANY
@given(NEAR_A_CUT, st.sampled_from([*AGAINST_ANY_CUT, *AGAINST_A_TRIP]))
def test_no_doubt_lets_a_point_go_further_than_it_was(facts: Facts, against: tuple[str, dict[str, Any]]) -> None:
    code, fact = against
    softer = Stage.WARNING if against in AGAINST_ANY_CUT else Stage.LIMITED
    doubtful = replace(facts, started=True, notice_periods=NoticePeriods(), **fact)
    decision = decided(doubtful)
    assert decision.stage <= max(softer, facts.stage)
    assert decision.trip_round is None
    if against in AGAINST_ANY_CUT and due_by_level(doubtful) >= Stage.LIMITED:
        assert {code, "protected", "guaranteed"} & set(codes(decision.held))


def test_everything_that_stands_against_a_cut_is_named_at_once() -> None:
    facts = with_left(
        0,
        control_mode=ControlMode.LOCAL,
        policy=None,
        estimated=True,
        supplied_at=None,
        credit_undelivered=True,
        reachable=False,
        written_notice=None,
    )
    assert codes(decided(facts).held) == [
        "terminal_decides",
        "no_policy",
        "estimate",
        "stale_report",
        "credit_undelivered",
        "unreachable",
        "no_notice",
    ]


MONDAY = datetime(2026, 3, 9, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("at", "stage", "held"),
    [
        (MONDAY, Stage.TRIPPED, []),
        (MONDAY + DAY, Stage.TRIPPED, []),
        (MONDAY + DAY + MINUTE, Stage.LIMITED, ["no_second_notice"]),
    ],
)
def test_a_second_notice_for_monday_at_eight_permits_no_first_trip_on_tuesday_at_one_past_eight(
    at: datetime, stage: Stage, held: list[str]
) -> None:
    second = served(SECOND, cut_not_before=MONDAY, served_at=MONDAY - HOUR)
    decision = decide_stage(with_left(0, supplied_at=at, second_notice=second), now=at)
    assert decision.stage is stage
    assert codes(decision.held) == held
    renewed = NoticeDue(kind=NoticeKind.SECOND, cut_not_before=at + timedelta(minutes=30))
    assert decision.notice_due == (renewed if held else None)


@pytest.mark.parametrize(
    ("late", "stage", "held"), [(timedelta(0), Stage.TRIPPED, []), (SOON, Stage.WARNING, ["no_notice"])]
)
@pytest.mark.parametrize(
    "written",
    [
        served(WRITTEN, cut_not_before=NOW - 30 * DAY, served_at=NOW - 40 * DAY),
        served(WRITTEN, cut_not_before=NOW - 40 * DAY, served_at=NOW - 33 * DAY),
    ],
    ids=["by its time", "by its period"],
)
def test_a_written_notice_lapses_thirty_days_after_a_cut_could_come(
    written: NoticeGiven, late: timedelta, stage: Stage, held: list[str]
) -> None:
    now = NOW + late
    decision = decide_stage(with_left(0, supplied_at=now, written_notice=written), now=now)
    assert decision.stage is stage
    assert codes(decision.held) == held
    renewed = NoticeDue(kind=NoticeKind.WRITTEN, cut_not_before=now + 3 * DAY)
    assert decision.notice_due == (renewed if held else None)


def test_once_tripping_has_begun_on_them_notices_do_not_lapse() -> None:
    long_ago = NOW - 300 * DAY
    facts = with_left(
        0,
        stage=Stage.TRIPPED,
        written_notice=served(WRITTEN, cut_not_before=long_ago, served_at=long_ago),
        second_notice=served(SECOND, cut_not_before=long_ago, served_at=long_ago),
        last_trip_at=long_ago + 4 * DAY,
    )
    assert decided(facts).trip_round == 2
    assert codes(decided(replace(facts, last_trip_at=None)).held) == ["no_notice"]
    assert codes(decided(replace(facts, last_trip_at=long_ago - DAY)).held) == ["no_notice"]


def test_a_notice_that_was_never_served_does_not_lapse() -> None:
    facts = with_left(0, written_notice=served(WRITTEN, cut_not_before=NOW - 300 * DAY, served_at=None))
    assert decided(facts).notice_due is None
    assert codes(decided(facts).held) == ["notice_not_served"]


def test_facts_at_their_very_edge_still_cut() -> None:
    facts = with_left(
        0,
        supplied_at=NOW - READY.report_valid_for,
        written_notice=served(WRITTEN, served_at=NOW - timedelta(days=3), cut_not_before=NOW),
        second_notice=served(SECOND, served_at=NOW - timedelta(minutes=30), cut_not_before=NOW),
    )
    decision = decided(facts)
    assert decision.stage is Stage.TRIPPED
    assert decision.trip_round == 2


def test_rounds_go_least_important_first_and_one_at_a_time() -> None:
    tripped: list[int] = []
    for _ in ROUNDS:
        rounds = tuple(replace(one, relay="0" if one.round in tripped else "1") for one in ROUNDS)
        number = decided(with_left(0, rounds=rounds)).trip_round
        assert number is not None
        tripped.append(number)
    assert tripped == [2, 3, 1]
    rounds = tuple(replace(one, relay="0") for one in ROUNDS)
    decision = decided(with_left(0, rounds=rounds))
    assert decision.trip_round is None
    assert decision.held == ()


def test_of_two_equally_important_rounds_the_lower_number_goes_first() -> None:
    rounds = tuple(replace(one, importance=1) for one in reversed(ROUNDS))
    assert decided(with_left(0, rounds=rounds)).trip_round == 1


def test_a_round_that_is_not_fitted_is_not_tripped() -> None:
    rounds = (replace(ROUNDS[1], relay="-"), ROUNDS[0])
    assert decided(with_left(0, rounds=rounds)).trip_round == 1


@pytest.mark.parametrize("on_its_way", [{"trip_in_flight": True}, {"close_in_flight": True}])
@pytest.mark.parametrize("relay", ["0", "1"])
def test_a_round_waits_until_the_one_before_is_proved(relay: str, on_its_way: dict[str, Any]) -> None:
    rounds = (replace(ROUNDS[0], relay=relay, **on_its_way), *ROUNDS[1:])
    decision = decided(with_left(0, rounds=rounds))
    assert decision.stage is Stage.TRIPPED
    assert decision.trip_round is None
    assert codes(decision.held) == ["round_in_flight"]


@pytest.mark.parametrize(("since", "trip_round"), [(MINUTE - SOON, None), (MINUTE, 2)])
def test_a_minute_passes_between_rounds(since: timedelta, trip_round: int | None) -> None:
    decision = decided(with_left(0, last_trip_at=NOW - since))
    assert decision.trip_round == trip_round
    until = (NOW - since + MINUTE).isoformat()
    assert decision.held == (() if trip_round else (Reason("round_pause", until=until),))


RETRY = READY.retry_after


IN_TURN = sorted(ROUNDS, key=lambda one: (one.importance, one.round))


@pytest.mark.parametrize(("failed_at", "next_in_turn"), [(NOW, 1), (NOW - RETRY + SOON, 1), (NOW - RETRY, 0)])
def test_a_round_whose_trip_has_just_failed_lets_the_next_one_go_first(
    failed_at: datetime, next_in_turn: int
) -> None:
    rounds = (replace(IN_TURN[0], trip_failed_at=failed_at), *IN_TURN[1:])
    decision = decided(with_left(0, rounds=rounds))
    assert (decision.trip_round, decision.held) == (IN_TURN[next_in_turn].round, ())


def test_while_every_round_has_just_failed_the_next_try_waits() -> None:
    rounds = tuple(replace(one, trip_failed_at=NOW - SOON) for one in ROUNDS)
    decision = decided(with_left(0, rounds=rounds))
    assert decision.trip_round is None
    assert decision.held == (Reason("retry_pause", until=(NOW + RETRY).isoformat()),)


def test_a_close_that_came_to_nothing_keeps_no_trip_waiting() -> None:
    rounds = (replace(ROUNDS[0], close_failed_at=NOW), *ROUNDS[1:])
    assert decided(with_left(0, rounds=rounds)).trip_round == 2


@pytest.mark.parametrize(
    "failed",
    [
        lambda at: {"credit_failed_at": at},
        lambda at: {"limit_failed_at": at},
        lambda at: {"rounds": (ROUNDS[0], replace(ROUNDS[1], trip_failed_at=at))},
    ],
    ids=["credit", "limit", "round"],
)
def test_after_a_command_came_to_nothing_the_next_look_is_the_next_try(
    failed: Callable[[datetime], dict[str, Any]],
) -> None:
    assert decided(with_left(60_000, **failed(NOW - RETRY + SOON))).look_again_at == NOW + RETRY
    assert decided(with_left(60_000, **failed(NOW - RETRY))).look_again_at == NOW + HOUR


@pytest.mark.parametrize(
    ("active_power_w", "safe_load_w", "trip_round"),
    [
        (411_000, 40_000, 2),
        (38_000, 40_000, None),
        (40_000, 40_000, None),
        (40_001, 40_000, 2),
        (0, 0, None),
        (1, 0, 2),
        (None, 0, None),
        (-5_000, 0, None),
    ],
)
def test_nothing_is_tripped_at_or_below_the_safe_load(
    active_power_w: int | None, safe_load_w: int, trip_round: int | None
) -> None:
    decision = decided(with_left(0, active_power_w=active_power_w, safe_load_w=safe_load_w))
    assert decision.trip_round == trip_round
    assert codes(decision.held) == ([] if trip_round else ["safe_load_kept"])


@pytest.mark.parametrize("remaining_kwh", [10_000, 1])
def test_no_round_goes_at_the_stage_of_a_limit(remaining_kwh: int) -> None:
    assert decided(with_left(remaining_kwh)).trip_round is None


#: Ready for a trip but for a few facts, of which each may stand against it.
NEAR_A_TRIP = st.builds(
    lambda remaining_kwh, stage, stage_paid_until_kwh, changes: with_left(
        remaining_kwh,
        stage=stage,
        stage_paid_until_wh=stage_paid_until_kwh * KWH,
        **{name: value for change in changes for name, value in change.items()},
    ),
    st.sampled_from([-1, 0, 0, 0, 1, 10_000, 20_000]),
    STAGES,
    st.sampled_from([99_999, 100_000]),
    st.lists(
        st.sampled_from(
            [
                {},
                {"protected": True},
                {"guaranteed": True},
                {"active_power_w": 40_000},
                {"active_power_w": None},
                {"last_trip_at": NOW - MINUTE},
                {"last_trip_at": NOW},
                {"rounds": (replace(ROUNDS[0], trip_failed_at=NOW), *ROUNDS[1:])},
                *(fact for _, fact in AGAINST_ANY_CUT),
                *(fact for _, fact in AGAINST_A_TRIP),
            ]
        )
        | st.builds(lambda rounds: {"rounds": rounds}, fitted_rounds()),
        max_size=2,
    ),
)


@MANY
@given(NEAR_A_TRIP)
def test_a_round_is_tripped_only_where_nothing_stands_against_it(facts: Facts) -> None:
    decision = decided(facts)
    if decision.trip_round is None:
        closed = any(one.relay == "1" for one in facts.rounds)
        assert decision.stage < Stage.TRIPPED or decision.held or not closed
        return
    assert decision.stage is Stage.TRIPPED
    assert decision.held == ()
    assert facts.control_mode is ControlMode.REMOTE
    assert not facts.protected
    assert not facts.guaranteed
    assert not facts.estimated
    assert not facts.credit_undelivered
    assert facts.reachable
    assert facts.remaining_wh <= levels(facts).trip
    assert facts.active_power_w is not None
    assert facts.active_power_w > facts.safe_load_w
    assert not any(one.in_flight for one in facts.rounds)
    closed = [one for one in facts.rounds if one.relay == "1"]
    assert decision.trip_round == min(closed, key=lambda one: (one.importance, one.round)).round
    for notice, period_s in (
        (facts.written_notice, facts.notice_periods.written_s),
        (facts.second_notice, facts.notice_periods.second_s),
    ):
        assert notice is not None
        assert notice.served_at is not None
        assert notice.served_at + timedelta(seconds=period_s) <= NOW
        assert notice.cut_not_before <= NOW


@MANY
@given(NEAR_A_TRIP)
def test_whatever_stands_against_a_cut_keeps_a_point_from_reaching_it(facts: Facts) -> None:
    decision = decided(facts)
    for reached, cut in ((Stage.LIMITED, Cut.LIMIT), (Stage.TRIPPED, Cut.TRIP)):
        if facts.stage < reached <= decision.stage:
            assert obstacles(facts, levels(facts), cut=cut, now=NOW) == ()
        if obstacles(facts, levels(facts), cut=cut, now=NOW):
            assert decision.stage < reached or facts.stage >= reached


@pytest.mark.parametrize(
    ("remaining_kwh", "recent_load_w", "cut_not_before"),
    [
        (50_000, 500_000, NOW + timedelta(days=3)),  # a forecast of a later day forbids nothing
        (20_000, 500_000, NOW + timedelta(days=3)),
        (50_000, 0, NOW + timedelta(days=3)),
        (0, 500_000, NOW + timedelta(days=3)),
    ],
)
def test_the_written_notice_leaves_its_period_and_no_more(
    remaining_kwh: int, recent_load_w: int, cut_not_before: datetime
) -> None:
    facts = with_left(remaining_kwh, recent_load_w=recent_load_w, written_notice=None)
    assert decided(facts).notice_due == NoticeDue(kind=NoticeKind.WRITTEN, cut_not_before=cut_not_before)


def test_no_notice_is_due_above_every_threshold() -> None:
    assert decided(with_left(50_001, written_notice=None)).notice_due is None


@pytest.mark.parametrize(
    ("served_at", "due"),
    [
        (NOW - timedelta(days=3) + timedelta(minutes=30), True),
        (NOW - timedelta(days=3) + timedelta(minutes=30) + SOON, False),
        (NOW - timedelta(days=4), True),
        (None, False),
    ],
)
def test_the_second_notice_comes_when_the_written_one_ends_as_it_does(
    served_at: datetime | None, *, due: bool
) -> None:
    facts = with_left(0, written_notice=served(WRITTEN, served_at=served_at), second_notice=None)
    second = NoticeDue(kind=NoticeKind.SECOND, cut_not_before=NOW + timedelta(minutes=30))
    assert decided(facts).notice_due == (second if due else None)


@pytest.mark.parametrize(
    "fact",
    [{"protected": True}, {"guaranteed": True}, {"control_mode": ControlMode.LOCAL}, {"second_notice": SECOND}],
)
def test_no_second_notice_is_due_where_no_cut_threatens(fact: dict[str, Any]) -> None:
    assert decided(with_left(0, **({"second_notice": None} | fact))).notice_due is None
    assert decided(with_left(1, second_notice=None)).notice_due is None


@pytest.mark.parametrize(
    ("policy", "kinds"),
    [
        (POLICY, [NoticeKind.WRITTEN, NoticeKind.SECOND]),
        (LIMITS_ONLY, [NoticeKind.WRITTEN, None]),
        (NOTHING_AUTOMATIC, [None, None]),
        (None, [None, None]),
    ],
)
def test_no_cut_is_announced_that_the_service_may_not_make(
    policy: Policy | None, kinds: list[NoticeKind | None]
) -> None:
    wanting: list[dict[str, Any]] = [{"written_notice": None}, {"second_notice": None}]
    due = [decided(with_left(0, policy=policy, **fact)).notice_due for fact in wanting]
    assert [one and one.kind for one in due] == kinds


@pytest.mark.parametrize("policy", [None, NOTHING_AUTOMATIC])
def test_a_terminal_that_trips_by_itself_is_announced_whatever_the_policy_says(policy: Policy | None) -> None:
    due = decided(with_left(0, policy=policy, control_mode=ControlMode.LOCAL, written_notice=None)).notice_due
    assert due is not None
    assert due.kind is NoticeKind.WRITTEN


@MANY
@given(FACTS)
def test_a_notice_always_leaves_the_time_that_the_contract_promises(facts: Facts) -> None:
    decision = decided(facts)
    due = decision.notice_due
    if due is None:
        permitted = facts.control_mode is ControlMode.LOCAL or (facts.policy and facts.policy.automatic_limits)
        never_cut = facts.protected or facts.guaranteed or not permitted
        assert facts.written_notice or never_cut or not facts.started or decision.stage is Stage.NORMAL
        return
    periods = facts.notice_periods
    if due.kind is NoticeKind.WRITTEN:
        assert facts.written_notice is None
        assert due.cut_not_before >= NOW + timedelta(seconds=periods.written_s)
    else:
        assert facts.written_notice is not None
        assert facts.written_notice.served_at is not None
        period_end = facts.written_notice.served_at + timedelta(seconds=periods.written_s)
        assert due.cut_not_before == NOW + timedelta(seconds=periods.second_s)
        assert due.cut_not_before >= max(period_end, facts.written_notice.cut_not_before)
        assert facts.second_notice is None


@MANY
@given(FACTS, st.timedeltas(timedelta(milliseconds=1), timedelta(hours=3)))
def test_there_is_always_a_next_look_and_it_is_in_the_future(facts: Facts, retry_after: timedelta) -> None:
    decision = decided(replace(facts, retry_after=retry_after))
    assert NOW < decision.look_again_at <= NOW + HOUR


HALF_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("changes", "wait"),
    [
        ({}, HALF_HOUR + timedelta(minutes=20)),
        ({"retry_after": timedelta(minutes=7)}, timedelta(minutes=7)),
        ({"second_notice": served(SECOND, served_at=NOW - timedelta(minutes=20))}, timedelta(minutes=10)),
        ({"second_notice": served(SECOND, cut_not_before=NOW + timedelta(minutes=5))}, timedelta(minutes=5)),
        ({"second_notice": served(SECOND, cut_not_before=NOW)}, timedelta(minutes=50)),  # it has run out already
        ({"written_notice": served(WRITTEN, cut_not_before=NOW + timedelta(minutes=3))}, timedelta(minutes=3)),
        (
            {"written_notice": served(WRITTEN, served_at=NOW - timedelta(days=3) + timedelta(minutes=40))},
            timedelta(minutes=10),
        ),
        (
            {"written_notice": served(WRITTEN, served_at=NOW - timedelta(days=3) + timedelta(minutes=25))},
            timedelta(minutes=25),
        ),
        ({"written_notice": None, "second_notice": None}, HALF_HOUR + timedelta(minutes=20)),
        ({"written_notice": served(WRITTEN, served_at=None)}, HALF_HOUR + timedelta(minutes=20)),
    ],
)
def test_near_a_trip_the_next_look_is_when_something_runs_out(changes: dict[str, Any], wait: timedelta) -> None:
    facts = with_left(0, **({"retry_after": timedelta(minutes=50)} | changes))
    assert decided(facts).look_again_at == NOW + wait


def test_far_from_a_trip_an_hour_passes() -> None:
    assert decided(with_left(1, retry_after=timedelta(minutes=7))).look_again_at == NOW + HOUR


@pytest.mark.parametrize(
    ("remaining_kwh", "reading_kwh"),
    [(60_000, 50_000), (50_000, 70_000), (30_000, 90_000), (10_000, 100_000), (0, None)],
)
def test_the_next_look_by_the_counter_is_where_the_next_stage_begins(
    remaining_kwh: int, reading_kwh: int | None
) -> None:
    decision = decided(with_left(remaining_kwh))
    assert decision.look_again_at_wh == (None if reading_kwh is None else reading_kwh * KWH)


@MANY
@given(FACTS)
def test_at_the_counter_that_is_told_a_harsher_stage_is_due_and_before_it_is_not(facts: Facts) -> None:
    fresh = replace(facts, stage=Stage.NORMAL, started=True)
    at_wh = decided(fresh).look_again_at_wh
    if fresh.supplied_wh is None:
        assert at_wh == 0
        return
    due = due_by_level(fresh)
    if at_wh is None:
        assert due is Stage.TRIPPED
        return
    assert due_by_level(replace(fresh, supplied_wh=at_wh)) > due
    assert due_by_level(replace(fresh, supplied_wh=at_wh - 1)) <= due
    assert (fresh.supplied_wh or 0) < at_wh


@MANY
@given(FACTS)
def test_every_reason_that_is_given_can_be_told(facts: Facts) -> None:
    decision = decided(facts)
    assert decision.because
    for reason in (*decision.because, *decision.held):
        assert "{" not in reason.text("zh") + reason.text("en")


OBSTACLES: list[dict[str, Any]] = [
    {"credit_undelivered": True},
    {"reachable": False},
    {"estimated": True},
    {"supplied_at": NOW - timedelta(days=2)},
]


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=str)
def test_a_purchase_into_the_limited_band_takes_the_point_out_of_tripped_whatever_else_stands(
    obstacle: dict[str, Any],
) -> None:
    bought = with_left(5_000, stage=Stage.TRIPPED, stage_paid_until_wh=0, **obstacle)
    assert decided(bought).stage is Stage.LIMITED


def test_a_tripped_point_above_its_threshold_is_not_tripped_further() -> None:
    facts = with_left(1, stage=Stage.TRIPPED)
    assert "threshold_not_reached" in {one.code for one in why_not_cut(facts, cut=Cut.TRIP, automatic=True, now=NOW)}


@pytest.mark.parametrize(("hours_ago", "lapsed"), [(23, False), (24, False), (25, True)])
def test_a_second_notice_lapses_a_day_after_its_time(hours_ago: int, *, lapsed: bool) -> None:
    given = NoticeGiven(
        kind=NoticeKind.SECOND,
        cut_not_before=NOW - timedelta(hours=hours_ago),
        served_at=NOW - timedelta(hours=hours_ago + 1),
    )
    decision = decided(with_left(0, second_notice=given, stage=Stage.LIMITED))
    assert (decision.stage is Stage.LIMITED) == lapsed
    assert (decision.notice_due is not None) == lapsed


@pytest.mark.parametrize("remaining_kwh", [-5_000, 0, 20_000, 90_000])
@pytest.mark.parametrize("automatic", [True, False])
def test_nothing_is_cut_and_no_level_is_watched_while_an_account_is_being_closed(
    remaining_kwh: int, *, automatic: bool
) -> None:
    facts = with_left(remaining_kwh, closing=True, stage=Stage.WARNING)
    decision = decided(facts)
    assert (decision.stage, codes(decision.because), decision.notice_due) == (Stage.NORMAL, ["closing"], None)
    for cut in Cut:
        assert "closing" in codes(why_not_cut(facts, cut=cut, automatic=automatic, now=NOW))
    at = levels(facts)
    assert {at.notice, at.warning, at.limited, at.trip} == {UNWATCHED_WH}
