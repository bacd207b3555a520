"""How a simulated terminal answers commands: every refusal, every step, sessions and power loss."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.mqtt.messages import RESULTS_KEPT, AckStep, Guarantee, RefusalCode, Step, TerminalClock, TerminalStage
from app.mqtt.signing import CommandSigner
from app.mqtt.topics import MAX_PAYLOAD_BYTES
from simulators.device_clock import Instant
from simulators.terminal import Terminal
from simulators.workbench import KEY_ID, Workbench, signer

RECEIVED = (AckStep.RECEIVED, None)
ARMED = (AckStep.ARMED, None)
DELAYING = (AckStep.DELAYING, None)
EXECUTED = (AckStep.EXECUTED, None)
CREDIT: dict[str, Any] = {"mode": "append", "value_wh": 1000, "alarm_wh": 0, "trip_wh": 0}


def refused(code: str) -> tuple[AckStep, RefusalCode]:
    return AckStep.REFUSED, RefusalCode(code)


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


def test_a_credit_is_received_then_executed_and_told(bench: Workbench) -> None:
    command_id = bench.credit(remaining_wh=50_000, order_no=7)
    assert bench.answers(command_id) == [RECEIVED, EXECUTED]
    detail = bench.of("ack")[-1].detail
    assert (detail.order_no, detail.remaining_before_wh, detail.remaining_after_wh) == (7, 0, 50_000)
    assert bench.events("credit_applied")[0].detail.remaining_after_wh == 50_000
    assert bench.of("heartbeat")[-1].state.order_no == 7
    assert bench.of("report")[-1].state.remaining_wh == 50_000


def test_a_credit_order_that_is_not_newer_is_a_duplicate_and_changes_nothing(bench: Workbench) -> None:
    bench.credit(remaining_wh=50_000, order_no=7)
    assert bench.answers(bench.credit(remaining_wh=90_000, order_no=7)) == [refused("DUPLICATE")]
    assert bench.answers(bench.credit(remaining_wh=90_000, order_no=6)) == [refused("DUPLICATE")]
    assert bench.terminal.state.remaining_wh == 50_000
    assert len(bench.events("credit_applied")) == 1


def test_append_must_not_lower_what_refresh_may(bench: Workbench) -> None:
    bench.credit(remaining_wh=50_000, order_no=1)
    appended = bench.credit(remaining_wh=40_000, order_no=2, mode="append")
    assert bench.answers(appended) == [refused("PRECONDITION")]
    assert bench.answers(bench.credit(remaining_wh=40_000, order_no=3)) == [RECEIVED, EXECUTED]
    assert bench.terminal.state.remaining_wh == 40_000


def test_a_lost_order_does_no_harm_because_the_next_is_absolute(bench: Workbench) -> None:
    bench.do("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.do("credit", order_no=3, paid_until_wh=3_000, **CREDIT)
    bench.do("credit", order_no=2, paid_until_wh=2_000, **CREDIT)
    assert (bench.terminal.state.order_no, bench.terminal.state.paid_until_wh) == (3, 3_000)


def test_a_known_id_answers_the_stored_outcome(bench: Workbench) -> None:
    claims = bench.claims("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.send(claims)
    bench.step()
    executed = bench.of("ack")[-1]
    bench.live(90)
    bench.send(claims.model_copy(update={"expires_at": bench.now.at - timedelta(days=1)}))
    again = bench.of("ack")[-1]
    assert (again.step, again.at, again.detail) == (executed.step, executed.at, executed.detail)
    assert len(bench.events("credit_applied")) == 1


def test_final_refusals_are_answered_again(bench: Workbench) -> None:
    claims = bench.claims("dance", slot="credit")
    bench.send(claims)
    bench.send(claims)
    assert bench.answers(claims.id) == [refused("UNSUPPORTED")] * 2
    assert len(bench.terminal.kept.results) == 1


@pytest.mark.parametrize(
    "token",
    [b"", b"\xff\x00", b"a.b.c", b"{}", b"eyJhbGciOiJub25lIn0.e30."],
)
def test_what_is_no_command_is_refused_without_an_id(bench: Workbench, token: bytes) -> None:
    bench.receive("command", token)
    ack = bench.of("ack")[-1]
    assert (ack.command_id, ack.step, ack.code) == (None, AckStep.REFUSED, "BAD_SIGNATURE")


@pytest.mark.parametrize("key_id", [KEY_ID, "another"])
def test_another_key_is_refused_and_the_id_may_still_succeed(bench: Workbench, key_id: str) -> None:
    key = Ed25519PrivateKey.generate() if key_id == KEY_ID else signer()._private_key  # noqa: SLF001 - the pinned key under another name
    claims = bench.claims("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.receive("command", CommandSigner(key, key_id=key_id).sign(claims))
    bench.send(claims)
    bench.step()
    assert bench.answers(claims.id) == [refused("BAD_SIGNATURE"), RECEIVED, EXECUTED]
    assert bench.events("command_refused")[0].detail.code == "BAD_SIGNATURE"


def test_forged_frames_do_not_fill_the_spool(bench: Workbench) -> None:
    for _ in range(50):
        bench.receive("command", b"forged")
    assert len(bench.events("command_refused")) == 1


def test_a_command_for_another_terminal_is_refused_but_not_remembered(bench: Workbench) -> None:
    claims = bench.claims("credit", order_no=1, paid_until_wh=1_000, **CREDIT)
    bench.send(claims.model_copy(update={"terminal_id": "SH-0002"}))
    assert bench.answers(claims.id) == [refused("NOT_FOR_ME")]
    bench.send(claims)
    assert bench.answers(claims.id)[-1] == RECEIVED


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("trip", {"round": 3}),
        ("close", {"round": 8}),
        ("credit", {"order_no": 1, "paid_until_wh": 9, **CREDIT, "trip_wh": 5}),
        ("credit", {"order_no": 1, "paid_until_wh": 2**62, **CREDIT}),
        ("configure", {"trip_order": [1, 3]}),
        ("configure", {"trip_order": [1, 1]}),
    ],
)
def test_values_that_do_not_fit_the_terminal_are_out_of_range(
    bench: Workbench, op: str, args: dict[str, Any]
) -> None:
    step = Step.ARM if op == "trip" else Step.DO
    assert bench.answers(bench.send(bench.claims(op, step=step, **args))) == [refused("OUT_OF_RANGE")]


@pytest.mark.parametrize(
    ("op", "slot", "args"),
    [
        ("credit", "credit", {"order_no": 1.5, "paid_until_wh": 9, **CREDIT}),
        ("credit", "credit", {}),
        ("trip", "round-1", {"round": 1, "alarm_delay_min": 16}),
        ("configure", "config", {"report_interval_s": 0}),
    ],
)
def test_arguments_outside_the_contract_are_out_of_range(
    bench: Workbench, op: str, slot: str, args: dict[str, Any]
) -> None:
    claims = bench.claims("dance", slot=slot).model_copy(update={"op": op, "args": args})
    assert bench.answers(bench.send(claims)) == [refused("OUT_OF_RANGE")]


@pytest.mark.parametrize(
    "members",
    [
        {"op": "dance"},
        {"slot": "control"},
        {"step": Step.ARM},
    ],
)
def test_what_the_terminal_does_not_know_is_unsupported(bench: Workbench, members: dict[str, Any]) -> None:
    claims = bench.claims("close", round=1).model_copy(update=members)
    assert bench.answers(bench.send(claims)) == [refused("UNSUPPORTED")]


def test_a_version_that_is_not_newer_is_superseded(bench: Workbench) -> None:
    bench.do("configure", report_interval_s=600, version=5)
    for version in (5, 4):
        command_id = bench.do("configure", report_interval_s=300, version=version)
        assert bench.answers(command_id) == [refused("SUPERSEDED")]
    assert bench.terminal.kept.report_interval_s == 600


def test_versions_of_other_slots_do_not_matter(bench: Workbench) -> None:
    bench.do("configure", report_interval_s=600, version=5)
    assert bench.answers(bench.do("close", round=1, version=4)) == [RECEIVED, EXECUTED]


def test_an_expired_command_is_refused_when_the_clock_is_sure(bench: Workbench) -> None:
    claims = bench.claims("close", round=1, expires_at=bench.now.at - timedelta(seconds=1))
    assert bench.answers(bench.send(claims)) == [refused("EXPIRED")]


def test_without_a_synced_clock_expiry_is_ignored_and_the_uptime_bound_stands_alone() -> None:
    bench = Workbench()
    bench.connect(synced=False)
    gone = bench.now.at - timedelta(hours=1)
    assert bench.answers(bench.do("close", round=1, expires_at=gone)) == [RECEIVED, EXECUTED]
    bench.live(30)
    late = bench.claims("trip", round=1, step=Step.ARM, expires_at=gone, max_uptime_s=29)
    assert bench.answers(bench.send(late)) == [refused("EXPIRED")]
    in_time = bench.claims("trip", round=1, step=Step.ARM, expires_at=gone, max_uptime_s=30)
    assert bench.answers(bench.send(in_time)) == [RECEIVED, ARMED]


def test_an_unset_clock_cannot_promise_an_end(bench: Workbench) -> None:
    bench.terminal.lose_time()
    claims = bench.claims("guarantee", on=True, until="2026-03-03T00:00:00.000Z")
    assert bench.answers(bench.send(claims)) == [refused("CLOCK_UNSURE")]
    bench.lose()
    bench.connect()
    bench.send(claims)
    bench.step()
    assert bench.answers(claims.id)[-1] == EXECUTED


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


def test_a_guarantee_refuses_cuts(bench: Workbench) -> None:
    bench.do("guarantee", on=True)
    for op, args in (("trip", {"round": 1}), ("limit", {"power_w": 1})):
        claims = bench.claims(op, step=Step.ARM, **args)
        assert bench.answers(bench.send(claims)) == [refused("GUARANTEE_ACTIVE")]


def test_a_trip_below_the_safe_load_is_refused(bench: Workbench) -> None:
    left_w = bench.terminal.power_w * 70 // 100
    assert bench.answers(bench.cut("trip", round=1, safe_load_w=left_w + 1))[-1] == refused("PRECONDITION")
    assert bench.answers(bench.cut("trip", round=1, safe_load_w=left_w))[-1] == EXECUTED


def test_a_busy_terminal_says_so_and_does_it_later(bench: Workbench) -> None:
    bench.terminal.be_busy(until_s=bench.now.machine_s + 5)
    claims = bench.claims("close", round=1)
    bench.send(claims)
    bench.live(6)
    bench.send(claims)
    bench.step()
    assert bench.answers(claims.id) == [refused("BUSY"), RECEIVED, EXECUTED]


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


def test_configure_changes_only_what_it_names(bench: Workbench) -> None:
    bench.do("configure", report_interval_s=60, trip_order=[2, 1])
    kept = bench.terminal.kept
    assert (kept.report_interval_s, kept.trip_order, kept.heartbeat_interval_s) == (60, [2, 1], 60)
    bench.clear()
    bench.live(120)
    assert len(bench.of("report")) == 1


def test_a_warning_shows_until_its_end_or_until_credit_helps(bench: Workbench) -> None:
    text = {"zh": "余量不足", "en": "little left"}
    bench.do("warn", stage="first", text=text, until="2026-03-02T01:00:00.000Z")
    assert bench.terminal.state.stage is TerminalStage.ALARM
    bench.live(minutes=61)
    assert bench.terminal.state.stage is TerminalStage.NORMAL
    bench.do("warn", stage="first", text=text)
    bench.credit(remaining_wh=10_000, order_no=1)
    assert bench.terminal.state.stage is TerminalStage.NORMAL
    bench.do("warn", stage="second", text=text)
    bench.do("warn", stage="none", text=text)
    assert bench.terminal.state.stage is TerminalStage.NORMAL


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
