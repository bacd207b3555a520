"""Reads of trip policies: which one is in force where."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session, aliased

from app.errors import NotFound
from app.policies.models import TripPolicy
from app.staff.models import Office, StaffMember
from app.staff.queries import get_office

# The version in force at a supply point, an office's own before that of everywhere: to be put into a query that
# knows `customer` and is given `:now`.
POLICY = """
    (SELECT jsonb_build_object(
                'version', policy.version, 'automatic_limits', policy.automatic_limits,
                'automatic_trips', policy.automatic_trips, 'written_notice_s', policy.written_notice_s,
                'second_notice_s', policy.second_notice_s)
       FROM trip_policies AS policy
      WHERE policy.valid_from <= :now AND (policy.office_id IS NULL OR policy.office_id = customer.office_id)
      ORDER BY policy.office_id IS NULL, policy.valid_from DESC, policy.version DESC LIMIT 1)
"""


class NoPolicyInForce(NotFound):
    title = "No trip policy is in force there"

    def __init__(self, *, office: str) -> None:
        super().__init__(
            f"No version of a trip policy is in force at office {office}, so nothing is cut there by itself.",
            remedy="Have two people approve one; GET /api/v1/trip-policies lists those that are there.",
            office=office,
        )


class PolicySeen(NamedTuple):
    """A version, the code of its office (None: everywhere), who answers for it, and whether it is in force."""

    policy: TripPolicy
    office: str | None
    proposed_by: str
    approved_by: str
    in_force: bool


def policy_seen(session: Session, policy_id: UUID, *, now: datetime) -> PolicySeen:
    """Return one version that is known to be there."""
    return PolicySeen(*session.execute(_seen(now).where(TripPolicy.id == policy_id)).one())


def list_policies(
    session: Session, *, in_force: bool | None, limit: int, before_id: UUID | None, now: datetime
) -> list[PolicySeen]:
    """Return up to ``limit`` versions, newest first, approved before the one with ``before_id``.

    ``in_force``: only those that hold now, one for each office that has its own and one for all others.
    """
    wanted = _seen(now).order_by(TripPolicy.id.desc()).limit(limit)
    if in_force is not None:
        wanted = wanted.where(_in_force(now) if in_force else ~_in_force(now))
    if before_id is not None:
        wanted = wanted.where(TripPolicy.id < before_id)
    return [PolicySeen(*row) for row in session.execute(wanted)]


def policy_of_office(session: Session, code: str, *, now: datetime) -> PolicySeen:
    """Return the version in force at an office's supply points.

    Raises:
        OfficeUnknown: no office has the code.
        NoPolicyInForce: neither the office nor everywhere has one.
    """
    office = get_office(session, code=code)
    here = or_(TripPolicy.office_id == office.id, TripPolicy.office_id.is_(None))
    own_first = TripPolicy.office_id.is_(None)
    row = session.execute(_seen(now).where(_in_force(now), here).order_by(own_first).limit(1)).first()
    if row is None:
        raise NoPolicyInForce(office=code)
    return PolicySeen(*row)


def _in_force(now: datetime) -> Any:
    """Whether a version has begun, and no later one of the same office has."""
    later = aliased(TripPolicy)
    begun_later = or_(
        later.valid_from > TripPolicy.valid_from,
        and_(later.valid_from == TripPolicy.valid_from, later.version > TripPolicy.version),
    )
    replaced = (
        select(later.id)
        .where(later.office_id.is_not_distinct_from(TripPolicy.office_id), later.valid_from <= now, begun_later)
        .exists()
    )
    return and_(TripPolicy.valid_from <= now, ~replaced)


def _seen(now: datetime) -> Any:
    proposed, approved = aliased(StaffMember), aliased(StaffMember)
    return (
        select(
            TripPolicy, Office.code, proposed.sign_in_name, approved.sign_in_name, _in_force(now).label("in_force")
        )
        .outerjoin(Office, Office.id == TripPolicy.office_id)
        .join(proposed, proposed.id == TripPolicy.proposed_by)
        .join(approved, approved.id == TripPolicy.approved_by)
    )
