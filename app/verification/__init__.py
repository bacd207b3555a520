"""The invariants of both books and of what hangs on them: each one a query that returns the rows that break it."""

from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.database import reading
from app.verification.books import BOOKS
from app.verification.closings import CLOSINGS
from app.verification.counter import COUNTER
from app.verification.exchanges import EXCHANGES
from app.verification.invariant import Invariant
from app.verification.openings import OPENINGS
from app.verification.receipts import RECEIPTS
from app.verification.record import RECORD
from app.verification.supply import SUPPLY

_SHOWN_AT_MOST = 20

INVARIANTS: tuple[Invariant, ...] = (*BOOKS, *OPENINGS, *EXCHANGES, *CLOSINGS, *COUNTER, *RECEIPTS, *RECORD, *SUPPLY)


def find_broken(session: Session, invariant: Invariant) -> list[dict[str, Any]]:
    """Return up to twenty rows that break the invariant; none means that it holds."""
    rows = session.execute(text(f"{invariant.query} LIMIT {_SHOWN_AT_MOST}")).mappings()
    return [dict(row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What came of asking: rows that break the invariant, or why it could not be asked; neither means that it holds."""

    broken: list[dict[str, Any]] = field(default_factory=list)
    unchecked: str | None = None


HOLDS = Proof()


def prove(engine: Engine, invariant: Invariant) -> Proof:
    """Ask for an invariant in a read-only transaction of its own, so that one that errs keeps no other from its answer.

    Raises:
        SQLAlchemyError: the database itself does not answer.
    """
    reached = False
    try:
        with reading(engine) as session:
            reached = True
            return Proof(broken=find_broken(session, invariant))
    # The last three: a value in the database that Python cannot hold.
    except (SQLAlchemyError, psycopg.Error, ValueError, OverflowError) as error:
        if not reached:
            raise
        return Proof(unchecked=first_line(error))


def first_line(error: Exception) -> str:
    """Return what the database said, without what follows: that may show what is stored in the row."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else "no reason given"
