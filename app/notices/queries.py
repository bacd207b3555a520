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


def list_notices(session: Session, supply_point_id: UUID, *, limit: int, before_id: UUID | None) -> list[Notice]:
    """Return up to ``limit`` notices of a supply point, newest first, given before the one with ``before_id``."""
    wanted = select(Notice).where(Notice.supply_point_id == supply_point_id).order_by(Notice.id.desc()).limit(limit)
    if before_id is not None:
        wanted = wanted.where(Notice.id < before_id)
    return list(session.scalars(wanted))
