"""The table of openings: what each supply point brought along, once."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Fen, Wh


class OpeningBalance(Base):
    """Money and energy from the system before, at a reading of the terminal's counter; one a supply point."""

    __tablename__ = "opening_balances"

    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"), primary_key=True)
    contract_id: Mapped[UUID] = mapped_column(ForeignKey("supply_contracts.id"))
    reading_wh: Mapped[Wh]
    remaining_wh: Mapped[Wh]
    #: What takes paid-until to ``reading_wh + remaining_wh``.
    granted_wh: Mapped[Wh]
    energy_paid_fen: Mapped[Fen]
    debt_fen: Mapped[Fen]
    kept_fen: Mapped[Fen]
    terminal_id: Mapped[str | None] = mapped_column(ForeignKey("terminals.id"))
    order_no: Mapped[int | None] = mapped_column(BigInteger)
    command_id: Mapped[UUID | None]
    money_transaction_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    energy_transaction_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    opened_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    opened_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint(
            "reading_wh >= 0 AND remaining_wh >= 0 AND granted_wh >= 0 AND energy_paid_fen >= 0 AND debt_fen >= 0"
            " AND kept_fen >= 0",
            name="not_below_zero",
        ),
        CheckConstraint("(granted_wh = 0) = (energy_transaction_id IS NULL)", name="energy_booked"),
        CheckConstraint(
            "(energy_paid_fen + debt_fen + kept_fen = 0) = (money_transaction_id IS NULL)", name="money_booked"
        ),
    )
