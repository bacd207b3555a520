"""The values that messages are made of: bounded numbers, moments, words, and what a terminal holds."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)

from app.mqtt.topics import TERMINAL_ID_PATTERN

ROUNDS_FITTED_AT_MOST = 8
RESULTS_KEPT = 32
ARM_VALID_S = 10
RESEND_AFTER_S = 60


def _rfc_3339(written: Any) -> Any:
    # Pydantic would also take seconds since 1970, as a number or written as text.
    if isinstance(written, datetime) or (isinstance(written, str) and written[10:11] == "T"):
        return written
    raise ValueError("times are RFC 3339: write 2026-01-31T08:00:00.000Z")


def _utc_only(moment: datetime) -> datetime:
    if moment.utcoffset() != timedelta(0):
        raise ValueError("times are UTC: write 2026-01-31T08:00:00.000Z")
    return moment


def _with_milliseconds(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    AwareDatetime,
    Field(strict=False),
    BeforeValidator(_rfc_3339),
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
KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
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


class KeysHeld(Message):
    """Which keys a terminal trusts: those of its last key statement, before the first those that it has pinned."""

    serial: Counter
    kids: list[Word] = Field(max_length=8)


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
