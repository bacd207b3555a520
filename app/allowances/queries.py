"""Reads of the allowance."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.allowances.models import Allowance, AllowanceGrant


def allowance_of(session: Session, supply_point_id: UUID) -> Allowance | None:
    return session.get(Allowance, supply_point_id)


def grants_of(session: Session, supply_point_id: UUID) -> list[AllowanceGrant]:
    """Return the grants of a supply point, oldest first; they burn in this order."""
    rows = session.scalars(
        select(AllowanceGrant).where(AllowanceGrant.supply_point_id == supply_point_id).order_by(AllowanceGrant.id)
    )
    return list(rows)
