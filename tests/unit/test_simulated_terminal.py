"""How a simulated terminal answers commands: credits, refusals, repeats and values."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.mqtt.messages import Step, TerminalStage
from app.mqtt.signing import CommandSigner
from simulators.workbench import ARMED, EXECUTED, KEY_ID, RECEIVED, Workbench, refused, signer

CREDIT: dict[str, Any] = {"mode": "append", "value_wh": 1000, "alarm_wh": 0, "trip_wh": 0}


@pytest.fixture
def bench() -> Workbench:
    bench = Workbench()
    bench.connect()
    return bench


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


def test_a_busy_terminal_says_so_and_does_it_later(bench: Workbench) -> None:
    bench.terminal.be_busy(until_s=bench.now.machine_s + 5)
    claims = bench.claims("close", round=1)
    bench.send(claims)
    bench.live(6)
    bench.send(claims)
    bench.step()
    assert bench.answers(claims.id) == [refused("BUSY"), RECEIVED, EXECUTED]


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
