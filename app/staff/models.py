"""Offices and the people who work in them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id
from app.roles import Role

_KNOWN_ROLES = ", ".join(f"'{role}'" for role in Role)


class Office(Base):
    """Where customers come to pay and people work from (营业厅)."""

    __tablename__ = "offices"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]


class StaffMember(Base):
    """A person who can sign in; one who has left stays, inactive, for the records that name them."""

    __tablename__ = "staff_members"
    __table_args__ = (
        CheckConstraint("sign_in_name = lower(sign_in_name)", name="sign_in_name_is_lower_case"),
        CheckConstraint(f"roles <@ ARRAY[{_KNOWN_ROLES}]::text[]", name="roles_are_known"),
    )

    id: Mapped[Id]
    sign_in_name: Mapped[str] = mapped_column(unique=True)
    name_zh: Mapped[str]
    name_en: Mapped[str]
    office_id: Mapped[UUID] = mapped_column(ForeignKey("offices.id"), index=True)
    #: Argon2id in PHC string form, salt and cost inside.
    password_hash: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    active: Mapped[bool]
    created_at: Mapped[datetime]
