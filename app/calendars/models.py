"""The table of rules that bar cuts."""

import datetime as dt
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.calendars.rules import Bar
from app.database import Base, Id, one_of


class NoCutRule(Base):
    """A rule that bars cuts at an office's supply points, or everywhere; it is never changed, only ended."""

    __tablename__ = "no_cut_rules"

    id: Mapped[Id]
    #: None: every office.
    office_id: Mapped[UUID | None] = mapped_column(ForeignKey("offices.id"))
    bar: Mapped[str] = mapped_column(String(12))
    zone: Mapped[str] = mapped_column(String(60))
    #: Whose public holidays, as ISO 3166 names the country.
    country: Mapped[str] = mapped_column(String(2))
    from_minute: Mapped[int | None]
    until_minute: Mapped[int | None]
    day: Mapped[dt.date | None]
    valid_from: Mapped[dt.date]
    valid_until: Mapped[dt.date | None]
    #: Where it is written: the regulation and its article.
    source: Mapped[str] = mapped_column(Text)
    set_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    set_at: Mapped[dt.datetime]
    ended_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    ended_at: Mapped[dt.datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("bar", Bar), name="bar"),
        CheckConstraint("(bar = 'hours') = (num_nonnulls(from_minute, until_minute) = 2)", name="hours"),
        CheckConstraint(
            "from_minute BETWEEN 0 AND 1439 AND until_minute BETWEEN 0 AND 1440 AND from_minute <> until_minute",
            name="minutes",
        ),
        CheckConstraint("(bar = 'day') = (day IS NOT NULL)", name="day"),
        CheckConstraint("valid_until >= valid_from", name="validity"),
        CheckConstraint("num_nonnulls(ended_by, ended_at) IN (0, 2)", name="ended"),
    )
