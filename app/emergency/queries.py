"""Reads of emergency credits."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.emergency.models import EmergencyCredit


def list_credits(
    session: Session, supply_point_id: UUID, *, limit: int, before_id: UUID | None
) -> list[EmergencyCredit]:
    """Return up to ``limit`` credits of a supply point, newest first, lent before the one with ``before_id``."""
    wanted = (
        select(EmergencyCredit)
        .where(EmergencyCredit.supply_point_id == supply_point_id)
        .order_by(EmergencyCredit.id.desc())
        .limit(limit)
    )
    if before_id is not None:
        wanted = wanted.where(EmergencyCredit.id < before_id)
    return list(session.scalars(wanted))
