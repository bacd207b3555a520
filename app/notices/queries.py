"""Reads of notices."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.notices.models import Notice


def notices_of(session: Session, supply_point_id: UUID, *, limit: int) -> list[Notice]:
    """Return the latest notices of a supply point, newest first."""
    rows = session.scalars(
        select(Notice).where(Notice.supply_point_id == supply_point_id).order_by(Notice.issued_at.desc()).limit(limit)
    )
    return list(rows)
