"""The table of terminal exchanges: by how much the readings of a supply point have moved, and why."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, Wh


class TerminalExchange(Base):
    """One terminal in the place of another; only ever added.

    Grants with a lower order number, or made before it, were made in readings of the old counter and keep them.
    """

    __tablename__ = "terminal_exchanges"

    id: Mapped[Id]
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    old_terminal_id: Mapped[str] = mapped_column(String(32), ForeignKey("terminals.id"), unique=True)
    new_terminal_id: Mapped[str] = mapped_column(String(32), ForeignKey("terminals.id"), unique=True)
    old_final_wh: Mapped[Wh]
    new_start_wh: Mapped[Wh]
    #: What was supplied since the last posting, posted with the exchange.
    supplied_wh: Mapped[Wh]
    paid_until_before_wh: Mapped[Wh]
    paid_until_after_wh: Mapped[Wh]
    #: The new terminal's first order, the refresh that carries all that is paid for; 0 where nothing was sold before.
    order_no: Mapped[int] = mapped_column(BigInteger)
    command_id: Mapped[UUID | None]
    reason: Mapped[str] = mapped_column(Text)
    exchanged_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    exchanged_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_terminal_exchanges_supply_point_id", "supply_point_id", "order_no"),
        CheckConstraint("(order_no = 0) = (command_id IS NULL)", name="credit"),
        CheckConstraint("old_final_wh >= 0 AND new_start_wh >= 0 AND supplied_wh >= 0", name="readings"),
        CheckConstraint(
            "paid_until_after_wh - paid_until_before_wh = new_start_wh - old_final_wh", name="nothing_lost"
        ),
    )
