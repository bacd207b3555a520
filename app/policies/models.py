"""The table of trip policies."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id


class TripPolicy(Base):
    """A version that one person has proposed and another approved; only ever added."""

    __tablename__ = "trip_policies"

    id: Mapped[Id]
    version: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    #: None: every office that has none of its own.
    office_id: Mapped[UUID | None] = mapped_column(ForeignKey("offices.id"))
    #: Whose rules they are, such as «上海 Shanghai».
    jurisdiction: Mapped[str] = mapped_column(Text)
    #: Where they are written: the regulation or agreement and its article.
    source: Mapped[str] = mapped_column(Text)
    automatic_limits: Mapped[bool]
    automatic_trips: Mapped[bool]
    written_notice_s: Mapped[int]
    second_notice_s: Mapped[int]
    valid_from: Mapped[datetime]
    proposed_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    approved_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    approved_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("written_notice_s BETWEEN 259200 AND 2592000", name="written_notice"),
        CheckConstraint("second_notice_s BETWEEN 1800 AND 86400", name="second_notice"),
        CheckConstraint("automatic_limits OR NOT automatic_trips", name="trips_need_limits"),
        CheckConstraint("proposed_by <> approved_by", name="two_people"),
        CheckConstraint("valid_from >= approved_at", name="not_in_the_past"),
    )
