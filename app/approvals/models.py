"""Table of what was asked for, who stands behind it, and what became of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.approvals.rules import ApprovalState, Kind
from app.database import Base, Id, one_of


class Approval(Base):
    """A request; ``digest`` binds the approval to ``wanted`` and to ``standing``, which it was to meet."""

    __tablename__ = "approvals"

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(String(20))
    #: Targets and arguments as they were asked for; of orders also the commands that terminals would get.
    wanted: Mapped[dict[str, Any]] = mapped_column(JSONB)
    standing: Mapped[dict[str, Any]] = mapped_column(JSONB)
    digest: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12))
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    requested_at: Mapped[datetime]
    lapses_at: Mapped[datetime]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    decided_at: Mapped[datetime | None]
    decided_because: Mapped[str | None] = mapped_column(Text)
    review_due_at: Mapped[datetime | None]
    reviewed_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    reviewed_at: Mapped[datetime | None]
    finding: Mapped[str | None] = mapped_column(Text)
    #: What came of it: ids of commands or of a refund.
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    __table_args__ = (
        Index("ix_approvals_asked", "lapses_at", postgresql_where=text("state = 'asked'")),
        Index(
            "ix_approvals_unreviewed",
            "requested_by",
            "review_due_at",
            postgresql_where=text("state = 'alone' AND reviewed_at IS NULL"),
        ),
        CheckConstraint(one_of("kind", Kind), name="kind"),
        CheckConstraint(one_of("state", ApprovalState), name="state"),
        CheckConstraint("state <> 'approved' OR decided_by <> requested_by", name="two_persons"),
        CheckConstraint("state NOT IN ('approved', 'refused') OR decided_by IS NOT NULL", name="decided"),
        CheckConstraint("(state = 'alone') = (review_due_at IS NOT NULL)", name="alone"),
        CheckConstraint("num_nonnulls(reviewed_by, reviewed_at, finding) IN (0, 3)", name="reviewed"),
        CheckConstraint("reviewed_by IS NULL OR reviewed_by <> requested_by", name="reviewed_by_another"),
        CheckConstraint("(state IN ('approved', 'alone')) = (result IS NOT NULL)", name="result"),
    )
