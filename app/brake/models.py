"""Tables of the brake: what an hour may bring, what was let through, and where cuts are held for a person."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.brake.rules import Scope
from app.database import Base, Id, one_of


class BrakeLimit(Base):
    """One row for each scope. Whoever lets a cut through locks them all, so that two cannot both be the last one."""

    __tablename__ = "brake_limits"

    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    cuts_per_hour: Mapped[int]
    power_w_per_hour: Mapped[int] = mapped_column(BigInteger)
    set_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    set_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("scope", Scope), name="scope"),
        CheckConstraint("cuts_per_hour > 0 AND power_w_per_hour > 0", name="positive"),
    )


class CutLetThrough(Base):
    """A cut whose last step was sent; only ever added. ``power_w`` is what it was to take away."""

    __tablename__ = "cuts_let_through"

    command_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    office: Mapped[str] = mapped_column(Text)
    feeder: Mapped[str] = mapped_column(Text)
    #: Sign-in name of who ordered it; None: the service decided.
    operator: Mapped[str | None] = mapped_column(Text)
    power_w: Mapped[int] = mapped_column(BigInteger)


class BrakePull(Base):
    """The brake is on in one place from ``pulled_at`` until a person releases it."""

    __tablename__ = "brake_pulls"

    id: Mapped[Id]
    scope: Mapped[str] = mapped_column(String(10))
    #: Code of the office, the feeder, sign-in name of the operator; empty for all.
    place: Mapped[str] = mapped_column(Text)
    pulled_at: Mapped[datetime]
    #: None: the service, since an hour had brought too much.
    pulled_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    because: Mapped[str] = mapped_column(Text)
    released_at: Mapped[datetime | None]
    released_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    released_because: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("uq_brake_pulls_on", "scope", "place", unique=True, postgresql_where=text("released_at IS NULL")),
        Index("ix_brake_pulls_place", "scope", "place", "released_at"),
        CheckConstraint(one_of("scope", Scope), name="scope"),
        CheckConstraint("(scope = 'all') = (place = '')", name="place"),
        CheckConstraint("num_nonnulls(released_at, released_by, released_because) IN (0, 3)", name="released"),
    )
