"""What a simulated terminal does of itself: local mode, limits and guarantees."""

from datetime import timedelta
from itertools import pairwise

import pytest

from app.load_control.levels import UNWATCHED_WH
from app.mqtt.messages import Guarantee, TerminalStage
from simulators.workbench import STARTS_AT, Workbench

THREE_ROUNDS = [
    {"round": 1, "share_percent": 20},
    {"round": 2, "share_percent": 30},
    {"round": 4, "share_percent": 25},
]


def local(remaining_wh: int, *, factor: int = 1, **different: object) -> Workbench:
    """Return a connected terminal in local mode with 200 kWh as alarm and 100 kWh as trip threshold."""
    bench = Workbench(factor=factor, rounds=THREE_ROUNDS, trip_order=[4, 1, 2], **different)
    bench.connect()
    bench.credit(remaining_wh=remaining_wh, order_no=1, alarm_wh=200_000, trip_wh=100_000)
    bench.cut("control", enabled=True, mode="local")
    bench.clear()
    return bench


def limited(power_w: int, **args: object) -> Workbench:
    bench = Workbench(rounds=THREE_ROUNDS, trip_order=[4, 1, 2])
    bench.connect()
    bench.clear()
    bench.cut("limit", power_w=power_w, **args)
    return bench


def test_local_mode_alarms_exactly_at_its_threshold() -> None:
    bench = local(210_000)
    bench.live(minutes=2)
    alarm = bench.events("alarm")[0]
    assert alarm.detail.remaining_after_wh == 200_000
    assert STARTS_AT < alarm.at < STARTS_AT + timedelta(minutes=1)
    assert bench.terminal.state.stage is TerminalStage.ALARM


@pytest.mark.parametrize("factor", [1, 60, 20_000])
def test_local_mode_trips_one_round_after_the_other_each_after_its_alarm_time(factor: int) -> None:
    bench = local(110_000, factor=factor, round_alarm_min=3)
    bench.live(hours=1)
    trips = [trip for trip in bench.events("trip") if trip.detail.power_after_w is None]
    assert [trip.detail.round for trip in trips] == [4, 1, 2]
    assert {trip.detail.cause for trip in trips} == {"allowance"}
    gaps = [later.at - earlier.at for earlier, later in pairwise(trips)]
    assert gaps == [timedelta(minutes=3)] * 2
    assert bench.terminal.state.rounds == "00-0----"
    assert bench.terminal.state.remaining_wh < 100_000


def test_credit_releases_and_the_alarm_stays_until_above_its_threshold() -> None:
    bench = local(90_000, round_alarm_min=0)
    assert bench.terminal.state.stage is TerminalStage.TRIPPED
    bench.credit(remaining_wh=150_000, order_no=2, alarm_wh=200_000, trip_wh=100_000)
    assert bench.terminal.state.rounds == "11-1----"
    assert bench.terminal.state.stage is TerminalStage.ALARM
    assert bench.events("restore")[0].detail.cause == "allowance"
    bench.credit(remaining_wh=300_000, order_no=3, alarm_wh=200_000, trip_wh=100_000)
    assert bench.terminal.state.stage is TerminalStage.NORMAL


def test_the_last_order_of_a_closed_account_trips_nothing_in_local_mode() -> None:
    bench = local(210_000)
    bench.credit(remaining_wh=0, order_no=2, alarm_wh=UNWATCHED_WH, trip_wh=UNWATCHED_WH)
    bench.live(hours=1)
    assert bench.terminal.state.rounds == "11-1----"
    assert (bench.events("trip"), bench.events("alarm")) == ([], [])
    assert bench.terminal.state.remaining_wh < 0


def test_control_switched_off_releases_what_local_mode_tripped() -> None:
    bench = local(90_000, round_alarm_min=0)
    bench.do("control", enabled=False, mode="remote")
    assert bench.terminal.state.rounds == "11-1----"
    assert bench.terminal.state.stage is TerminalStage.NORMAL


def test_a_close_does_not_argue_with_local_mode() -> None:
    bench = local(90_000, round_alarm_min=0)
    command_id = bench.do("close", round=1)
    assert bench.answers(command_id)[-1] == ("refused", "PRECONDITION")


def test_in_remote_mode_the_terminal_only_counts() -> None:
    bench = Workbench()
    bench.connect()
    bench.credit(remaining_wh=1_000, order_no=1, alarm_wh=800, trip_wh=500)
    bench.cut("control", enabled=True, mode="remote")
    bench.live(hours=2)
    assert bench.terminal.state.rounds == "11------"
    assert bench.terminal.state.remaining_wh < 0
    assert bench.terminal.state.stage is TerminalStage.ALARM


def test_a_round_held_by_an_order_stays_when_local_mode_lets_go() -> None:
    bench = local(110_000, round_alarm_min=0)
    bench.cut("trip", round=1)
    bench.live(hours=1)
    bench.credit(remaining_wh=900_000, order_no=2, alarm_wh=200_000, trip_wh=100_000)
    assert bench.terminal.state.rounds == "01-1----"


def test_a_sticking_relay_does_not_stop_local_mode_and_is_tried_again() -> None:
    bench = local(110_000, round_alarm_min=1)
    bench.site.refusing.add(4)
    bench.live(hours=1)
    assert bench.terminal.state.rounds == "00-1----"
    assert len(bench.events("relay")) == 1
    bench.site.refusing.clear()
    bench.live(minutes=2)
    assert bench.terminal.state.rounds == "00-0----"


def test_a_limit_trips_one_round_a_minute_until_below() -> None:
    bench = limited(500_000, alarm_delay_min=2)
    assert bench.terminal.state.stage is TerminalStage.LIMITED
    bench.live(minutes=10)
    trips = [trip for trip in bench.events("trip") if trip.detail.power_after_w is None]
    assert [(trip.detail.round, trip.at) for trip in trips] == [
        (4, STARTS_AT + timedelta(minutes=2)),
        (1, STARTS_AT + timedelta(minutes=3)),
    ]
    assert bench.terminal.power_w <= 500_000
    assert bench.events("alarm")[0].detail.cause == "limit"


def test_a_limit_never_goes_below_the_safe_load() -> None:
    bench = limited(100_000, safe_load_w=400_000)
    bench.live(hours=1)
    assert bench.terminal.state.rounds == "01-0----"
    assert bench.terminal.power_w >= 400_000


def test_a_limit_that_is_raised_lifted_or_over_releases_its_rounds() -> None:
    bench = limited(100_000)
    bench.live(minutes=10)
    assert bench.terminal.state.rounds == "00-0----"
    bench.do("limit", power_w=2_000_000)
    assert bench.terminal.state.rounds == "11-1----"
    bench.cut("limit", power_w=100_000)
    bench.live(minutes=10)
    bench.do("limit", power_w=None)
    assert (bench.terminal.state.rounds, bench.terminal.state.limit_w) == ("11-1----", None)
    until = (bench.now.at + timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    bench.cut("limit", power_w=100_000, until=until)
    bench.live(minutes=19)
    assert bench.terminal.state.rounds == "00-0----"
    bench.live(minutes=2)
    assert (bench.terminal.state.rounds, bench.terminal.state.limit_w) == ("11-1----", None)


def test_a_guarantee_releases_for_good() -> None:
    bench = Workbench()
    bench.connect()
    bench.cut("trip", round=1)
    bench.do("guarantee", on=True)
    assert bench.terminal.state.rounds == "11------"
    assert bench.terminal.state.guarantee is Guarantee.ORDERED
    bench.cut("guarantee", on=False)
    bench.live(hours=1)
    assert bench.terminal.state.rounds == "11------"
    assert [event.detail.guarantee for event in bench.events("guarantee")] == ["ordered", "off"]


def test_local_mode_trips_again_after_a_guarantee() -> None:
    bench = local(90_000, round_alarm_min=1)
    until = (bench.now.at + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    bench.do("guarantee", on=True, until=until)
    bench.live(minutes=59)
    assert bench.terminal.state.rounds == "11-1----"
    bench.live(minutes=10)
    assert bench.terminal.state.guarantee is Guarantee.OFF
    assert bench.terminal.state.rounds == "00-0----"


def test_silence_brings_the_automatic_guarantee_and_any_frame_ends_it() -> None:
    bench = Workbench(factor=1000, auto_guarantee_min=2)
    bench.connect()
    bench.cut("trip", round=1)
    bench.live(119)
    assert bench.terminal.state.guarantee is Guarantee.OFF
    assert bench.terminal.due_s() <= bench.now.machine_s + 1
    bench.live(1)
    assert bench.terminal.state.guarantee is Guarantee.AUTOMATIC
    assert bench.terminal.state.rounds == "11------"
    bench.receive("request", b"{}", retained=True)
    assert bench.terminal.state.guarantee is Guarantee.AUTOMATIC
    bench.receive("request", b"{}")
    assert bench.terminal.state.guarantee is Guarantee.OFF
    assert bench.terminal.state.rounds == "11------"


def test_an_ordered_guarantee_outranks_the_automatic_one() -> None:
    bench = Workbench(auto_guarantee_min=1)
    bench.connect()
    bench.do("guarantee", on=True)
    bench.live(600)
    bench.receive("request", b"{}")
    assert bench.terminal.state.guarantee is Guarantee.ORDERED


def test_tripped_rounds_limits_and_guarantees_survive_power_loss() -> None:
    bench = limited(500_000)
    bench.live(minutes=10)
    before = bench.terminal.state
    bench.terminal.power_off(bench.now)
    bench.terminal.power_on(bench.now)
    assert bench.terminal.state == before


def test_every_change_of_state_is_told_at_once() -> None:
    bench = local(110_000, round_alarm_min=1, factor=600)
    for _ in range(20):
        bench.live(0.05)
        told = bench.of("heartbeat")
        if told:
            same = {"remaining_wh": 0}
            now = bench.terminal.state.model_copy(update=same)
            assert told[-1].state.model_copy(update=same) == now
    assert len(bench.of("heartbeat")) == 3
