"""The table of site codes that were given out; the digits follow from it and a key, and are kept nowhere."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, Wh


class IssuedSiteCode(Base):
    """What a code carries, and who gave it out first; only ever added."""

    __tablename__ = "site_codes"

    id: Mapped[Id]
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    terminal_id: Mapped[str] = mapped_column(ForeignKey("terminals.id"))
    command_id: Mapped[UUID] = mapped_column(ForeignKey("commands.id"), unique=True)
    order_no: Mapped[int] = mapped_column(BigInteger)
    paid_until_wh: Mapped[Wh]
    release_rounds: Mapped[bool]
    lift_limit: Mapped[bool]
    site_key_id: Mapped[str] = mapped_column(String(16))
    issued_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    issued_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_site_codes_supply_point_id", "supply_point_id", "id"),
        Index("uq_site_codes_order_no", "terminal_id", "order_no", unique=True),
        CheckConstraint("order_no BETWEEN 1 AND 4294967295", name="order_no_uint32"),
    )
