"""Tables of campaigns and of their targets, frozen when the list was made."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.campaigns.rules import CampaignState
from app.database import Base, Id, one_of


class Campaign(Base):
    """One step for many supply points."""

    __tablename__ = "campaigns"

    id: Mapped[Id]
    action: Mapped[str] = mapped_column(String(20))
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12))
    targets: Mapped[int]
    list_digest: Mapped[str] = mapped_column(String(64))
    #: The campaign whose cuts this one gives back.
    gives_back: Mapped[UUID | None] = mapped_column(ForeignKey("campaigns.id"))
    made_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    made_at: Mapped[datetime]
    approval_id: Mapped[UUID | None] = mapped_column(ForeignKey("approvals.id"))
    started_at: Mapped[datetime | None]
    wave: Mapped[int] = mapped_column(default=0)
    wave_began_at: Mapped[datetime | None]
    stopped_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    stopped_because: Mapped[str | None] = mapped_column(Text)
    #: What had come of it when somebody let it go on: refusals that they have looked at stop it no second time.
    looked_at: Mapped[dict[str, int]] = mapped_column(JSONB, default=dict)
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_campaigns_running", "id", postgresql_where=text("state = 'running'")),
        CheckConstraint(one_of("state", CampaignState), name="state"),
        CheckConstraint(
            "action NOT IN ('limit', 'trip') OR state IN ('draft', 'withdrawn') OR approval_id IS NOT NULL",
            name="cuts_approved",
        ),
    )


class CampaignTarget(Base):
    """A supply point of a campaign: what it would be told, or why not, by the dry run; and what became of it."""

    __tablename__ = "campaign_targets"

    campaign_id: Mapped[UUID] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    feeder: Mapped[str] = mapped_column(Text)
    wave: Mapped[int | None]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    terminal_id: Mapped[str | None] = mapped_column(Text)
    op: Mapped[str | None] = mapped_column(String(12))
    args: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    paid_until_wh: Mapped[int | None] = mapped_column(BigInteger)
    power_w: Mapped[int | None] = mapped_column(BigInteger)
    #: Its turn within the wave, in seconds of a machine's life after the wave begins.
    after_s: Mapped[int] = mapped_column(default=0)
    command_id: Mapped[UUID | None] = mapped_column(ForeignKey("commands.id"))
    #: Why nothing was, or would be, ordered: reasons with code, zh and en.
    left_out: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))

    __table_args__ = (
        Index("uq_campaign_targets_point", "campaign_id", "supply_point_id", unique=True),
        Index("ix_campaign_targets_command_id", "command_id", postgresql_where=text("command_id IS NOT NULL")),
        Index(
            "ix_campaign_targets_due",
            "campaign_id",
            "wave",
            "after_s",
            postgresql_where=text("command_id IS NULL AND left_out IS NULL"),
        ),
        CheckConstraint("(wave IS NULL) = (op IS NULL)", name="wave"),
        CheckConstraint("wave IS NOT NULL OR left_out IS NOT NULL", name="left_out"),
    )
