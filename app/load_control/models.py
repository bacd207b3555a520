"""Tables of the stage that each supply point is in, and of every decision with its reasons."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, Wh
from app.load_control.facts import Stage

_STAGES = ", ".join(f"'{stage.word}'" for stage in Stage)


class ControlState(Base):
    """The stage now, and when to look again: at a moment, or at a reading of the terminal's counter."""

    __tablename__ = "control_states"

    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(10), default=Stage.NORMAL.word)
    since: Mapped[datetime]
    paid_until_wh: Mapped[Wh]
    because: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    held: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    decision_id: Mapped[UUID | None]
    look_again_at: Mapped[datetime] = mapped_column(index=True)
    look_again_at_wh: Mapped[Wh | None]

    __table_args__ = (
        CheckConstraint(f"stage IN ({_STAGES})", name="stage"),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class StageDecisionRecord(Base):
    """A decision that changed the stage, or what stands against it; only ever added."""

    __tablename__ = "stage_decisions"

    id: Mapped[Id]
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    decided_at: Mapped[datetime]
    trigger: Mapped[str] = mapped_column(String(30))
    stage_before: Mapped[str] = mapped_column(String(10))
    stage: Mapped[str] = mapped_column(String(10))
    because: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    held: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index("ix_stage_decisions_supply_point_id", "supply_point_id", "decided_at"),)
