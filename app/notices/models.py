"""The table of notices: what a customer was told, until when the cut waits, and whether it arrived."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, one_of
from app.notices.rules import NoticeKind


class Notice(Base):
    """One notice to one supply point; served when there is proof that it arrived."""

    __tablename__ = "notices"

    id: Mapped[Id]
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    kind: Mapped[str] = mapped_column(String(20))
    text_zh: Mapped[str] = mapped_column(Text)
    text_en: Mapped[str] = mapped_column(Text)
    cut_not_before: Mapped[datetime | None]
    issued_at: Mapped[datetime]
    issued_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    command_id: Mapped[UUID | None]
    served_at: Mapped[datetime | None]
    served_how: Mapped[str | None] = mapped_column(String(200))
    withdrawn_at: Mapped[datetime | None]
    withdrawn_because: Mapped[str | None] = mapped_column(String(200))

    __table_args__ = (
        CheckConstraint(one_of("kind", NoticeKind), name="kind"),
        Index("ix_notices_supply_point_id", "supply_point_id", "issued_at"),
        Index("ix_notices_command_id", "command_id"),
    )
