"""Sign-ins, attempts to sign in, and API keys. All their moments are machine time: a fast clock ends no sign-in."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.access.rules import MAX_ADDRESS_KEPT, MAX_CLIENT_KEPT, MAX_NAME_KEPT, EndedBecause, Outcome
from app.database import Base, Id, one_of


class SignIn(Base):
    """One sign-in of a person; its id is the ``sid`` of the access token."""

    __tablename__ = "sign_ins"
    __table_args__ = (
        CheckConstraint("(ended_at IS NULL) = (ended_because IS NULL)", name="end_is_whole"),
        CheckConstraint(one_of("ended_because", EndedBecause), name="ended_because"),
        Index("ix_sign_ins_staff_member_id", "staff_member_id", "expires_at"),
        Index("ix_sign_ins_ended", "expires_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[Id]
    staff_member_id: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_because: Mapped[str | None] = mapped_column(String(20))
    address: Mapped[str] = mapped_column(String(MAX_ADDRESS_KEPT))
    #: What the browser or program calls itself.
    client: Mapped[str] = mapped_column(String(MAX_CLIENT_KEPT))


class SignInAttempt(Base):
    """One password that was tried. It counts as a failure until it is known to be right, whatever happens between."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (
        CheckConstraint(one_of("outcome", Outcome), name="outcome"),
        Index("ix_sign_in_attempts_name", "name", "at"),
        Index("ix_sign_in_attempts_address", "address", "at"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(MAX_NAME_KEPT))
    staff_member_id: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    address: Mapped[str] = mapped_column(String(MAX_ADDRESS_KEPT))
    at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(String(20))


class ApiKey(Base):
    """A key of an integration client; the key itself is shown once and kept nowhere."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revocation_is_whole"),
        Index("ix_api_keys_staff_member_id", "staff_member_id"),
    )

    id: Mapped[Id]
    staff_member_id: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    label: Mapped[str] = mapped_column(String(100))
    #: SHA-256; 256 random bits need no slow hash.
    digest: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    #: From where it may be used; empty is from everywhere.
    networks: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime]
    created_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    #: To the minute.
    last_used_at: Mapped[datetime | None]
