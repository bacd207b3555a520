"""What a signed command says: the operation, its arguments, its slot and version, and how long it is good."""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from app.mqtt.values import (
    ROUNDS_FITTED_AT_MOST,
    ControlMode,
    HourBits,
    Message,
    Minutes,
    Moment,
    OrderNo,
    RoundNo,
    Seconds,
    Sentence,
    SessionId,
    SlotName,
    TerminalId,
    Watt,
    Wh,
    Word,
)


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
    KEYS = "keys"


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


class KeysArgs(Message):
    statement: Annotated[str, StringConstraints(max_length=8192)] = Field(
        description="a key statement: compact JWS, signed by the anchor"
    )


ARGS_MODELS: dict[Op, type[Message]] = {
    Op.CREDIT: CreditArgs,
    Op.CONTROL: ControlArgs,
    Op.WARN: WarnArgs,
    Op.LIMIT: LimitArgs,
    Op.TRIP: TripArgs,
    Op.CLOSE: CloseArgs,
    Op.GUARANTEE: GuaranteeArgs,
    Op.CONFIGURE: ConfigureArgs,
    Op.KEYS: KeysArgs,
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
    last_order_no: OrderNo | None = Field(
        default=None, description="cut commands: site codes up to this order give back nothing that it cuts"
    )
    nonce: Word | None = Field(default=None, description="operate: the nonce of `armed`")
    stage: Word | None = None
    reason: Sentence
