"""A command's life: facts only add up, a cut is never repeated blindly, and only evidence proves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.commands.rules import (
    ENDED,
    IN_DOUBT,
    OPEN,
    PASSING_REFUSALS,
    PROVABLE,
    RECALLABLE,
    AckStep,
    CommandClass,
    CommandState,
    Evidence,
    Op,
    Pending,
    Proof,
    after_ack,
    class_of,
    effect_shows,
    next_try_s,
    proof,
    slot_of,
)
from app.mqtt.messages import RefusalCode, SlotName

NOW = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)
STATES = st.sampled_from(CommandState)
STEPS = st.sampled_from(AckStep)
CLASSES = st.sampled_from(CommandClass)
CODES = st.none() | st.sampled_from([code.value for code in RefusalCode])
STATE: dict[str, Any] = {
    "paid_until_wh": 60_024_600,
    "order_no": 7,
    "control_enabled": True,
    "mode": "remote",
    "limit_w": 300_000,
    "rounds": "101-----",
    "guarantee": "off",
}
CREDIT = {"order_no": 7, "paid_until_wh": 60_024_600}
#: Each operation whose effect a state can show: arguments that STATE shows, and others that it does not.
SHOWN: dict[Op, tuple[dict[str, Any], dict[str, Any]]] = {
    Op.CREDIT: (CREDIT, {**CREDIT, "order_no": 8}),
    Op.TRIP: ({"round": 2}, {"round": 1}),
    Op.CLOSE: ({"round": 1}, {"round": 2}),
    Op.LIMIT: ({"power_w": 300_000}, {"power_w": None}),
    Op.GUARANTEE: ({"on": False}, {"on": True}),
    Op.CONTROL: ({"enabled": True, "mode": "remote"}, {"enabled": True, "mode": "local"}),
}
ARGS: dict[Op, dict[str, Any]] = {op: shown for op, (shown, _) in SHOWN.items()} | {
    Op.WARN: {},
    Op.CONFIGURE: {},
    Op.KEYS: {},
}


@pytest.mark.parametrize(
    ("op", "slot"),
    [
        (Op.CREDIT, "credit"),
        (Op.CONTROL, "control"),
        (Op.WARN, "warning"),
        (Op.LIMIT, "limit"),
        (Op.TRIP, "round-2"),
        (Op.CLOSE, "round-1"),
        (Op.GUARANTEE, "guarantee"),
        (Op.CONFIGURE, "config"),
        (Op.KEYS, "keys"),
    ],
)
def test_every_operation_takes_a_slot_of_the_protocol(op: Op, slot: str) -> None:
    assert slot_of(op, ARGS[op]) == slot
    assert TypeAdapter(SlotName).validate_python(slot) == slot


def test_trip_and_close_of_a_round_share_its_slot() -> None:
    assert slot_of(Op.TRIP, {"round": 2}) == slot_of(Op.CLOSE, {"round": 2}) == "round-2"


@pytest.mark.parametrize(
    ("op", "args", "expected"),
    [
        (Op.TRIP, {"round": 2}, CommandClass.CUT),
        (Op.CLOSE, {"round": 2}, CommandClass.RESTORE),
        (Op.CREDIT, CREDIT, CommandClass.RESTORE),
        (Op.CONTROL, {"enabled": True}, CommandClass.CUT),
        (Op.CONTROL, {"enabled": False}, CommandClass.RESTORE),
        (Op.GUARANTEE, {"on": True}, CommandClass.RESTORE),
        (Op.GUARANTEE, {"on": False}, CommandClass.CUT),
        (Op.WARN, {}, CommandClass.OTHER),
        (Op.CONFIGURE, {}, CommandClass.OTHER),
        (Op.KEYS, {}, CommandClass.OTHER),
    ],
)
@pytest.mark.parametrize("limit_w", [None, 300_000])
def test_a_cut_is_told_from_a_restore(
    op: Op, args: dict[str, Any], expected: CommandClass, limit_w: int | None
) -> None:
    assert class_of(op, args, limit_w=limit_w) is expected


@pytest.mark.parametrize(
    ("wanted_w", "limit_w", "expected"),
    [
        (300_000, 500_000, CommandClass.CUT),
        (300_000, None, CommandClass.CUT),
        (0, None, CommandClass.CUT),
        (0, 1, CommandClass.CUT),
        (500_000, 300_000, CommandClass.RESTORE),
        (300_000, 300_000, CommandClass.RESTORE),
        (None, 300_000, CommandClass.RESTORE),
        (None, None, CommandClass.RESTORE),
    ],
)
def test_a_limit_is_a_cut_when_it_is_lower(wanted_w: int | None, limit_w: int | None, expected: CommandClass) -> None:
    assert class_of(Op.LIMIT, {"power_w": wanted_w}, limit_w=limit_w) is expected


def test_a_limit_that_names_no_power_lifts() -> None:
    assert class_of(Op.LIMIT, {}, limit_w=300_000) is CommandClass.RESTORE


def test_the_groups_of_states_fit_together() -> None:
    assert {CommandState.WAITING, CommandState.SENT, CommandState.RECEIVED, CommandState.ARMED} == RECALLABLE
    assert not OPEN & ENDED
    assert not RECALLABLE & IN_DOUBT
    assert {CommandState.UNKNOWN} == IN_DOUBT - OPEN


FLOW = [
    (CommandState.WAITING, AckStep.RECEIVED, CommandState.RECEIVED),
    (CommandState.SENT, AckStep.RECEIVED, CommandState.RECEIVED),
    (CommandState.RECEIVED, AckStep.RECEIVED, None),
    (CommandState.ARMED, AckStep.RECEIVED, None),
    (CommandState.OPERATING, AckStep.RECEIVED, None),
    (CommandState.WAITING, AckStep.ARMED, CommandState.ARMED),
    (CommandState.SENT, AckStep.ARMED, CommandState.ARMED),
    (CommandState.RECEIVED, AckStep.ARMED, CommandState.ARMED),
    (CommandState.ARMED, AckStep.ARMED, None),
    (CommandState.OPERATING, AckStep.ARMED, None),
    (CommandState.DELAYING, AckStep.ARMED, None),
    (CommandState.OPERATING, AckStep.DELAYING, CommandState.DELAYING),
    (CommandState.ARMED, AckStep.DELAYING, None),
    (CommandState.DELAYING, AckStep.DELAYING, None),
    (CommandState.UNKNOWN, AckStep.DELAYING, None),
    (CommandState.CANCELLED, AckStep.RECEIVED, None),
    (CommandState.CANCELLED, AckStep.ARMED, None),
    (CommandState.EXPIRED, AckStep.ARMED, None),
    (CommandState.SUPERSEDED, AckStep.RECEIVED, None),
    (CommandState.UNKNOWN, AckStep.RECEIVED, None),
]


@pytest.mark.parametrize(("state", "step", "expected"), FLOW)
def test_answers_move_a_cut_on_and_late_ones_change_nothing(
    state: CommandState, step: AckStep, expected: CommandState | None
) -> None:
    assert after_ack(state, command_class=CommandClass.CUT, step=step, code=None) is expected


@pytest.mark.parametrize("command_class", [CommandClass.RESTORE, CommandClass.OTHER])
@pytest.mark.parametrize("state", list(CommandState))
def test_only_a_cut_is_armed(state: CommandState, command_class: CommandClass) -> None:
    assert after_ack(state, command_class=command_class, step=AckStep.ARMED, code=None) is None


@pytest.mark.parametrize("command_class", list(CommandClass))
@pytest.mark.parametrize("state", sorted(set(CommandState) - ENDED - {CommandState.EXECUTED}))
def test_executed_counts_whatever_we_had_given_up(state: CommandState, command_class: CommandClass) -> None:
    told = after_ack(state, command_class=command_class, step=AckStep.EXECUTED, code=None)
    assert told is CommandState.EXECUTED


@given(st.sampled_from([*sorted(ENDED), CommandState.EXECUTED]), CLASSES, STEPS, CODES)
def test_no_answer_takes_back_an_end_or_an_execution_but_what_was_done_was_done(
    state: CommandState, command_class: CommandClass, step: AckStep, code: str | None
) -> None:
    done_after_all = state is CommandState.FAILED and step is AckStep.EXECUTED
    told = after_ack(state, command_class=command_class, step=step, code=code)
    assert told is (CommandState.EXECUTED if done_after_all else None)


#: How far a command has come, for answers alone; a refusal that passes sends it back to waiting.
PROGRESS = [
    CommandState.WAITING,
    CommandState.SENT,
    CommandState.RECEIVED,
    CommandState.ARMED,
    CommandState.OPERATING,
    CommandState.DELAYING,
    CommandState.EXECUTED,
    CommandState.REFUSED,
]


@given(STATES, CLASSES, st.lists(st.tuples(STEPS, CODES), max_size=8))
def test_facts_only_add_up_in_whatever_order_answers_come(
    state: CommandState, command_class: CommandClass, answers: list[tuple[AckStep, str | None]]
) -> None:
    seen = [state]
    for step, code in answers:
        new = after_ack(seen[-1], command_class=command_class, step=step, code=code)
        if new is not None and code not in PASSING_REFUSALS:
            seen.append(new)
    told = [one for one in seen if one in PROGRESS]
    assert all(PROGRESS.index(before) < PROGRESS.index(later) for before, later in pairwise(told))


@pytest.mark.parametrize("code", sorted(PASSING_REFUSALS))
@pytest.mark.parametrize("command_class", [CommandClass.RESTORE, CommandClass.OTHER])
@pytest.mark.parametrize("state", sorted(RECALLABLE))
def test_a_refusal_that_passes_makes_what_is_no_cut_wait_for_another_try(
    state: CommandState, command_class: CommandClass, code: str
) -> None:
    told = after_ack(state, command_class=command_class, step=AckStep.REFUSED, code=code)
    assert told is CommandState.WAITING


@pytest.mark.parametrize("code", sorted(PASSING_REFUSALS))
@pytest.mark.parametrize("state", sorted(set(CommandState) - RECALLABLE))
def test_a_refusal_that_passes_revives_nothing(state: CommandState, code: str) -> None:
    assert after_ack(state, command_class=CommandClass.RESTORE, step=AckStep.REFUSED, code=code) is None


@pytest.mark.parametrize("code", [*sorted(code.value for code in RefusalCode), None])
@pytest.mark.parametrize("state", sorted(set(CommandState) - ENDED - {CommandState.EXECUTED}))
def test_any_refusal_ends_a_cut(state: CommandState, code: str | None) -> None:
    told = after_ack(state, command_class=CommandClass.CUT, step=AckStep.REFUSED, code=code)
    assert told is CommandState.REFUSED


@pytest.mark.parametrize("code", [*sorted({code.value for code in RefusalCode} - PASSING_REFUSALS), None])
@pytest.mark.parametrize("command_class", list(CommandClass))
def test_any_other_refusal_ends_a_command(command_class: CommandClass, code: str | None) -> None:
    told = after_ack(CommandState.SENT, command_class=command_class, step=AckStep.REFUSED, code=code)
    assert told is CommandState.REFUSED


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(1, 5), (2, 10), (3, 20), (4, 40), (6, 160), (7, 300), (8, 300), (10**6, 300)]
)
def test_the_wait_doubles_up_to_five_minutes(attempts: int, wait_s: int) -> None:
    assert next_try_s(attempts=attempts, chance=0.5) == pytest.approx(wait_s)
    assert next_try_s(attempts=attempts, chance=0) == pytest.approx(0.8 * wait_s)
    assert next_try_s(attempts=attempts, chance=1) == pytest.approx(1.2 * wait_s)


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_a_try_comes_neither_at_once_nor_too_late(attempts: int, chance: float) -> None:
    assert 4 <= next_try_s(attempts=attempts, chance=chance) <= 360.0001


def a_pending(op: Op = Op.TRIP, **changes: Any) -> Pending:
    pending = Pending(
        command_id="c-1",
        op=op,
        args=ARGS[op],
        state=CommandState.OPERATING,
        executed_at=None,
        armed_power_w=None,
    )
    return replace(pending, **changes)


def evidence(**changes: Any) -> Evidence:
    return replace(Evidence(at=NOW, state=STATE), **changes)


def not_shown(op: Op) -> dict[str, Any]:
    return SHOWN[op][1]


@pytest.mark.parametrize("op", list(SHOWN))
def test_a_state_shows_an_effect_or_its_absence(op: Op) -> None:
    shown, absent = SHOWN[op]
    assert effect_shows(op, shown, STATE) is True
    assert effect_shows(op, absent, STATE) is False


def test_what_a_state_can_show_can_be_proved_and_the_rest_is_over_once_carried_out() -> None:
    assert set(SHOWN) == PROVABLE


@pytest.mark.parametrize("op", [Op.WARN, Op.CONFIGURE, Op.KEYS])
def test_no_state_shows_a_warning_or_a_setting(op: Op) -> None:
    assert effect_shows(op, {}, STATE) is None


@pytest.mark.parametrize(
    ("order_no", "paid_until_wh", "shows"),
    [
        (7, 60_024_600, True),
        (7, 60_024_601, False),
        (8, 60_024_600, False),
        # A later order may be one that the terminal was given elsewhere.
        (6, 50_000_000, False),
        (6, 60_024_600, False),
    ],
)
def test_a_credit_shows_by_its_order_number_and_what_is_paid_until(
    order_no: int, paid_until_wh: int, *, shows: bool
) -> None:
    args = {"order_no": order_no, "paid_until_wh": paid_until_wh}
    assert effect_shows(Op.CREDIT, args, STATE) is shows


@pytest.mark.parametrize(("guarantee", "on"), [("off", False), ("ordered", True), ("automatic", True)])
def test_a_guarantee_shows_however_it_began(guarantee: str, *, on: bool) -> None:
    assert effect_shows(Op.GUARANTEE, {"on": on}, {**STATE, "guarantee": guarantee}) is True
    assert effect_shows(Op.GUARANTEE, {"on": not on}, {**STATE, "guarantee": guarantee}) is False


@pytest.mark.parametrize(("enabled", "mode"), [(False, "remote"), (True, "local"), (False, "local")])
def test_control_shows_only_with_both_its_switch_and_its_mode(mode: str, *, enabled: bool) -> None:
    assert effect_shows(Op.CONTROL, {"enabled": enabled, "mode": mode}, STATE) is False


@pytest.mark.parametrize("relay", ["0", "1", "-"])
def test_a_relay_that_is_not_fitted_shows_neither_a_trip_nor_a_close(relay: str) -> None:
    state = {**STATE, "rounds": f"{relay}-------"}
    assert effect_shows(Op.TRIP, {"round": 1}, state) is (relay == "0")
    assert effect_shows(Op.CLOSE, {"round": 1}, state) is (relay == "1")
    assert effect_shows(Op.TRIP, {"round": 8}, state) is effect_shows(Op.CLOSE, {"round": 8}, state) is False


@pytest.mark.parametrize("state", sorted(RECALLABLE))
@pytest.mark.parametrize("op", [op for op in SHOWN if op is not Op.CREDIT])
def test_what_was_so_before_proves_nothing_for_a_command_that_has_not_acted(op: Op, state: CommandState) -> None:
    assert proof(a_pending(op, state=state), evidence()) is Proof.NOTHING


def test_a_close_is_proved_by_a_closed_round_only_once_it_was_executed() -> None:
    still_closed = evidence(state={**STATE, "rounds": "11------"})
    close = a_pending(Op.CLOSE, args={"round": 2}, state=CommandState.RECEIVED)
    assert proof(close, still_closed) is Proof.NOTHING
    assert proof(replace(close, state=CommandState.EXECUTED), still_closed) is Proof.VERIFIED


@pytest.mark.parametrize("state", sorted(OPEN | {CommandState.UNKNOWN, CommandState.EXECUTED}))
def test_a_credit_is_proved_by_its_order_number_at_any_time(state: CommandState) -> None:
    assert proof(a_pending(Op.CREDIT, state=state), evidence()) is Proof.VERIFIED


@pytest.mark.parametrize("state", sorted(OPEN | {CommandState.EXECUTED}))
def test_a_later_order_proves_a_credit_that_was_carried_out_and_no_other(state: CommandState) -> None:
    earlier = a_pending(Op.CREDIT, args={"order_no": 6, "paid_until_wh": 50_000_000}, state=state)
    proved = Proof.VERIFIED if state is CommandState.EXECUTED else Proof.NOTHING
    assert proof(earlier, evidence()) is proved


@pytest.mark.parametrize("state", sorted(RECALLABLE | {CommandState.EXECUTED}))
def test_a_credit_that_does_not_show_is_not_proved(state: CommandState) -> None:
    pending = a_pending(Op.CREDIT, args=not_shown(Op.CREDIT), state=state)
    assert proof(pending, evidence()) is Proof.NOTHING


@pytest.mark.parametrize("state", [*sorted(IN_DOUBT), CommandState.EXECUTED])
@pytest.mark.parametrize("op", [op for op in SHOWN if op is not Op.TRIP])
def test_what_shows_after_acting_is_proved(op: Op, state: CommandState) -> None:
    assert proof(a_pending(op, state=state), evidence()) is Proof.VERIFIED


@pytest.mark.parametrize("op", list(Op))
def test_what_was_executed_and_does_not_show_is_not_proved_and_does_not_fail(op: Op) -> None:
    args = not_shown(op) if op in SHOWN else {}
    pending = a_pending(op, args=args, state=CommandState.EXECUTED, doubt_ends_at=NOW - timedelta(hours=1))
    assert proof(pending, evidence(after_birth=True)) is Proof.NOTHING


@pytest.mark.parametrize("state", sorted(OPEN | {CommandState.UNKNOWN}))
@pytest.mark.parametrize("op", list(Op))
def test_what_the_terminal_remembers_as_executed_is_executed(op: Op, state: CommandState) -> None:
    args = not_shown(op) if op in SHOWN else {}
    told = evidence(results={"c-1": (AckStep.EXECUTED, None)}, after_birth=True)
    assert proof(a_pending(op, args=args, state=state), told) is Proof.EXECUTED


def test_what_the_terminal_remembers_and_shows_is_proved() -> None:
    told = evidence(results={"c-1": (AckStep.EXECUTED, None)}, after_birth=True)
    assert proof(a_pending(Op.CLOSE, state=CommandState.WAITING), told) is Proof.VERIFIED


@pytest.mark.parametrize("op", list(Op))
def test_what_the_terminal_remembers_as_refused_is_refused_whatever_shows(op: Op) -> None:
    told = evidence(results={"c-1": (AckStep.REFUSED, "HARDWARE")}, after_birth=True)
    assert proof(a_pending(op), told) is Proof.REFUSED


def test_what_the_terminal_remembers_of_other_commands_says_nothing() -> None:
    told = evidence(results={"c-2": (AckStep.REFUSED, "HARDWARE")})
    assert proof(a_pending(args=not_shown(Op.TRIP)), told) is Proof.NOTHING


@pytest.mark.parametrize(
    ("armed_power_w", "active_power_w", "expected"),
    [
        (411_000, 410_999, Proof.VERIFIED),
        (411_000, 411_000, Proof.EXECUTED),
        (411_000, 412_000, Proof.EXECUTED),
        (1, 0, Proof.VERIFIED),
        (0, -1, Proof.VERIFIED),
        (0, 0, Proof.EXECUTED),
        (None, 0, Proof.EXECUTED),
        (None, -1, Proof.EXECUTED),
        (411_000, None, Proof.EXECUTED),
    ],
)
@pytest.mark.parametrize("state", sorted(IN_DOUBT))
def test_a_trip_is_proved_by_its_round_and_less_power_than_when_it_was_armed(
    state: CommandState, armed_power_w: int | None, active_power_w: int | None, expected: Proof
) -> None:
    pending = a_pending(state=state, armed_power_w=armed_power_w)
    assert proof(pending, evidence(active_power_w=active_power_w)) is expected


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (timedelta(minutes=2) - timedelta(milliseconds=1), Proof.NOTHING),
        (timedelta(minutes=2), Proof.VERIFIED),
        (timedelta(minutes=3), Proof.VERIFIED),
    ],
)
def test_a_trip_is_proved_after_two_minutes_at_zero(since: timedelta, expected: Proof) -> None:
    pending = a_pending(state=CommandState.EXECUTED, executed_at=NOW - since, armed_power_w=411_000)
    assert proof(pending, evidence(active_power_w=411_000)) is expected


def test_less_power_without_the_round_proves_no_trip() -> None:
    pending = a_pending(args=not_shown(Op.TRIP), armed_power_w=411_000, executed_at=NOW - timedelta(hours=1))
    assert proof(pending, evidence(active_power_w=0)) is Proof.NOTHING


@pytest.mark.parametrize("state", sorted(IN_DOUBT))
@pytest.mark.parametrize("op", list(SHOWN))
def test_a_command_in_doubt_has_failed_when_a_birth_shows_nothing_of_it(op: Op, state: CommandState) -> None:
    pending = a_pending(op, args=not_shown(op), state=state)
    assert proof(pending, evidence()) is Proof.NOTHING
    assert proof(pending, evidence(after_birth=True)) is Proof.FAILED


@pytest.mark.parametrize(
    ("late", "expected"),
    [(timedelta(0), Proof.NOTHING), (timedelta(milliseconds=1), Proof.FAILED)],
)
def test_a_command_in_doubt_has_failed_once_its_time_is_over_and_not_before(late: timedelta, expected: Proof) -> None:
    pending = a_pending(args=not_shown(Op.TRIP), state=CommandState.UNKNOWN, doubt_ends_at=NOW - late)
    assert proof(pending, evidence()) is expected


def test_a_report_that_may_have_been_sent_again_late_fails_nothing_by_its_time() -> None:
    pending = a_pending(args=not_shown(Op.TRIP), state=CommandState.UNKNOWN, doubt_ends_at=NOW - timedelta(hours=1))
    assert proof(pending, evidence(live=False)) is Proof.NOTHING


@pytest.mark.parametrize("state", sorted(RECALLABLE))
@pytest.mark.parametrize("op", list(Op))
def test_a_command_that_nothing_was_sent_of_never_fails(op: Op, state: CommandState) -> None:
    args = not_shown(op) if op in SHOWN else {}
    pending = a_pending(op, args=args, state=state, doubt_ends_at=NOW - timedelta(hours=1))
    assert proof(pending, evidence(after_birth=True)) is Proof.NOTHING


@given(
    op=st.sampled_from(list(Op)),
    state=st.sampled_from(sorted(OPEN | {CommandState.UNKNOWN, CommandState.EXECUTED})),
    results=st.sampled_from([{}, {"c-1": (AckStep.EXECUTED, None)}, {"c-1": (AckStep.REFUSED, "HARDWARE")}]),
    absent=st.booleans(),
    after_birth=st.booleans(),
)
def test_evidence_never_takes_an_execution_back_but_for_the_terminals_own_word(
    op: Op, state: CommandState, results: dict[str, Any], *, absent: bool, after_birth: bool
) -> None:
    args = not_shown(op) if absent and op in SHOWN else ARGS[op]
    found = proof(a_pending(op, args=args, state=state), evidence(after_birth=after_birth, results=results))
    assert found.value != state.value
    if state is CommandState.EXECUTED and results != {"c-1": (AckStep.REFUSED, "HARDWARE")}:
        assert found in (Proof.NOTHING, Proof.VERIFIED)
    if found is Proof.FAILED:
        assert state in IN_DOUBT
