"""Offices and the people who work in them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, String, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, one_of
from app.roles import Role
from app.staff.rules import Kind

_KNOWN_ROLES = ", ".join(f"'{role}'" for role in Role)


class Office(Base):
    """Where customers come to pay and people work from (营业厅)."""

    __tablename__ = "offices"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]


class StaffMember(Base):
    """A person who can sign in, or a client that is a program; who has left stays, inactive, for the records."""

    __tablename__ = "staff_members"
    __table_args__ = (
        CheckConstraint("sign_in_name = lower(sign_in_name)", name="sign_in_name_is_lower_case"),
        CheckConstraint(f"roles <@ ARRAY[{_KNOWN_ROLES}]::text[]", name="roles_are_known"),
        CheckConstraint(one_of("kind", Kind), name="kind"),
        CheckConstraint(f"(kind = '{Kind.PERSON}') = (password_hash IS NOT NULL)", name="people_have_passwords"),
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(String(10))
    sign_in_name: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    office_id: Mapped[UUID] = mapped_column(ForeignKey("offices.id"), index=True)
    #: Argon2id in PHC string form, salt and cost inside; a client has keys instead.
    password_hash: Mapped[str | None]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    active: Mapped[bool]
    created_at: Mapped[datetime]
