"""Tables of the energy allowance: one account row a supply point, and the grants that made it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, Wh


class Allowance(Base):
    """Up to which reading of the terminal's counter the energy is paid.

    ``paid_until_wh = opening_supplied_wh + sum of grants``; what is left is ``paid_until_wh`` less the counter. When
    the terminal is exchanged, all three readings move to the new counter.
    ``kept_nfen`` is paid money, below the price of one Wh, that waits for the next purchase.
    """

    __tablename__ = "allowances"

    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"), primary_key=True)
    opening_supplied_wh: Mapped[Wh]
    paid_until_wh: Mapped[Wh]
    posted_supplied_wh: Mapped[Wh]
    kept_nfen: Mapped[int] = mapped_column(BigInteger, default=0)

    __table_args__ = (
        CheckConstraint("kept_nfen >= 0", name="kept"),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class AllowanceGrant(Base):
    """Energy given once, by one purchase or correction; never changed."""

    __tablename__ = "allowance_grants"

    id: Mapped[Id]
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"), index=True)
    transaction_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    reason: Mapped[str] = mapped_column(String(30))
    energy_wh: Mapped[Wh]
    paid_until_wh: Mapped[Wh]
    order_no: Mapped[int] = mapped_column(BigInteger)
    granted_at: Mapped[datetime]
