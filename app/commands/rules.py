"""The life of a command: its class, its slot, which step may follow which, when to try again, what proves it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class Op(StrEnum):
    """What a terminal can be told to do."""

    CREDIT = "credit"
    CONTROL = "control"
    WARN = "warn"
    LIMIT = "limit"
    TRIP = "trip"
    CLOSE = "close"
    GUARANTEE = "guarantee"
    CONFIGURE = "configure"
    KEYS = "keys"


class CommandClass(StrEnum):
    """A cut takes supply away and needs a live session; a restore gives it back and never gives up."""

    CUT = "cut"
    RESTORE = "restore"
    OTHER = "other"


class CommandState(StrEnum):
    """How far a command is known to have come; each word is a fact with a time of its own."""

    WAITING = "waiting"
    SENT = "sent"
    RECEIVED = "received"
    ARMED = "armed"
    OPERATING = "operating"
    DELAYING = "delaying"
    EXECUTED = "executed"
    VERIFIED = "verified"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"
    FAILED = "failed"


class AckStep(StrEnum):
    RECEIVED = "received"
    ARMED = "armed"
    DELAYING = "delaying"
    EXECUTED = "executed"
    REFUSED = "refused"


#: Still on its way; a terminal and slot has at most one.
OPEN = frozenset(
    {
        CommandState.WAITING,
        CommandState.SENT,
        CommandState.RECEIVED,
        CommandState.ARMED,
        CommandState.OPERATING,
        CommandState.DELAYING,
    }
)
#: The terminal may be acting, or may have acted, and has not said so yet.
IN_DOUBT = frozenset({CommandState.OPERATING, CommandState.DELAYING, CommandState.UNKNOWN})
#: Can still be called back: nothing that acts has been sent.
RECALLABLE = OPEN - IN_DOUBT
#: What only the terminal or other evidence can end.
ENDED = frozenset({CommandState.VERIFIED, CommandState.REFUSED, CommandState.FAILED})

#: Operations whose effect a terminal's state can show; the others are over once they are carried out.
PROVABLE = frozenset(Op) - {Op.WARN, Op.CONFIGURE, Op.KEYS}

PASSING_REFUSALS = frozenset({"BAD_SIGNATURE", "NOT_FOR_ME", "BUSY", "CLOCK_UNSURE"})

CUT_VALID_S = 60
ARM_VALID_S = 10
ANSWER_WITHIN_S = 5
TRIP_PROOF_AFTER = timedelta(minutes=2)
_LONGEST_WAIT_S = 300


def slot_of(op: Op, args: dict[str, Any]) -> str:
    """Return the slot that a command takes: ``trip`` and ``close`` of round 2 share ``round-2``."""
    if op in (Op.TRIP, Op.CLOSE):
        return f"round-{args['round']}"
    return {Op.WARN: "warning", Op.CONFIGURE: "config"}.get(op, op.value)


def class_of(op: Op, args: dict[str, Any], *, limit_w: int | None) -> CommandClass:
    """Tell a cut from a restore; ``limit_w`` is the limit that the terminal holds now.

    A limit of 300 kW where 500 kW stood, or none, is a cut; 500 kW where 300 kW stood is a restore.
    """
    if op is Op.TRIP:
        return CommandClass.CUT
    if op in (Op.CREDIT, Op.CLOSE):
        return CommandClass.RESTORE
    if op is Op.CONTROL:
        return CommandClass.CUT if args["enabled"] else CommandClass.RESTORE
    if op is Op.GUARANTEE:
        return CommandClass.RESTORE if args["on"] else CommandClass.CUT
    if op is Op.LIMIT:
        wanted_w = args.get("power_w")
        lower = wanted_w is not None and (limit_w is None or wanted_w < limit_w)
        return CommandClass.CUT if lower else CommandClass.RESTORE
    return CommandClass.OTHER


def after_ack(
    state: CommandState, *, command_class: CommandClass, step: AckStep, code: str | None
) -> CommandState | None:
    """Return the state after an answer of the terminal, or None where the answer changes nothing.

    Facts only add up: ``received`` after ``executed`` (answers can overtake each other) changes nothing, and
    ``executed`` counts even for a command that we had given up, because the terminal did it.
    """
    if state is CommandState.FAILED and step is AckStep.EXECUTED:
        return CommandState.EXECUTED
    if state in ENDED or state is CommandState.EXECUTED:
        return None
    if step is AckStep.EXECUTED:
        return CommandState.EXECUTED
    if step is AckStep.REFUSED:
        passing = code in PASSING_REFUSALS and command_class is not CommandClass.CUT
        if passing:
            return CommandState.WAITING if state in RECALLABLE else None
        return CommandState.REFUSED
    if step is AckStep.RECEIVED:
        return CommandState.RECEIVED if state in (CommandState.WAITING, CommandState.SENT) else None
    if step is AckStep.ARMED:
        takes = command_class is CommandClass.CUT and state in RECALLABLE - {CommandState.ARMED}
        return CommandState.ARMED if takes else None
    return CommandState.DELAYING if state is CommandState.OPERATING else None


def next_try_s(*, attempts: int, chance: float) -> float:
    """Return the machine seconds until the next try: 5, 10, 20 … 300, each spread by ``chance`` (0..1) to ±20 %.

    After three tries, with chance 0.5, the fourth comes 20 s later.
    """
    wait_s = min(ANSWER_WITHIN_S << min(attempts - 1, 10), _LONGEST_WAIT_S)
    return wait_s * (0.8 + 0.4 * chance)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a terminal shows of itself, apart from its answers to commands.

    ``live`` says that it tells of this moment: heartbeats and births do, a report may have been sent again late.
    """

    at: datetime
    state: dict[str, Any]
    active_power_w: int | None = None
    results: dict[str, tuple[AckStep, str | None]] = field(default_factory=dict)
    after_birth: bool = False
    live: bool = True


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What verification needs to know of a command."""

    command_id: str
    op: Op
    args: dict[str, Any]
    state: CommandState
    executed_at: datetime | None
    armed_power_w: int | None
    doubt_ends_at: datetime | None = None


class Proof(StrEnum):
    """What the evidence says about a command."""

    NOTHING = "nothing"
    EXECUTED = "executed"
    VERIFIED = "verified"
    REFUSED = "refused"
    FAILED = "failed"


def effect_shows(op: Op, args: dict[str, Any], state: dict[str, Any]) -> bool | None:
    """Tell whether a terminal's state shows the effect of a command; None where no state could show it.

    A later order shows a credit that was carried out before, see :func:`proof`; alone it may be one that the terminal
    was given elsewhere.
    """
    match op:
        case Op.CREDIT:
            return bool(state["order_no"] == args["order_no"] and state["paid_until_wh"] == args["paid_until_wh"])
        case Op.TRIP:
            return bool(state["rounds"][args["round"] - 1] == "0")
        case Op.CLOSE:
            return bool(state["rounds"][args["round"] - 1] == "1")
        case Op.LIMIT:
            return bool(state.get("limit_w") == args.get("power_w"))
        case Op.GUARANTEE:
            return bool((state["guarantee"] != "off") == args["on"])
        case Op.CONTROL:
            return bool(state["control_enabled"] == args["enabled"] and state["mode"] == args["mode"])
        case _:
            return None


def proof(pending: Pending, evidence: Evidence) -> Proof:
    """Weigh independent evidence for a command.

    A trip needs its round at ``0`` and less power than when it was armed, or two minutes at ``0``. A credit
    needs its order number and its paid-until back, or a later number where the terminal has said that it carried it
    out: orders carry the whole truth. A cut in doubt was not carried out when it is not to be seen
    after a new birth whose results do not name it (the terminal forgets what it had not begun), or after the nonce
    and any alarm delay have run out.
    Source: terminal protocol v1, «What the service must do».
    """
    remembered = evidence.results.get(pending.command_id)
    if remembered is not None and remembered[0] is AckStep.REFUSED:
        return Proof.REFUSED
    executed = pending.state is CommandState.EXECUTED or remembered is not None
    shows = effect_shows(pending.op, pending.args, evidence.state)
    if pending.op is Op.CREDIT and executed:
        shows = shows or evidence.state["order_no"] > pending.args["order_no"]
    # A round that is still closed proves nothing for a `close` that has not been carried out: the trip that it is
    # to undo may still be on its way. Only an order number cannot be mistaken.
    acted = executed or pending.op is Op.CREDIT or pending.state in IN_DOUBT
    if shows and acted:
        proved = pending.op is not Op.TRIP or _load_fell(pending, evidence)
        return Proof.VERIFIED if proved else _news(Proof.EXECUTED, pending)
    if executed:
        return _news(Proof.EXECUTED, pending)
    if pending.state not in IN_DOUBT:
        return Proof.NOTHING
    too_late = evidence.live and pending.doubt_ends_at is not None and evidence.at > pending.doubt_ends_at
    return Proof.FAILED if evidence.after_birth or too_late else Proof.NOTHING


def _news(found: Proof, pending: Pending) -> Proof:
    return Proof.NOTHING if found.value == pending.state.value else found


def _load_fell(pending: Pending, evidence: Evidence) -> bool:
    if None not in (pending.armed_power_w, evidence.active_power_w) and (
        (evidence.active_power_w or 0) < (pending.armed_power_w or 0)
    ):
        return True
    return pending.executed_at is not None and evidence.at - pending.executed_at >= TRIP_PROOF_AFTER
