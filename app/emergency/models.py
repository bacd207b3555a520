"""The table of emergency credits."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, Wh


class EmergencyCredit(Base):
    """Energy lent once to who asked for it; only ever added."""

    __tablename__ = "emergency_credits"

    id: Mapped[Id]
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    energy_wh: Mapped[Wh]
    paid_until_wh: Mapped[Wh]
    order_no: Mapped[int] = mapped_column(BigInteger)
    command_id: Mapped[UUID]
    energy_transaction_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    #: Who at the customer asked for it.
    asked_by: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(Text)
    lent_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    lent_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_emergency_credits_supply_point_id", "supply_point_id", "lent_at"),
        CheckConstraint("energy_wh > 0", name="energy"),
    )
