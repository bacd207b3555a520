"""The messages of terminal protocol v1: the models that both sides use and that the documents are made from.

Unknown members are ignored, floats are refused, every number is bounded so that whatever parses can be stored.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import ConfigDict, Field, ValidationError

from app.mqtt.claims import (
    ARGS_MODELS,
    BilingualText,
    CloseArgs,
    CommandClaims,
    ConfigureArgs,
    ControlArgs,
    CreditArgs,
    GuaranteeArgs,
    KeysArgs,
    LimitArgs,
    Op,
    Step,
    TripArgs,
    WarnArgs,
)
from app.mqtt.topics import MAX_PAYLOAD_BYTES
from app.mqtt.values import (
    ARM_VALID_S,
    PASSING_REFUSALS,
    RESEND_AFTER_S,
    RESULTS_KEPT,
    ROUNDS_FITTED_AT_MOST,
    AckStep,
    ControlMode,
    Counter,
    Guarantee,
    HourBits,
    KeysHeld,
    Message,
    Minutes,
    Moment,
    OrderNo,
    RefusalCode,
    RoundNo,
    Rounds,
    Seconds,
    Sentence,
    SessionId,
    SlotName,
    State,
    TerminalClock,
    TerminalId,
    TerminalStage,
    Varh,
    Watt,
    Wh,
    Word,
)

__all__ = [
    "ARGS_MODELS",
    "ARM_VALID_S",
    "PASSING_REFUSALS",
    "RESEND_AFTER_S",
    "RESULTS_KEPT",
    "ROUNDS_FITTED_AT_MOST",
    "UP_MODELS",
    "Ack",
    "AckDetail",
    "AckStep",
    "BilingualText",
    "Birth",
    "ClockChallenge",
    "CloseArgs",
    "CommandClaims",
    "CommandResult",
    "ConfigureArgs",
    "ControlArgs",
    "ControlMode",
    "Counter",
    "CreditArgs",
    "Death",
    "Event",
    "EventDetail",
    "EventType",
    "Guarantee",
    "GuaranteeArgs",
    "Heartbeat",
    "HourBits",
    "KeysArgs",
    "KeysHeld",
    "LimitArgs",
    "Message",
    "MeterReading",
    "Minutes",
    "Moment",
    "Op",
    "OrderNo",
    "RateRegisters",
    "Receipt",
    "RefusalCode",
    "Report",
    "Request",
    "RoundNo",
    "Rounds",
    "Seconds",
    "Sentence",
    "SessionId",
    "SlotName",
    "SpoolRange",
    "State",
    "Step",
    "TerminalClock",
    "TerminalId",
    "TerminalStage",
    "TripArgs",
    "UnreadableError",
    "UpMessage",
    "Varh",
    "WarnArgs",
    "Watt",
    "Wh",
    "Word",
    "encode",
    "parse_up",
]


class AckDetail(Message):
    """What a step leaves to be known; which members are set depends on the step and the operation."""

    nonce: Word | None = Field(default=None, description="armed: to be returned by `operate` within 10 s")
    active_power_w: Watt | None = Field(default=None, description="armed, executed: power at that moment")
    rounds: Rounds | None = None
    order_no: OrderNo | None = None
    guarantee: Guarantee | None = None
    until: Moment | None = Field(default=None, description="delaying: when the cut will come")
    remaining_before_wh: Wh | None = None
    remaining_after_wh: Wh | None = None
    keys: KeysHeld | None = Field(default=None, description="keys: what is trusted now")
    note: Sentence | None = None


class CommandResult(Message):
    """A remembered final outcome."""

    command_id: UUID
    step: Literal[AckStep.EXECUTED, AckStep.REFUSED]
    code: RefusalCode | None = None
    at: Moment
    detail: AckDetail = AckDetail()


class SpoolRange(Message):
    id: UUID
    first: Counter = Field(description="oldest number still kept; 0 when the spool is empty")
    last: Counter = Field(description="newest number given out; 0 when none was")


class Birth(Message):
    """First message after each connect."""

    session: SessionId
    boot: Counter
    uptime_s: Seconds
    at: Moment
    clock: TerminalClock
    firmware: Word
    spool: SpoolRange
    slots: dict[SlotName, Counter] = Field(max_length=32, description="last applied version of each slot")
    state: State
    results: list[CommandResult] = Field(max_length=RESULTS_KEPT)
    keys: KeysHeld | None = Field(default=None, description="left out: as pinned at registration")


class Death(Message):
    """Last will; one whose session is not the current one is ignored."""

    session: SessionId


class Heartbeat(Message):
    session: SessionId
    uptime_s: Seconds
    at: Moment
    clock: TerminalClock | None = Field(default=None, description="left out: as it was told last")
    echo: Word | None = Field(default=None, description="the last challenge of `dn/clock`")
    active_power_w: Watt | None = Field(default=None, description="power now")
    state: State


class RateRegisters(Message):
    """Register readings by rate period."""

    sharp: Counter
    peak: Counter
    flat: Counter
    valley: Counter
    total: Counter


class MeterReading(Message):
    meter_no: Word
    active_import_wh: RateRegisters
    reactive_import_varh: Varh
    reactive_export_varh: Varh
    max_demand_w: Watt
    max_demand_at: Moment


class Report(Message):
    """What was supplied, what the meters read, and the state; also the shape of `backfill`."""

    spool_id: UUID
    seq: Annotated[int, Field(ge=1, le=2**62)]
    at: Moment
    clock: TerminalClock
    uptime_s: Seconds
    supplied_wh: Counter = Field(description="all energy through the metering group; never goes back in one spool")
    active_power_w: Watt
    meters: list[MeterReading] = Field(max_length=16)
    state: State


class EventType(StrEnum):
    CREDIT_APPLIED = "credit_applied"
    ALARM = "alarm"
    TRIP = "trip"
    RESTORE = "restore"
    RELAY = "relay"
    GUARANTEE = "guarantee"
    POWER_FAIL = "power_fail"
    POWER_BACK = "power_back"
    CLOCK_STEP = "clock_step"
    TAMPER = "tamper"
    COMMAND_REFUSED = "command_refused"


class EventDetail(Message):
    """What happened; which members are set depends on the type."""

    order_no: OrderNo | None = None
    remaining_before_wh: Wh | None = None
    remaining_after_wh: Wh | None = None
    rounds: Rounds | None = None
    round: RoundNo | None = None
    cause: Word | None = Field(
        default=None, description="order, allowance, limit, guarantee, site; site_code: typed at the keypad"
    )
    power_before_w: Watt | None = None
    power_after_w: Watt | None = Field(default=None, description="two minutes later")
    guarantee: Guarantee | None = None
    command_id: UUID | None = None
    code: RefusalCode | None = None
    step_s: Annotated[int, Field(ge=-(2**40), le=2**40)] | None = None
    note: Sentence | None = None


class Event(Message):
    spool_id: UUID
    seq: Annotated[int, Field(ge=1, le=2**62)]
    at: Moment
    type: EventType
    detail: EventDetail = EventDetail()


class Ack(Message):
    """The answer to each step of a command."""

    command_id: UUID | None = Field(default=None, description="null when the command was unreadable")
    step: AckStep
    code: RefusalCode | None = None
    at: Moment
    uptime_s: Seconds
    detail: AckDetail = AckDetail()


UpMessage: TypeAlias = Birth | Death | Heartbeat | Report | Event | Ack

UP_MODELS: dict[str, type[Message]] = {
    "birth": Birth,
    "death": Death,
    "heartbeat": Heartbeat,
    "report": Report,
    "backfill": Report,
    "event": Event,
    "ack": Ack,
}


class Receipt(Message):
    """Everything up to `upto`, except the `missing` ranges below it, is stored for good."""

    spool_id: UUID
    upto: Counter
    missing: list[Annotated[list[Counter], Field(min_length=2, max_length=2)]] = Field(
        default=[], description="inclusive ranges [from, to]"
    )


class ClockChallenge(Message):
    """The service's time, and a challenge that the next heartbeat echoes: it proves the downlink."""

    at: Moment
    challenge: Word


class Request(Message):
    """A harmless read."""

    want: Literal["report", "state", "resend"]
    from_seq: Counter | None = Field(default=None, alias="from")
    to_seq: Counter | None = Field(default=None, alias="to")

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class UnreadableError(ValueError):
    """A payload that is no message of this protocol; the text says why."""


def parse_up(kind: str, payload: bytes) -> Any:
    """Read an `up` payload of the kind that its topic names.

    Raises:
        UnreadableError: with the first reason, short enough to store beside the payload.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise UnreadableError(f"{len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read")
    if b"\\u0000" in payload:
        raise UnreadableError("a text contains the character U+0000")
    try:
        return UP_MODELS[kind].model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "payload"
        raise UnreadableError(f"{where}: {first['msg']}"[:400]) from error


def encode(message: Message) -> bytes:
    """Write a message as UTF-8 JSON without the members that are not set."""
    return message.model_dump_json(exclude_none=True).encode()
