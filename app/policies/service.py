"""Puts a version of the trip policy in force that two people have approved."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.database import new_id
from app.policies import queries
from app.policies.models import TripPolicy
from app.policies.queries import PolicySeen
from app.policies.rules import ApprovedByProposer, NewPolicy, check_policy
from app.staff.queries import get_office


def put_in_force(
    session: Session, new: NewPolicy, *, proposed_by: UUID, approved_by: UUID, now: datetime
) -> PolicySeen:
    """Add a version, in force from now or from the moment that it names.

    Points that it concerns are decided anew at their next look: within half a minute where a trip is due, within an
    hour elsewhere. What is armed is asked once more before it operates, and meets the version of that moment.

    Raises:
        ApprovedByProposer: one person alone.
        PeriodOutOfRange, TripsWithoutLimits, BeginsInThePast: see :func:`app.policies.rules.check_policy`.
        OfficeUnknown: no office has the code.
    """
    if proposed_by == approved_by:
        raise ApprovedByProposer
    check_policy(new, now=now)
    row = TripPolicy(
        id=new_id(),
        office_id=get_office(session, code=new.office).id if new.office is not None else None,
        jurisdiction=new.jurisdiction,
        source=new.source,
        automatic_limits=new.automatic_limits,
        automatic_trips=new.automatic_trips,
        written_notice_s=new.written_notice_s,
        second_notice_s=new.second_notice_s,
        valid_from=new.valid_from or now,
        proposed_by=proposed_by,
        approved_by=approved_by,
        approved_at=now,
    )
    session.add(row)
    session.flush()
    seen = queries.policy_seen(session, row.id, now=now)
    _record(session, seen, now=now)
    return seen


def _record(session: Session, seen: PolicySeen, *, now: datetime) -> None:
    row = seen.policy
    said = {
        "office": seen.office,
        "jurisdiction": row.jurisdiction,
        "source": row.source,
        "automatic_limits": row.automatic_limits,
        "automatic_trips": row.automatic_trips,
        "written_notice_s": row.written_notice_s,
        "second_notice_s": row.second_notice_s,
        "valid_from": row.valid_from,
        "proposed_by": seen.proposed_by,
        "approved_by": seen.approved_by,
    }
    deed = Deed(
        action="trip_policy.put_in_force", subject_kind="trip_policy", subject=f"version {row.version}", after=said
    )
    audit.record(session, deed, at=now)
