"""The table of purchases: what was paid, what it paid off, what it bought, and what was kept."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    Sequence,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Fen, Id, Wh

PURCHASE_NUMBERS = Sequence("purchase_numbers", metadata=Base.metadata)


class Purchase(Base):
    """One sale over the counter. Whole or absent: it is written in the transaction that moves money and energy."""

    __tablename__ = "purchases"

    id: Mapped[Id]
    purchase_no: Mapped[str] = mapped_column(String(20), unique=True)
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    contract_id: Mapped[UUID] = mapped_column(ForeignKey("supply_contracts.id"))
    terminal_id: Mapped[str] = mapped_column(ForeignKey("terminals.id"))
    cashier_id: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    paid_fen: Mapped[Fen]
    debt_paid_fen: Mapped[Fen]
    kept_before_nfen: Mapped[int] = mapped_column(BigInteger)
    kept_after_nfen: Mapped[int] = mapped_column(BigInteger)
    yuan_per_kwh: Mapped[Decimal] = mapped_column(Numeric(18, 8))
    energy_wh: Mapped[Wh]
    #: The part of the energy that gave back what was lent in an emergency; the rest was granted.
    emergency_repaid_wh: Mapped[Wh] = mapped_column(default=0)
    paid_until_wh: Mapped[Wh]
    order_no: Mapped[int] = mapped_column(BigInteger)
    command_id: Mapped[UUID | None]
    money_transaction_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    energy_transaction_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    #: Empty only for purchases of before there were tills.
    receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("receipts.id"), unique=True)
    booked_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("terminal_id", "order_no"),
        Index("ix_purchases_supply_point_id", "supply_point_id", "booked_at"),
        CheckConstraint("paid_fen > 0 AND debt_paid_fen BETWEEN 0 AND paid_fen", name="paid"),
        CheckConstraint("energy_wh >= 0", name="energy"),
        CheckConstraint("emergency_repaid_wh BETWEEN 0 AND energy_wh", name="emergency_repaid"),
        CheckConstraint("(energy_wh = 0) = (energy_transaction_id IS NULL)", name="energy_booked"),
    )
