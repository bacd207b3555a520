"""How a simulated terminal is armed and operated: sessions, nonces, delays, rounds."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.mqtt.messages import AckStep, Guarantee, RefusalCode, Step, TerminalStage
from simulators.workbench import ARMED, DELAYING, EXECUTED, RECEIVED, Workbench, refused

CREDIT: dict[str, Any] = {"mode": "append", "value_wh": 1000, "alarm_wh": 0, "trip_wh": 0}


@pytest.fixture
def bench() -> Workbench:
    bench = Workbench()
    bench.connect()
    return bench


def test_a_credit_is_received_then_executed_and_told(bench: Workbench) -> None:
    command_id = bench.credit(remaining_wh=50_000, order_no=7)
    assert bench.answers(command_id) == [RECEIVED, EXECUTED]
    detail = bench.of("ack")[-1].detail
    assert (detail.order_no, detail.remaining_before_wh, detail.remaining_after_wh) == (7, 0, 50_000)
    assert bench.events("credit_applied")[0].detail.remaining_after_wh == 50_000
    assert bench.of("heartbeat")[-1].state.order_no == 7
    assert bench.of("report")[-1].state.remaining_wh == 50_000


def test_a_lost_order_does_no_harm_because_the_next_is_absolute(bench: Workbench) -> None:
    bench.do("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.do("credit", order_no=3, paid_until_wh=3_000, **CREDIT)
    bench.do("credit", order_no=2, paid_until_wh=2_000, **CREDIT)
    assert (bench.terminal.state.order_no, bench.terminal.state.paid_until_wh) == (3, 3_000)


@pytest.mark.parametrize("session", [None, "0" * 32])
def test_a_cut_of_another_session_is_refused(bench: Workbench, session: str | None) -> None:
    claims = bench.claims("trip", round=1, step=Step.ARM, session=session)
    assert bench.answers(bench.send(claims)) == [refused("WRONG_SESSION")]


@pytest.mark.parametrize("max_uptime_s", [None, 0])
def test_a_cut_beyond_its_uptime_is_expired(bench: Workbench, max_uptime_s: int | None) -> None:
    bench.live(5)
    claims = bench.claims("trip", round=1, step=Step.ARM, max_uptime_s=max_uptime_s)
    assert bench.answers(bench.send(claims)) == [refused("EXPIRED")]


def test_restore_commands_need_no_session(bench: Workbench) -> None:
    bench.cut("trip", round=1)
    claims = bench.claims("close", round=1, session=None, max_uptime_s=None)
    bench.lose()
    bench.connect()
    bench.send(claims)
    bench.step()
    assert bench.answers(claims.id) == [RECEIVED, EXECUTED]
    assert bench.terminal.state.rounds == "11------"


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("trip", {"round": 1}),
        ("control", {"enabled": True, "mode": "local"}),
        ("limit", {"power_w": 100}),
        ("guarantee", {"on": False}),
    ],
)
def test_cuts_are_selected_before_they_are_operated(bench: Workbench, op: str, args: dict[str, Any]) -> None:
    assert bench.answers(bench.do(op, **args)) == [refused("PRECONDITION")]
    assert bench.answers(bench.cut(op, **args)) == [RECEIVED, ARMED, EXECUTED]


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("control", {"enabled": False, "mode": "remote"}),
        ("limit", {"power_w": None}),
        ("guarantee", {"on": True}),
    ],
)
def test_restores_go_in_one_step(bench: Workbench, op: str, args: dict[str, Any]) -> None:
    assert bench.answers(bench.do(op, **args)) == [RECEIVED, EXECUTED]


def test_a_trip_sheds_its_share_and_tells_the_snapshot(bench: Workbench) -> None:
    before_w = bench.terminal.power_w
    command_id = bench.cut("trip", round=2)
    assert bench.answers(command_id) == [RECEIVED, ARMED, EXECUTED]
    _, armed, executed = (ack.detail for ack in bench.of("ack"))
    assert (armed.active_power_w, armed.rounds, armed.guarantee) == (before_w, "11------", Guarantee.OFF)
    assert (executed.active_power_w, executed.rounds) == (before_w * 60 // 100, "10------")
    assert bench.of("heartbeat")[-1].state.stage is TerminalStage.TRIPPED
    assert bench.of("report")[-1].active_power_w == before_w * 60 // 100


def test_a_trip_event_is_followed_by_the_power_two_minutes_later(bench: Workbench) -> None:
    before_w = bench.terminal.power_w
    bench.cut("trip", round=1)
    bench.live(minutes=1.9)
    assert [trip.detail.power_after_w for trip in bench.events("trip")] == [None]
    bench.live(minutes=0.2)
    trip = bench.events("trip")[-1]
    assert (trip.detail.power_before_w, trip.detail.power_after_w) == (before_w, before_w * 70 // 100)
    assert trip.detail.cause == "order"


@pytest.mark.parametrize(("waited_s", "outcome"), [(10, EXECUTED), (10.5, refused("PRECONDITION"))])
def test_a_nonce_is_valid_for_ten_seconds_of_life(
    waited_s: float, outcome: tuple[AckStep, RefusalCode | None]
) -> None:
    bench = Workbench(factor=1000)
    bench.connect()
    claims = bench.claims("trip", round=1, step=Step.ARM, expires_at=bench.now.at + timedelta(days=1))
    bench.send(claims)
    bench.live(waited_s)
    bench.send(bench.operate(claims))
    bench.step()
    assert bench.answers(claims.id)[-1] == outcome


def test_operate_needs_its_own_nonce_and_what_was_armed(bench: Workbench) -> None:
    for different in ({"nonce": "0" * 16}, {"nonce": None}, {"args": {"round": 1, "limit_min": 5}}):
        claims = bench.claims("trip", round=1, step=Step.ARM)
        bench.send(claims)
        bench.send(bench.operate(claims).model_copy(update=different))
        bench.step()
        assert bench.answers(claims.id)[-1] == refused("PRECONDITION")
    assert bench.terminal.state.rounds == "11------"


def test_operate_without_arm_is_refused(bench: Workbench) -> None:
    claims = bench.claims("trip", round=1, step=Step.OPERATE, nonce="x")
    assert bench.answers(bench.send(claims)) == [refused("PRECONDITION")]


def test_an_arm_that_came_twice_keeps_its_nonce(bench: Workbench) -> None:
    claims = bench.claims("trip", round=1, step=Step.ARM)
    bench.send(claims)
    first = bench.of("ack")[-1].detail.nonce
    bench.send(claims)
    assert bench.of("ack")[-1].detail.nonce == first
    operate = bench.operate(claims)
    bench.send(operate)
    bench.send(operate)
    bench.step()
    bench.send(operate)
    assert bench.answers(claims.id)[-2:] == [EXECUTED, EXECUTED]
    assert len(bench.events("trip")) == 1


def test_an_arm_that_comes_again_lets_its_nonce_live_no_longer() -> None:
    bench = Workbench(factor=1000)
    bench.connect()
    claims = bench.claims("trip", round=1, step=Step.ARM, expires_at=bench.now.at + timedelta(days=1))
    bench.send(claims)
    bench.live(6)
    bench.send(claims)
    bench.live(4.5)
    bench.send(bench.operate(claims))
    bench.step()
    assert bench.answers(claims.id)[-1] == refused("PRECONDITION")
    assert bench.terminal.state.rounds == "11------"


def delayed_trip(bench: Workbench) -> Any:
    claims = bench.claims("trip", round=1, step=Step.ARM, alarm_delay_min=5)
    bench.send(claims)
    bench.send(bench.operate(claims))
    bench.step()
    assert bench.answers(claims.id)[-1] == DELAYING
    return claims


def test_a_delayed_trip_tells_when_and_comes_then(bench: Workbench) -> None:
    claims = delayed_trip(bench)
    until = bench.of("ack")[-1].detail.until
    assert until == bench.now.at + timedelta(minutes=5)
    bench.send(bench.operate(claims))
    assert bench.answers(claims.id)[-2:] == [DELAYING, DELAYING]
    bench.live(minutes=4.9)
    assert bench.terminal.state.rounds == "11------"
    bench.live(minutes=10)
    assert bench.terminal.state.rounds == "01------"
    assert bench.events("trip")[0].at == until


@pytest.mark.parametrize(
    ("op", "args"),
    [("close", {"round": 1}), ("guarantee", {"on": True})],
)
def test_a_close_or_a_guarantee_cancels_a_delayed_trip(bench: Workbench, op: str, args: dict[str, Any]) -> None:
    claims = delayed_trip(bench)
    bench.do(op, **args)
    assert bench.answers(claims.id)[-1] == refused("SUPERSEDED")
    bench.live(minutes=10)
    assert bench.terminal.state.rounds == "11------"


def test_a_newer_version_cancels_a_delayed_trip_and_an_older_one_does_not(bench: Workbench) -> None:
    older = bench.claims("close", round=1)
    claims = delayed_trip(bench)
    assert bench.answers(bench.send(older)) == [refused("SUPERSEDED")]
    assert bench.answers(claims.id)[-1] == DELAYING
    bench.send(bench.claims("trip", round=1, step=Step.ARM))
    assert bench.answers(claims.id)[-1] == refused("SUPERSEDED")


def test_a_lost_session_cancels_a_delayed_trip_and_birth_tells(bench: Workbench) -> None:
    claims = delayed_trip(bench)
    bench.lose()
    bench.live(minutes=10)
    bench.clear()
    bench.connect()
    assert bench.terminal.state.rounds == "11------"
    result = bench.of("birth")[0].results[-1]
    assert (result.command_id, result.code) == (claims.id, RefusalCode.WRONG_SESSION)
    bench.send(bench.operate(claims))
    assert bench.answers(claims.id) == [refused("WRONG_SESSION")]


def test_a_selection_does_not_outlive_its_session(bench: Workbench) -> None:
    claims = bench.claims("trip", round=1, step=Step.ARM)
    bench.send(claims)
    operate = bench.operate(claims)
    bench.lose()
    bench.connect()
    bench.send(operate)
    assert bench.answers(claims.id)[-1] == refused("WRONG_SESSION")
    bench.send(operate.model_copy(update={"id": uuid4(), "session": bench.terminal.session}))
    assert bench.of("ack")[-1].code == "PRECONDITION"


def test_a_guarantee_refuses_cuts(bench: Workbench) -> None:
    bench.do("guarantee", on=True)
    for op, args in (("trip", {"round": 1}), ("limit", {"power_w": 1})):
        claims = bench.claims(op, step=Step.ARM, **args)
        assert bench.answers(bench.send(claims)) == [refused("GUARANTEE_ACTIVE")]


def test_a_trip_below_the_safe_load_is_refused(bench: Workbench) -> None:
    left_w = bench.terminal.power_w * 70 // 100
    assert bench.answers(bench.cut("trip", round=1, safe_load_w=left_w + 1))[-1] == refused("PRECONDITION")
    assert bench.answers(bench.cut("trip", round=1, safe_load_w=left_w))[-1] == EXECUTED


def test_a_refusing_relay_is_told_and_the_round_stays(bench: Workbench) -> None:
    bench.site.refusing.add(1)
    assert bench.answers(bench.cut("trip", round=1))[-1] == refused("HARDWARE")
    assert bench.terminal.state.rounds == "11------"
    assert bench.events("relay")[0].detail.round == 1
    bench.site.refusing.clear()
    bench.cut("trip", round=1)
    bench.site.refusing.add(1)
    assert bench.answers(bench.do("close", round=1))[-1] == refused("HARDWARE")
    assert bench.terminal.state.rounds == "01------"


def test_close_lets_the_person_close_or_closes_at_once() -> None:
    bench = Workbench(breaker_delay_s=600)
    bench.connect()
    full_w = bench.terminal.power_w
    bench.cut("trip", round=1)
    bench.do("close", round=1, manner="allow")
    assert bench.terminal.state.rounds == "11------"
    assert bench.terminal.power_w == full_w * 70 // 100
    bench.live(minutes=10)
    assert bench.terminal.power_w == full_w
    bench.cut("trip", round=1)
    bench.do("close", round=1, manner="direct")
    assert bench.terminal.power_w == full_w


def test_a_timed_trip_releases_itself(bench: Workbench) -> None:
    bench.cut("trip", round=1, limit_min=30)
    bench.live(minutes=29)
    assert bench.terminal.state.rounds == "01------"
    bench.live(minutes=2)
    assert bench.terminal.state.rounds == "11------"
    assert bench.events("restore")[0].at == bench.now.at - timedelta(minutes=1)
