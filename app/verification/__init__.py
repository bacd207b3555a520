"""The invariants of both books and of what hangs on them: each one a query that returns the rows that break it."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.verification.books import BOOKS
from app.verification.closings import CLOSINGS
from app.verification.counter import COUNTER
from app.verification.exchanges import EXCHANGES
from app.verification.invariant import Invariant
from app.verification.openings import OPENINGS
from app.verification.record import RECORD
from app.verification.supply import SUPPLY

_SHOWN_AT_MOST = 20

INVARIANTS: tuple[Invariant, ...] = (*BOOKS, *OPENINGS, *EXCHANGES, *CLOSINGS, *COUNTER, *RECORD, *SUPPLY)


def find_broken(session: Session, invariant: Invariant) -> list[dict[str, Any]]:
    """Return up to twenty rows that break the invariant; none means that it holds."""
    rows = session.execute(text(f"{invariant.query} LIMIT {_SHOWN_AT_MOST}")).mappings()
    return [dict(row) for row in rows]
