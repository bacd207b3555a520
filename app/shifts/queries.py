"""Reads of tills and shifts."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.shifts.models import Till


def list_tills(session: Session, *, limit: int, after: str | None) -> Sequence[Till]:
    """Return up to ``limit`` tills in the order of numbers, after the number ``after``."""
    wanted = select(Till).order_by(Till.till_no).limit(limit)
    if after is not None:
        wanted = wanted.where(Till.till_no > after)
    return session.scalars(wanted).all()
