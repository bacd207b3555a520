"""Orders by hand and commands as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.commands.models import CommandStep
from app.commands.queries import CommandGiven
from app.commands.rules import RECALLABLE, CommandClass, CommandState, Op
from app.http.moments import Moment
from app.load_control.schemas import ReasonShown
from app.notices.rules import NoticeKind
from app.orders.rules import Action, Order

_LARGEST_POWER_W = 2**40


RoundNo = Annotated[int, Field(ge=1, le=8, examples=[1])]
AlarmDelay = Annotated[
    int, Field(ge=0, le=15, description="minutes for which the terminal sounds before it acts", examples=[0])
]
HourBits = Annotated[str, StringConstraints(pattern=r"^[01]{24}$")]
Sentence = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=3, max_length=180, pattern=r"^[^\x00-\x1f\x7f]*$")
]


class _Ordered(BaseModel):
    """What every order says: where, and why."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    supply_point_id: UUID
    reason: Sentence = Field(
        description="why, for the record and for the terminal", examples=["asked for by dispatch"]
    )

    def to_give(self, *, requested_by: UUID) -> Order:
        named = {"action", "supply_point_id", "reason"}
        return Order(
            action=self.action,
            supply_point_id=self.supply_point_id,
            reason=self.reason,
            requested_by=requested_by,
            arguments=self.model_dump(exclude=named, exclude_none=True),
        )


class Remind(_Ordered):
    """Remind the customer to buy energy."""

    action: Literal[Action.REMIND]


class Warn(_Ordered):
    """Warn the customer that energy runs out."""

    action: Literal[Action.WARN]


class Notify(_Ordered):
    """Announce a cut: the written notice, or the second one shortly before."""

    action: Literal[Action.NOTIFY]
    kind: Literal[NoticeKind.WRITTEN, NoticeKind.SECOND] = NoticeKind.WRITTEN
    cut_not_before: Moment = Field(
        description="no cut before it; at least the contract's notice period from now",
        examples=["2026-03-04T02:00:00Z"],
    )


class Limit(_Ordered):
    """Limit the load; lower than the limit that stands is a cut."""

    action: Literal[Action.LIMIT]
    power_w: int = Field(ge=0, le=_LARGEST_POWER_W, examples=[300_000])
    alarm_delay_min: AlarmDelay = 0
    until: Moment | None = None


class LiftLimit(_Ordered):
    action: Literal[Action.LIFT_LIMIT]


class Trip(_Ordered):
    """Trip one round; `limit_min` 0 means until it is allowed to close."""

    action: Literal[Action.TRIP]
    round: RoundNo
    alarm_delay_min: AlarmDelay = 0
    limit_min: int = Field(default=0, ge=0, le=525_600, description="minutes for which it stays tripped")


class AllowClose(_Ordered):
    """Let the customer close the round's breaker."""

    action: Literal[Action.ALLOW_CLOSE]
    round: RoundNo


class DirectClose(_Ordered):
    """Close the round's breaker from here; make sure first that nobody works behind it."""

    action: Literal[Action.DIRECT_CLOSE]
    round: RoundNo


class GuaranteeSupply(_Ordered):
    """Guarantee supply: nothing is cut, and tripped rounds are given back."""

    action: Literal[Action.GUARANTEE]
    until: Moment | None = None


class EndGuarantee(_Ordered):
    action: Literal[Action.END_GUARANTEE]


class EnableControl(_Ordered):
    """Let the terminal act in the contract's control mode."""

    action: Literal[Action.ENABLE_CONTROL]


class DisableControl(_Ordered):
    action: Literal[Action.DISABLE_CONTROL]


class Configure(_Ordered):
    """Change settings of the terminal; what is left out stays."""

    action: Literal[Action.CONFIGURE]
    report_interval_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    heartbeat_interval_s: Annotated[int, Field(ge=1, le=3_600)] | None = None
    trip_order: Annotated[list[RoundNo], Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="fitted rounds, least important first", examples=[[2, 1]]
    )
    round_alarm_min: Annotated[int, Field(ge=0, le=60)] | None = None
    auto_guarantee_min: Annotated[int, Field(ge=0, le=525_600)] | None = Field(default=None, description="0: never")
    alarm_hours: HourBits | None = Field(default=None, examples=["000000001111111111110000"])

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set - {"action", "supply_point_id", "reason"}:
            raise ValueError("name at least one setting to change")
        if self.trip_order and len(set(self.trip_order)) != len(self.trip_order):
            raise ValueError("trip_order names each round once")
        return self


class Refresh(_Ordered):
    """Have the terminal hold exactly what the books say, where the two have come apart."""

    action: Literal[Action.REFRESH]


#: What takes supply away, or energy out of a terminal: it needs a second person, always or where a limit is lowered.
AnyCut = Limit | Trip | EndGuarantee | EnableControl | Refresh

AnyOrder = (
    Remind
    | Warn
    | Notify
    | Limit
    | LiftLimit
    | Trip
    | AllowClose
    | DirectClose
    | GuaranteeSupply
    | EndGuarantee
    | EnableControl
    | DisableControl
    | Configure
    | Refresh
)


class CallBack(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Sentence = Field(examples=["the customer has just paid"])


class NoticeServed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    how: Sentence = Field(
        description="who took it, where, and what proves it", examples=["handed to Wang Qiang at the gate, signed"]
    )


class CommandShown(BaseModel):
    """A command with its four facts: sent, received, executed, verified; each has its own time."""

    id: UUID
    terminal_id: str = Field(examples=["SH-PD-0001"])
    supply_point_id: UUID
    op: Op = Field(examples=["limit"])
    args: dict[str, Any] = Field(examples=[{"power_w": 300_000, "alarm_delay_min": 0, "safe_load_w": 50_000}])
    command_class: CommandClass
    version: int
    stage: str | None
    reason: str = Field(examples=["asked for by dispatch"])
    requested_by: str | None = Field(description="sign-in name; null: the service decided", examples=["li.na"])
    decision_id: UUID | None
    approval_id: UUID | None = Field(description="of a cut by hand: what two persons stand behind")
    state: CommandState
    recallable: bool = Field(description="whether it can still be called back")
    issued_at: datetime
    expires_at: datetime | None = Field(description="of a cut: not armed by then, it is dropped")
    sent_at: datetime | None
    received_at: datetime | None
    executed_at: datetime | None
    verified_at: datetime | None
    ended_at: datetime | None
    attempts: int
    outcome: str | None
    held: list[ReasonShown] | None = Field(
        description="why it is not sent, or was not when it ended: a credit that would lower the terminal, or a cut"
    )
    held_since: datetime | None

    @classmethod
    def of(cls, given: CommandGiven) -> "CommandShown":
        return cls(**_shown(given))


class StepShown(BaseModel):
    """One thing that became known of a command."""

    step: str = Field(examples=["executed"])
    code: str | None = Field(description="why the terminal refused", examples=[None])
    at: datetime
    terminal_at: datetime | None = Field(description="by the terminal's own clock")
    detail: dict[str, Any] = Field(examples=[{"rounds": "10------"}])


class CommandWholeShown(CommandShown):
    steps: list[StepShown]

    @classmethod
    def whole(cls, given: CommandGiven, steps: list[CommandStep]) -> Self:
        return cls(**_shown(given), steps=[StepShown.model_validate(step, from_attributes=True) for step in steps])


def _shown(given: CommandGiven) -> dict[str, Any]:
    command = given.command
    same = set(CommandShown.model_fields) - {"requested_by", "recallable"}
    return {
        **{name: getattr(command, name) for name in same},
        "requested_by": given.requested_by,
        "recallable": command.op != Op.CREDIT and command.state in RECALLABLE,
    }
