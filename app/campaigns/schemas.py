"""HTTP shapes of campaigns."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.campaigns.books import Meant
from app.campaigns.queries import CampaignSeen, TargetSeen, standing_of
from app.campaigns.rules import CampaignState, Counts, Progress, wave_sizes
from app.campaigns.service import Choice
from app.commands.rules import CommandState, Op
from app.http.moments import Moment
from app.notices.rules import NoticeKind
from app.orders.rules import Action
from app.orders.schemas import AlarmDelay, RoundNo, Sentence

#: So many ids fit into `max_body_bytes`; who means more names an office, a feeder or a stage.
_MOST_TARGETS = 5_000

StageWord = Literal["normal", "notice", "warning", "limited", "tripped"]


class Chosen(BaseModel):
    """Whom it means: the supply points named, or every one under contract that fits all that is said."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    supply_point_ids: list[UUID] = Field(
        default_factory=list, max_length=_MOST_TARGETS, json_schema_extra={"uniqueItems": True}
    )
    office: str | None = Field(default=None, max_length=60, examples=["PD"])
    feeder: str | None = Field(default=None, max_length=60)
    stage: StageWord | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name supply points, an office, a feeder or a stage")
        if len(set(self.supply_point_ids)) != len(self.supply_point_ids):
            raise ValueError("name each supply point once")
        return self

    def choice(self) -> Choice:
        return Choice(**self.model_dump())


class _ToMake(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: Action
    choose: Chosen
    reason: Sentence = Field(examples=["the grid is short tomorrow; orderly use, step 2"])

    def meant(self, *, by: UUID) -> Meant:
        named = {"action", "choose", "reason"}
        arguments = self.model_dump(exclude=named, exclude_none=True)
        return Meant(action=self.action, arguments=arguments, reason=self.reason, by=by)


class ToRemind(_ToMake):
    action: Literal[Action.REMIND, Action.WARN]


class ToNotify(_ToMake):
    action: Literal[Action.NOTIFY]
    kind: Literal[NoticeKind.WRITTEN, NoticeKind.SECOND] = NoticeKind.WRITTEN
    cut_not_before: Moment = Field(examples=["2026-03-04T02:00:00Z"])


class ToLimit(_ToMake):
    """Limit the load of each; without `power_w` to what its contract says."""

    action: Literal[Action.LIMIT]
    power_w: int | None = Field(default=None, ge=0, le=2**40, examples=[300_000])
    alarm_delay_min: AlarmDelay = 0
    until: Moment | None = None


class ToTrip(_ToMake):
    action: Literal[Action.TRIP]
    round: RoundNo
    alarm_delay_min: AlarmDelay = 0
    limit_min: int = Field(default=0, ge=0, le=525_600)


class ToLift(_ToMake):
    action: Literal[Action.LIFT_LIMIT]


class ToClose(_ToMake):
    action: Literal[Action.ALLOW_CLOSE]
    round: RoundNo


AnyCampaign = Annotated[ToRemind | ToNotify | ToLimit | ToTrip | ToLift | ToClose, Field(discriminator="action")]


class Stop(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Sentence = Field(examples=["the grid has recovered"])


class Resume(BaseModel):
    model_config = ConfigDict(extra="forbid")

    standing: str = Field(
        pattern="^[0-9a-f]{64}$", description="the `standing` that GET /api/v1/campaigns/{id} has shown you"
    )


class CountsShown(BaseModel):
    """How many targets are how far."""

    waiting: int
    left_out: int
    under_way: int
    done: int
    refused: int
    unknown: int
    called_back: int


class CampaignShown(BaseModel):
    """A campaign; how far it is, `GET /campaigns/{id}` says."""

    id: UUID
    action: Action
    arguments: dict[str, Any]
    reason: str
    state: CampaignState
    targets: int = Field(description="supply points at which the order is to be given")
    list_digest: str = Field(description="SHA-256 of the frozen list")
    waves: list[int] = Field(description="how many targets each wave has", examples=[[1, 10, 50, 39]])
    wave: int = Field(description="the wave under way; 0: none yet")
    gives_back: UUID | None = Field(description="the campaign whose cuts this one gives back")
    made_by: str
    made_at: datetime
    approval_id: UUID | None
    started_at: datetime | None
    stopped_because: str | None
    ended_at: datetime | None

    @classmethod
    def of(cls, seen: CampaignSeen) -> "CampaignShown":
        return cls(**_shown(seen))


class CampaignProgress(CampaignShown):
    """A campaign and how far it is; of a draft, what the dry run found."""

    progress: CountsShown
    standing: str = Field(description="SHA-256 of where and why it stands; to resume it, send what you were shown")
    left_out_because: dict[str, int] = Field(description="how many are left out for which reason")
    power_at_stake_w: int = Field(description="what the targets would lose in all")

    @classmethod
    def at(cls, seen: CampaignSeen, *, counts: Counts, because: dict[str, int], power_w: int) -> Self:
        return cls(
            **_shown(seen),
            progress=CountsShown(**asdict(counts)),
            standing=standing_of(seen.campaign, counts=counts),
            left_out_because=because,
            power_at_stake_w=power_w,
        )


class TargetShown(BaseModel):
    """One supply point: what it would be told or why not, in which wave, and what became of it."""

    position: int
    supply_point_id: UUID
    point_no: str
    customer_zh: str
    customer_en: str
    feeder: str
    wave: int | None
    op: Op | None
    args: dict[str, Any] | None
    power_w: int | None = Field(description="what it would lose")
    progress: Progress
    command_id: UUID | None
    command_state: CommandState | None
    left_out: list[dict[str, Any]] | None = Field(description="why nothing is ordered: code, zh and en")

    @classmethod
    def of(cls, seen: TargetSeen) -> "TargetShown":
        row = seen.target
        same = ("position", "supply_point_id", "feeder", "wave", "op", "args", "power_w", "command_id", "left_out")
        return cls(
            **{name: getattr(row, name) for name in same},
            point_no=seen.point_no,
            customer_zh=seen.customer_zh,
            customer_en=seen.customer_en,
            progress=seen.progress,
            command_state=CommandState(seen.command_state) if seen.command_state else None,
        )


def _shown(seen: CampaignSeen) -> dict[str, Any]:
    row = seen.campaign
    same = set(CampaignShown.model_fields) - {"made_by", "waves"}
    restores = Action(row.action) in (Action.LIFT_LIMIT, Action.ALLOW_CLOSE)
    return {
        **{name: getattr(row, name) for name in same},
        "made_by": seen.made_by,
        "waves": [row.targets] if restores else wave_sizes(row.targets),
    }
