"""HTTP shapes of requests that need a second person."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.approvals.books import Asked, Looked
from app.approvals.queries import ApprovalSeen
from app.approvals.rules import ApprovalState, Kind
from app.brake.rules import Scope
from app.brake.schemas import LimitToSet
from app.calendars.schemas import NoCutToEnd
from app.campaigns.schemas import CampaignProgress
from app.http.moments import Moment
from app.load_control.facts import Cut
from app.load_control.queries import Site
from app.load_control.schemas import NoticeShown, ReasonShown
from app.notices.models import Notice
from app.orders.schemas import AnyCut
from app.refunds.schemas import RefundToAsk

_MOST_ORDERS = 20

Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
AnyOneCut = Annotated[AnyCut, Field(discriminator="action")]


class OrdersToApprove(BaseModel):
    """Cuts that belong together: all of them are approved, or none."""

    model_config = ConfigDict(extra="forbid")

    orders: list[AnyOneCut] = Field(min_length=1, max_length=_MOST_ORDERS)

    def asked(self, *, by: UUID) -> Asked:
        reasons = dict.fromkeys(one.reason for one in self.orders)
        wanted = {"orders": [_plain(one) for one in self.orders]}
        return Asked(kind=Kind.ORDERS, wanted=wanted, reason="; ".join(reasons), requested_by=by)


class OrderAlone(BaseModel):
    """One cut at one supply point, without approval."""

    model_config = ConfigDict(extra="forbid")

    order: AnyOneCut

    def asked(self, *, by: UUID) -> Asked:
        wanted = {"orders": [_plain(self.order)]}
        return Asked(kind=Kind.ORDERS, wanted=wanted, reason=self.order.reason, requested_by=by)


class RefundToApprove(RefundToAsk):
    """A reversal or a refund of more than one person may take back alone."""

    def asked(self, *, by: UUID) -> Asked:
        new = self.to_ask(asked_by=by)
        wanted = {"purchase_no": new.purchase_no, "kind": new.kind.value, "energy_wh": new.energy_wh}
        return Asked(kind=Kind.REFUND, wanted=wanted, reason=new.reason, requested_by=by)


class LimitToApprove(LimitToSet):
    """More cuts, or more power, than an hour may bring now."""

    scope: Scope

    def asked(self, *, by: UUID) -> Asked:
        wanted = {
            "scope": self.scope.value,
            "cuts_per_hour": self.cuts_per_hour,
            "power_w_per_hour": self.power_w_per_hour,
        }
        return Asked(kind=Kind.BRAKE_LIMIT, wanted=wanted, reason=self.reason, requested_by=by)


class RuleEndToApprove(NoCutToEnd):
    """The end of a rule that bars cuts."""

    rule_id: UUID

    def asked(self, *, by: UUID) -> Asked:
        wanted = {"rule_id": str(self.rule_id)}
        return Asked(kind=Kind.NO_CUT_RULE_END, wanted=wanted, reason=self.reason, requested_by=by)


class PolicyToApprove(BaseModel):
    """What the service may cut by itself, and how long before it tells."""

    model_config = ConfigDict(extra="forbid")

    office: str | None = Field(default=None, max_length=60, description="code of an office; null: everywhere")
    jurisdiction: Words = Field(examples=["上海 Shanghai"])
    source: Words = Field(description="where it is written", examples=["provincial supply rules, article 30"])
    automatic_limits: bool
    automatic_trips: bool
    written_notice_s: int = Field(ge=1, le=2**31, examples=[259_200])
    second_notice_s: int = Field(ge=1, le=2**31, examples=[1_800])
    valid_from: Moment | None = Field(default=None, description="null: from its approval")
    reason: Words = Field(examples=["the province asks for seven days from next year"])

    def asked(self, *, by: UUID) -> Asked:
        wanted = self.model_dump(mode="json", exclude={"reason"})
        return Asked(kind=Kind.TRIP_POLICY, wanted=wanted, reason=self.reason, requested_by=by)


class CampaignToApprove(BaseModel):
    """A campaign that limits or trips; its list was frozen when it was made."""

    model_config = ConfigDict(extra="forbid")

    campaign_id: UUID
    reason: Words = Field(examples=["the grid is short tomorrow; orderly use, step 2"])

    def asked(self, *, by: UUID) -> Asked:
        wanted = {"campaign_id": str(self.campaign_id)}
        return Asked(kind=Kind.CAMPAIGN, wanted=wanted, reason=self.reason, requested_by=by)


class Approve(BaseModel):
    model_config = ConfigDict(extra="forbid")

    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="as the request shows it: you approve what you have looked at"
    )


class Refuse(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Words = Field(examples=["the customer has paid at the bank this morning"])


class Review(BaseModel):
    model_config = ConfigDict(extra="forbid")

    finding: Words = Field(examples=["the fire brigade had asked for it; their sheet is filed"])


class AgainstShown(BaseModel):
    """What stands against a cut at one supply point now; empty where nothing does."""

    supply_point_id: UUID
    cut: Cut
    interlocks: list[ReasonShown]


class PointSeen(BaseModel):
    """A supply point as it is now, with the notices that its customer was given."""

    supply_point_id: UUID
    point_no: str
    customer_zh: str
    customer_en: str
    stage: str
    because: list[ReasonShown]
    remaining_wh: int
    active_power_w: int | None
    reported_at: datetime | None
    online: bool
    limit_w: int | None
    rounds: str | None = Field(description="relays: 1 closed, 0 tripped", examples=["11------"])
    guarantee: str | None
    notices: list[NoticeShown]

    @classmethod
    def of(cls, site: Site, notices: list[Notice]) -> Self:
        live = site.live
        state = (live.state or {}) if live else {}
        return cls(
            supply_point_id=site.supply_point.id,
            point_no=site.supply_point.point_no,
            customer_zh=site.customer.name_zh,
            customer_en=site.customer.name_en,
            stage=site.control.stage,
            because=[ReasonShown.model_validate(one) for one in site.control.because],
            remaining_wh=site.remaining_wh,
            active_power_w=live.active_power_w if live else None,
            reported_at=live.supplied_at if live else None,
            online=bool(live and live.online),
            limit_w=state.get("limit_w"),
            rounds=state.get("rounds"),
            guarantee=state.get("guarantee"),
            notices=[NoticeShown.of(one) for one in notices],
        )


class ApprovalShown(BaseModel):
    """A request: what is wanted, what it was to meet, who stands behind it, and what came of it."""

    id: UUID
    kind: Kind
    state: ApprovalState
    wanted: dict[str, Any] = Field(description="targets and arguments; of orders also the commands that would go out")
    standing: dict[str, Any] = Field(description="what it was to meet when it was asked for")
    digest: str = Field(description="SHA-256 of both; who approves sends it back")
    reason: str
    requested_by: str
    requested_at: datetime
    lapses_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decided_because: str | None
    review_due_at: datetime | None = Field(description="of what one person did alone")
    reviewed_by: str | None
    reviewed_at: datetime | None
    finding: str | None
    result: dict[str, Any] | None

    @classmethod
    def of(cls, seen: ApprovalSeen, *, now: datetime) -> "ApprovalShown":
        return cls(**_shown(seen, now=now))


class CampaignNow(CampaignProgress):
    """A campaign as it was made, and as it would go at this moment."""

    left_out_now: dict[str, int] = Field(description="how many targets would be left out now, by reason")


class ApprovalNow(ApprovalShown):
    """A request with everything that is needed to decide it."""

    changed: list[str] = Field(description="since it was asked for; if anything has, it cannot be approved")
    now_met: dict[str, Any] | None = Field(description="what it would meet now; null: it cannot be done at all")
    against: list[AgainstShown]
    supply_points: list[PointSeen]
    campaign: CampaignNow | None = Field(
        description="of a campaign that waits: its dry run, and who would be left out now"
    )

    @classmethod
    def at(
        cls,
        seen: ApprovalSeen,
        *,
        looked: Looked | None,
        changed: list[str],
        points: list[PointSeen],
        campaign: CampaignNow | None,
        now: datetime,
    ) -> Self:
        return cls(
            **_shown(seen, now=now),
            changed=changed,
            now_met=looked.standing if looked else None,
            against=[
                AgainstShown(
                    supply_point_id=one.supply_point_id,
                    cut=one.cut,
                    interlocks=[ReasonShown.model_validate(reason.as_json()) for reason in one.reasons],
                )
                for one in (looked.against if looked else ())
            ],
            supply_points=points,
            campaign=campaign,
        )


def _shown(seen: ApprovalSeen, *, now: datetime) -> dict[str, Any]:
    approval = seen.approval
    same = set(ApprovalShown.model_fields) - {"requested_by", "decided_by", "reviewed_by", "state"}
    over = approval.state == ApprovalState.ASKED and now >= approval.lapses_at
    return {
        **{name: getattr(approval, name) for name in same},
        "state": ApprovalState.LAPSED if over else approval.state,
        "requested_by": seen.requested_by,
        "decided_by": seen.decided_by,
        "reviewed_by": seen.reviewed_by,
    }


def _plain(order: AnyCut) -> dict[str, Any]:
    """Write an order in plain JSON, as it is hashed and kept."""
    named = {"action", "supply_point_id", "reason"}
    return {
        "action": order.action.value,
        "supply_point_id": str(order.supply_point_id),
        "reason": order.reason,
        "arguments": order.model_dump(mode="json", exclude=named, exclude_none=True),
    }
