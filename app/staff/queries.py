"""Who works here, and where."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.roles import Role
from app.staff.models import Office, StaffMember
from app.staff.rules import sign_in_name_of


class OfficeUnknown(NotFound):
    title = "There is no such office"


class StaffMemberUnknown(NotFound):
    title = "There is no such person"


def find_by_sign_in_name(session: Session, *, name: str) -> StaffMember | None:
    """Return the person of a sign-in name in any case, or None."""
    return session.scalar(select(StaffMember).where(StaffMember.sign_in_name == sign_in_name_of(name)))


def get_staff_member(session: Session, *, staff_member_id: UUID) -> StaffMember:
    person = session.get(StaffMember, staff_member_id)
    if person is None:
        raise _unknown(staff_member_id)
    return person


def lock_staff_member(session: Session, *, staff_member_id: UUID) -> StaffMember:
    """Return a person as they are now, and keep others from letting them in or changing them until the end."""
    return _one(session.scalars(_locking(StaffMember.id == staff_member_id)).all(), staff_member_id=staff_member_id)


def lock_with_administrators(session: Session, *, staff_member_id: UUID) -> tuple[StaffMember, list[UUID]]:
    """Return a person and the ids of all active administrators, all locked in the order of ids."""
    is_administrator = StaffMember.roles.contains([Role.ADMINISTRATOR.value]) & StaffMember.active
    found = session.scalars(_locking(or_(StaffMember.id == staff_member_id, is_administrator))).all()
    administrators = [each.id for each in found if each.active and Role.ADMINISTRATOR in each.roles]
    return _one(found, staff_member_id=staff_member_id), administrators


def _locking(which: ColumnElement[bool]) -> Select[StaffMember]:
    statement = select(StaffMember).where(which).order_by(StaffMember.id).with_for_update(key_share=True)
    return statement.execution_options(populate_existing=True)


def _one(found: Sequence[StaffMember], *, staff_member_id: UUID) -> StaffMember:
    for person in found:
        if person.id == staff_member_id:
            return person
    raise _unknown(staff_member_id)


def _unknown(staff_member_id: UUID) -> StaffMemberUnknown:
    return StaffMemberUnknown(f"there is no person {staff_member_id}", remedy="GET /api/v1/staff lists everybody")


def list_staff(session: Session, *, limit: int, after: str | None = None) -> Sequence[StaffMember]:
    """Return up to ``limit`` people in the order of sign-in names, after the name ``after``."""
    statement = select(StaffMember).order_by(StaffMember.sign_in_name).limit(limit)
    if after is not None:
        statement = statement.where(StaffMember.sign_in_name > after)
    return session.scalars(statement).all()


def get_office(session: Session, *, code: str) -> Office:
    office = session.scalar(select(Office).where(Office.code == code))
    if office is None:
        raise OfficeUnknown(f"there is no office {code!r}", remedy="GET /api/v1/offices lists the codes")
    return office


def list_offices(session: Session, *, limit: int, after: str | None = None) -> Sequence[Office]:
    """Return up to ``limit`` offices in the order of codes, after the code ``after``."""
    statement = select(Office).order_by(Office.code).limit(limit)
    if after is not None:
        statement = statement.where(Office.code > after)
    return session.scalars(statement).all()
