"""What a simulated terminal makes of its line and of a power loss, whatever arrives."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.mqtt.messages import RESULTS_KEPT, AckStep, Step, TerminalClock
from app.mqtt.topics import MAX_PAYLOAD_BYTES
from simulators.device_clock import Instant
from simulators.terminal import Terminal
from simulators.workbench import EXECUTED, RECEIVED, Workbench, signer

CREDIT: dict[str, Any] = {"mode": "append", "value_wh": 1000, "alarm_wh": 0, "trip_wh": 0}


@pytest.fixture
def bench() -> Workbench:
    bench = Workbench()
    bench.connect()
    return bench


def test_birth_is_the_first_message_after_each_connect(bench: Workbench) -> None:
    first = bench.said[0]
    assert (first[0], first[1].boot, first[1].session) == ("birth", 1, bench.terminal.session)
    bench.lose()
    bench.clear()
    assert bench.connect() != first[1].session
    assert bench.said[0][0] == "birth"


def test_the_challenge_is_echoed_and_the_clock_synced(bench: Workbench) -> None:
    heartbeat = bench.of("heartbeat")[-1]
    assert heartbeat.clock is TerminalClock.SYNCED
    assert heartbeat.echo
    assert heartbeat.active_power_w == bench.terminal.power_w


@pytest.mark.parametrize(
    "token",
    [b"", b"\xff\x00", b"a.b.c", b"{}", b"eyJhbGciOiJub25lIn0.e30."],
)
def test_what_is_no_command_is_refused_without_an_id(bench: Workbench, token: bytes) -> None:
    bench.receive("command", token)
    ack = bench.of("ack")[-1]
    assert (ack.command_id, ack.step, ack.code) == (None, AckStep.REFUSED, "BAD_SIGNATURE")


def test_power_loss_between_received_and_executed_forgets_so_that_the_repeat_is_done(
    bench: Workbench,
) -> None:
    claims = bench.claims("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.send(claims)
    bench.terminal.power_off(bench.now)
    bench.terminal.power_on(bench.now)
    bench.connect()
    assert bench.of("birth")[-1].results == []
    assert bench.terminal.state.order_no == 0
    bench.send(claims)
    bench.step()
    assert bench.answers(claims.id) == [RECEIVED, RECEIVED, EXECUTED]


def test_outcomes_slots_and_state_survive_power_loss(bench: Workbench) -> None:
    claims = bench.claims("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.send(claims)
    bench.step()
    bench.cut("trip", round=1)
    state = bench.terminal.state
    bench.terminal.power_off(bench.now)
    bench.terminal.power_on(bench.now)
    bench.clear()
    bench.connect()
    birth = bench.of("birth")[0]
    assert birth.state == state
    assert birth.slots == {"credit": 1, "round-1": 2}
    assert [result.step for result in birth.results] == [AckStep.EXECUTED] * 2
    assert birth.boot == 2
    assert [event.type for event in bench.of("event")][-2:] == ["power_fail", "power_back"]
    bench.send(claims)
    assert bench.answers(claims.id) == [EXECUTED]


def test_the_last_outcomes_fit_into_a_birth(bench: Workbench) -> None:
    for number in range(40):
        bench.credit(remaining_wh=2**40 + number, order_no=2**31 + number)
        bench.send(bench.claims("credit", order_no=1, paid_until_wh=1, **CREDIT))
    bench.lose()
    bench.terminal.open_session()
    birth = bench.terminal.connected(bench.now)[0]
    assert len(birth.payload) < MAX_PAYLOAD_BYTES
    bench.hear([birth])
    assert len(bench.of("birth")[-1].results) == RESULTS_KEPT


def test_retained_frames_are_dropped(bench: Workbench) -> None:
    bench.clear()
    claims = bench.claims("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.receive("command", signer().sign(claims), retained=True)
    bench.step()
    assert bench.said == []


def test_a_clock_that_went_wrong_is_stepped_and_told(bench: Workbench) -> None:
    bench.terminal.jump_clock(-7200, now=bench.now)
    bench.clear()
    bench.lose()
    bench.connect()
    assert bench.of("birth")[0].at == bench.now.at - timedelta(hours=2)
    assert bench.events("clock_step")[0].detail.step_s == 7200
    assert bench.of("heartbeat")[-1].at == bench.now.at


def test_requests_are_answered(bench: Workbench) -> None:
    bench.credit(remaining_wh=1, order_no=1)
    bench.clear()
    bench.receive("request", b'{"want":"state"}')
    bench.receive("request", b'{"want":"report"}')
    bench.receive("request", b'{"want":"resend","from":1,"to":2}')
    bench.receive("request", b'{"want":"dance"}')
    assert [kind for kind, _ in bench.said] == ["heartbeat", "report", "event", "report"]


SLOTS = st.sampled_from(["command", "receipt", "clock", "request", "other"])
PAYLOADS = st.binary(max_size=300) | st.sampled_from(
    [
        b'{"at":"9999-12-31T23:59:59.999Z","challenge":"x"}',
        b'{"at":"0001-01-01T00:00:00.000Z","challenge":"x"}',
        b"[" * 5000,
        b'{"want":"resend","from":0,"to":4611686018427387904}',
        b"eyJhbGciOiJFZERTQSJ9.W10.AAAA",
    ]
)


@settings(max_examples=150, deadline=None)
@given(frames=st.lists(st.tuples(SLOTS, PAYLOADS), max_size=5))
@example(frames=[("command", b"[" * 20_000)])
def test_no_bytes_from_the_line_harm_a_terminal(frames: list[tuple[str, bytes]]) -> None:
    bench = Workbench()
    bench.connect()
    before = bench.terminal.state
    for kind, payload in frames:
        bench.receive(kind, payload)
        bench.live(1)
    assert bench.terminal.state.model_copy(update={"remaining_wh": 0}) == before.model_copy(
        update={"remaining_wh": 0}
    )


ARGS = st.dictionaries(
    st.sampled_from(
        ["order_no", "mode", "value_wh", "paid_until_wh", "alarm_wh", "trip_wh", "round", "on", "power_w", "until"]
    ),
    st.sampled_from(["append", "refresh", "local", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59Z", "x"])
    | st.integers(-(2**62), 2**62)
    | st.booleans()
    | st.none(),
)


@settings(max_examples=150, deadline=None)
@given(
    op=st.sampled_from(["credit", "control", "warn", "limit", "trip", "close", "guarantee", "configure", "x"]),
    step=st.sampled_from(list(Step)),
    args=ARGS,
    slot=st.sampled_from(["credit", "limit", "round-1", "guarantee", "config"]),
)
@example(op="guarantee", step=Step.DO, args={"on": True, "until": "0001-01-01T00:00:00.000Z"}, slot="guarantee")
@example(op="guarantee", step=Step.DO, args={"on": True, "until": "9999-12-31T23:59:59Z"}, slot="guarantee")
def test_every_signed_command_is_answered(op: str, step: Step, args: dict[str, Any], slot: str) -> None:
    bench = Workbench()
    bench.connect()
    claims = bench.claims("x", slot=slot).model_copy(update={"op": op, "step": step, "args": args})
    bench.send(claims)
    bench.live(hours=1)
    assert bench.answers(claims.id)


def test_each_operation_has_one_slot() -> None:
    bench = Workbench()
    assert [bench.claims("close", round=2).slot, bench.claims("configure").slot] == ["round-2", "config"]


def test_time_never_goes_back_in_a_terminal(bench: Workbench) -> None:
    bench.live(hours=1)
    supplied_wh = bench.terminal.supplied_wh
    terminal: Terminal = bench.terminal
    terminal.step(Instant(bench.now.machine_s - 5, bench.now.at - timedelta(hours=1)))
    assert terminal.supplied_wh == supplied_wh
