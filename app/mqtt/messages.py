"""The messages of terminal protocol v1: the models that both sides use and that the documents are made from.

Unknown members are ignored, floats are refused, every number is bounded so that whatever parses can be stored.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from app.mqtt.topics import MAX_PAYLOAD_BYTES, TERMINAL_ID_PATTERN

ROUNDS_FITTED_AT_MOST = 8
RESULTS_KEPT = 32
ARM_VALID_S = 10
RESEND_AFTER_S = 60


def _utc_only(moment: datetime) -> datetime:
    if moment.utcoffset() != timedelta(0):
        raise ValueError("times are UTC: write 2026-01-31T08:00:00.000Z")
    return moment


def _with_milliseconds(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    AwareDatetime,
    AfterValidator(_utc_only),
    PlainSerializer(_with_milliseconds, return_type=str, when_used="json"),
]
TerminalId = Annotated[str, StringConstraints(pattern=TERMINAL_ID_PATTERN)]
SessionId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Word = Annotated[str, StringConstraints(max_length=64)]
Sentence = Annotated[str, StringConstraints(max_length=400)]
Counter = Annotated[int, Field(ge=0, le=2**62)]
Wh = Annotated[int, Field(ge=-(2**62), le=2**62)]
Varh = Annotated[int, Field(ge=0, le=2**62)]
Watt = Annotated[int, Field(ge=-(2**40), le=2**40)]
Seconds = Annotated[int, Field(ge=0, le=2**40)]
Minutes = Annotated[int, Field(ge=0, le=525_600)]
OrderNo = Annotated[int, Field(ge=0, le=2**32 - 1)]
RoundNo = Annotated[int, Field(ge=1, le=ROUNDS_FITTED_AT_MOST)]
Rounds = Annotated[str, StringConstraints(pattern=r"^[01-]{8}$")]
HourBits = Annotated[str, StringConstraints(pattern=r"^[01]{24}$")]
SlotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]


class Message(BaseModel):
    """What every payload shares: strict types, unknown members ignored, never changed after parsing."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TerminalClock(StrEnum):
    SYNCED = "synced"
    FREE = "free"
    UNSET = "unset"


class TerminalStage(StrEnum):
    NORMAL = "normal"
    ALARM = "alarm"
    LIMITED = "limited"
    TRIPPED = "tripped"


class Guarantee(StrEnum):
    OFF = "off"
    ORDERED = "ordered"
    AUTOMATIC = "automatic"


class ControlMode(StrEnum):
    LOCAL = "local"
    REMOTE = "remote"


class State(Message):
    """What the terminal holds and does now."""

    paid_until_wh: Wh
    remaining_wh: Wh
    order_no: OrderNo
    alarm_wh: Wh
    trip_wh: Wh
    control_enabled: bool
    mode: ControlMode
    stage: TerminalStage
    limit_w: Watt | None = None
    rounds: Rounds = Field(description="8 characters: 1 closed, 0 tripped, - not fitted")
    guarantee: Guarantee


class RefusalCode(StrEnum):
    BAD_SIGNATURE = "BAD_SIGNATURE"
    NOT_FOR_ME = "NOT_FOR_ME"
    EXPIRED = "EXPIRED"
    WRONG_SESSION = "WRONG_SESSION"
    SUPERSEDED = "SUPERSEDED"
    DUPLICATE = "DUPLICATE"
    PRECONDITION = "PRECONDITION"
    GUARANTEE_ACTIVE = "GUARANTEE_ACTIVE"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNSUPPORTED = "UNSUPPORTED"
    CLOCK_UNSURE = "CLOCK_UNSURE"
    BUSY = "BUSY"
    HARDWARE = "HARDWARE"


#: Refusals that a terminal does not remember, so that the same command may still succeed.
PASSING_REFUSALS = frozenset(
    {RefusalCode.BAD_SIGNATURE, RefusalCode.NOT_FOR_ME, RefusalCode.BUSY, RefusalCode.CLOCK_UNSURE}
)


class AckStep(StrEnum):
    RECEIVED = "received"
    ARMED = "armed"
    DELAYING = "delaying"
    EXECUTED = "executed"
    REFUSED = "refused"


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


class Death(Message):
    """Last will; one whose session is not the current one is ignored."""

    session: SessionId


class Heartbeat(Message):
    session: SessionId
    uptime_s: Seconds
    at: Moment
    clock: TerminalClock = TerminalClock.SYNCED
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
    cause: Word | None = Field(default=None, description="order, allowance, limit, guarantee, site")
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


class Step(StrEnum):
    DO = "do"
    ARM = "arm"
    OPERATE = "operate"


class Op(StrEnum):
    CREDIT = "credit"
    CONTROL = "control"
    WARN = "warn"
    LIMIT = "limit"
    TRIP = "trip"
    CLOSE = "close"
    GUARANTEE = "guarantee"
    CONFIGURE = "configure"


class CreditArgs(Message):
    order_no: Annotated[int, Field(ge=1, le=2**32 - 1)]
    mode: Literal["append", "refresh"]
    value_wh: Wh
    paid_until_wh: Wh
    alarm_wh: Wh
    trip_wh: Wh


class ControlArgs(Message):
    enabled: bool
    mode: ControlMode


class BilingualText(Message):
    zh: Sentence
    en: Sentence


class WarnArgs(Message):
    stage: Word
    text: BilingualText
    sound_hours: HourBits = "000000001111111111110000"
    until: Moment | None = None


class LimitArgs(Message):
    power_w: Annotated[int, Field(ge=0, le=2**40)] | None = Field(default=None, description="null lifts the limit")
    alarm_delay_min: Annotated[int, Field(ge=0, le=15)] = 0
    until: Moment | None = None
    safe_load_w: Watt | None = None


class TripArgs(Message):
    round: RoundNo
    alarm_delay_min: Annotated[int, Field(ge=0, le=15)] = 0
    limit_min: Minutes = 0
    safe_load_w: Watt | None = None


class CloseArgs(Message):
    round: RoundNo
    manner: Literal["allow", "direct"] = "allow"


class GuaranteeArgs(Message):
    on: bool
    until: Moment | None = None


class ConfigureArgs(Message):
    report_interval_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    heartbeat_interval_s: Annotated[int, Field(ge=1, le=3_600)] | None = None
    trip_order: list[RoundNo] | None = Field(default=None, max_length=ROUNDS_FITTED_AT_MOST)
    round_alarm_min: Annotated[int, Field(ge=0, le=60)] | None = None
    auto_guarantee_min: Minutes | None = None
    alarm_hours: HourBits | None = None


ARGS_MODELS: dict[Op, type[Message]] = {
    Op.CREDIT: CreditArgs,
    Op.CONTROL: ControlArgs,
    Op.WARN: WarnArgs,
    Op.LIMIT: LimitArgs,
    Op.TRIP: TripArgs,
    Op.CLOSE: CloseArgs,
    Op.GUARANTEE: GuaranteeArgs,
    Op.CONFIGURE: ConfigureArgs,
}


class CommandClaims(Message):
    """What is inside the signature of `dn/command`; `args` has the shape that `op` says (`ARGS_MODELS`)."""

    id: UUID
    terminal_id: TerminalId
    op: Word = Field(description="one of the operations; an unknown one is refused as UNSUPPORTED")
    args: dict[str, Any]
    slot: SlotName
    version: Annotated[int, Field(ge=1, le=2**62)]
    step: Step
    issued_at: Moment
    expires_at: Moment
    session: SessionId | None = Field(default=None, description="cut commands: the session it is meant for")
    max_uptime_s: Seconds | None = Field(default=None, description="cut commands: not after this uptime")
    nonce: Word | None = Field(default=None, description="operate: the nonce of `armed`")
    stage: Word | None = None
    reason: Sentence


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
