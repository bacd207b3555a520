"""The table of closings: what an account came to, and what became of it."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.closings.rules import ClosingState, Outcome
from app.database import Base, Fen, Id, Wh, one_of


class Closing(Base):
    """Energy leaves the books when it is asked for, money moves when it is finished; withdrawn, energy comes back."""

    __tablename__ = "closings"

    id: Mapped[Id]
    contract_id: Mapped[UUID] = mapped_column(ForeignKey("supply_contracts.id"))
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    state: Mapped[str] = mapped_column(String(12))
    outcome: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str] = mapped_column(Text)
    #: The final reading; paid-until is taken to it.
    reading_wh: Mapped[Wh]
    remaining_wh: Mapped[Wh]
    lent_wh: Mapped[Wh]
    #: Name, energy in Wh and worth in nano-fen of each part that is left, oldest first.
    parts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    #: The value of these parts: whole fen, and the nano-fen below one fen.
    worth_fen: Mapped[Fen]
    worth_nfen: Mapped[int] = mapped_column(BigInteger)
    overused_wh: Mapped[Wh]
    overused_fen: Mapped[Fen]
    #: The price at which energy used beyond what was paid is owed.
    yuan_per_kwh: Mapped[Decimal | None] = mapped_column(Numeric(18, 8))
    deposit_fen: Mapped[Fen]
    debt_fen: Mapped[Fen]
    kept_before_nfen: Mapped[int] = mapped_column(BigInteger)
    #: The fraction of a fen that nobody can pay.
    kept_after_nfen: Mapped[int] = mapped_column(BigInteger)
    #: Above zero out to the customer, below zero in.
    money_fen: Mapped[Fen]
    order_no: Mapped[int] = mapped_column(BigInteger)
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
    #: Withdrawn: the order and the transaction that gave the energy back.
    again_order_no: Mapped[int | None] = mapped_column(BigInteger)
    again_transaction_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)

    __table_args__ = (
        Index("uq_closings_contract_id", "contract_id", unique=True, postgresql_where=text("state <> 'withdrawn'")),
        Index("ix_closings_supply_point_id", "supply_point_id", "asked_at"),
        CheckConstraint(one_of("state", ClosingState), name="state"),
        CheckConstraint(one_of("outcome", Outcome), name="outcome"),
        CheckConstraint(
            "lent_wh >= 0 AND worth_fen >= 0 AND overused_wh >= 0 AND overused_fen >= 0"
            " AND deposit_fen >= 0 AND debt_fen >= 0",
            name="amounts",
        ),
        CheckConstraint(
            "worth_nfen BETWEEN 0 AND 999999999 AND kept_after_nfen BETWEEN 0 AND 999999999", name="fractions"
        ),
        CheckConstraint("(state = 'closing') = (ended_at IS NULL)", name="ended"),
        CheckConstraint("(state = 'finished' AND money_fen <> 0) = (receipt_id IS NOT NULL)", name="receipt"),
        CheckConstraint("(state = 'withdrawn') = (again_order_no IS NOT NULL)", name="again"),
    )
