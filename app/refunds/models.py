"""The table of refunds: what was taken back, from which purchase, and what became of its money."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Fen, Id, Wh, one_of
from app.refunds.rules import RefundKind, RefundState


class Refund(Base):
    """Energy leaves the books when it is asked for, money when it is paid out; withdrawn money buys energy again."""

    __tablename__ = "refunds"

    id: Mapped[Id]
    purchase_id: Mapped[UUID] = mapped_column(ForeignKey("purchases.id"))
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str] = mapped_column(Text)
    energy_wh: Mapped[Wh]
    yuan_per_kwh: Mapped[Decimal] = mapped_column(Numeric(18, 8))
    deposit_back_fen: Mapped[Fen]
    debt_reopened_fen: Mapped[Fen]
    kept_before_nfen: Mapped[int] = mapped_column(BigInteger)
    kept_after_nfen: Mapped[int] = mapped_column(BigInteger)
    paid_until_wh: Mapped[Wh]
    #: What the terminal must have taken over; 0 where no energy was granted.
    order_no: Mapped[int] = mapped_column(BigInteger)
    #: The order number that was taken for it, even where nothing had to be sent: its place among the purchases.
    deal_no: Mapped[int] = mapped_column(BigInteger)
    command_id: Mapped[UUID | None]
    energy_transaction_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    asked_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    asked_at: Mapped[datetime]
    released_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    released_at: Mapped[datetime | None]
    released_because: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    money_transaction_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("receipts.id"), unique=True)
    #: Withdrawn: what the money has bought again, and the order that gave it back.
    regranted_wh: Mapped[Wh | None]
    regrant_order_no: Mapped[int | None] = mapped_column(BigInteger)
    regrant_kept_before_nfen: Mapped[int | None] = mapped_column(BigInteger)
    regrant_kept_after_nfen: Mapped[int | None] = mapped_column(BigInteger)
    regrant_transaction_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)

    __table_args__ = (
        Index("uq_refunds_purchase_id", "purchase_id", unique=True, postgresql_where=text("state <> 'withdrawn'")),
        Index("ix_refunds_state", "state", "id"),
        Index("ix_refunds_supply_point_id", "supply_point_id", "asked_at"),
        CheckConstraint(one_of("kind", RefundKind), name="kind"),
        CheckConstraint(one_of("state", RefundState), name="state"),
        CheckConstraint("energy_wh >= 0 AND deposit_back_fen >= 0 AND debt_reopened_fen >= 0", name="amounts"),
        CheckConstraint("(state = 'taking_back') = (ended_at IS NULL)", name="ended"),
        CheckConstraint("(state = 'paid_out') = (receipt_id IS NOT NULL)", name="receipt"),
        CheckConstraint("(state = 'withdrawn') = (regrant_order_no IS NOT NULL)", name="regranted"),
    )
