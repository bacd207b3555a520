"""The table of cheques, each in its present state."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.cheques.rules import ChequeState
from app.database import Base, Fen, Id, one_of


class Cheque(Base):
    """A cheque that a customer gave; it clears once, or comes back once."""

    __tablename__ = "cheques"

    id: Mapped[Id]
    contract_id: Mapped[UUID] = mapped_column(ForeignKey("supply_contracts.id"), index=True)
    cheque_no: Mapped[str] = mapped_column(String(20))
    bank: Mapped[str] = mapped_column(String(100))
    drawer: Mapped[str] = mapped_column(String(100))
    drawn_on: Mapped[date]
    amount_fen: Mapped[Fen]
    state: Mapped[str] = mapped_column(String(12))
    taken_at: Mapped[datetime]
    taken_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    receipt_id: Mapped[UUID] = mapped_column(ForeignKey("receipts.id"), unique=True)
    #: What lies in the books until the end; the end reverses it, which can happen once.
    transaction_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    bank_reference: Mapped[str | None] = mapped_column(String(35))
    purchase_no: Mapped[str | None] = mapped_column(String(20), ForeignKey("purchases.purchase_no"), unique=True)
    return_reason: Mapped[str | None] = mapped_column(String(300))
    return_receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("receipts.id"), unique=True)

    __table_args__ = (
        Index("ix_cheques_state", "state", "id"),
        # A cheque that came back may be presented once more.
        Index("uq_cheques_bank", "bank", "cheque_no", unique=True, postgresql_where=text("state <> 'returned'")),
        CheckConstraint(one_of("state", ChequeState), name="state"),
        CheckConstraint("amount_fen > 0", name="amount"),
        CheckConstraint("(state = 'in_clearing') = (ended_at IS NULL)", name="ended"),
        CheckConstraint("(state = 'cleared') = (purchase_no IS NOT NULL)", name="cleared"),
        CheckConstraint("(state = 'returned') = (return_receipt_id IS NOT NULL)", name="returned"),
    )
