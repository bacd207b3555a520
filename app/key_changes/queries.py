"""Reads of key changes: which statements there are, and how many terminals hold which."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.terminals.models import RecordedStatement, Terminal

_HOLD = text("""
    SELECT CAST(coalesce(live.keys_told, terminal.keys_pinned)->>'serial' AS bigint) AS serial,
           live.keys_told IS NOT NULL AS has_told, count(*) AS terminals
      FROM terminals AS terminal JOIN terminal_live AS live ON live.terminal_id = terminal.id
     WHERE terminal.retired_at IS NULL
     GROUP BY 1, 2 ORDER BY 1 DESC NULLS LAST, 2 DESC
""")
# The newest command of each terminal says how far it has come; one that holds the statement needs none.
_WAY = text("""
    SELECT newest.state, count(*) AS terminals
      FROM terminals AS terminal JOIN terminal_live AS live ON live.terminal_id = terminal.id
      CROSS JOIN LATERAL (SELECT command.state FROM commands AS command
                           WHERE command.terminal_id = terminal.id AND command.slot = 'keys'
                           ORDER BY command.version DESC LIMIT 1) AS newest
     WHERE terminal.retired_at IS NULL
       AND coalesce(CAST(live.keys_told->>'serial' AS bigint), 0) < (SELECT max(serial) FROM key_statements)
     GROUP BY 1 ORDER BY 1
""")
_BEHIND = text("""
    SELECT terminal.id
      FROM terminals AS terminal JOIN terminal_live AS live ON live.terminal_id = terminal.id
     WHERE terminal.retired_at IS NULL
       AND coalesce(CAST(coalesce(live.keys_told, terminal.keys_pinned)->>'serial' AS bigint), 0) < :serial
     ORDER BY terminal.id
""")


class Holding(NamedTuple):
    """How many terminals in service hold a statement; ``has_told`` is False where registration is all we know."""

    serial: int | None
    has_told: bool
    terminals: int


def statements(session: Session) -> Sequence[RecordedStatement]:
    """Return every statement, newest first."""
    return session.scalars(select(RecordedStatement).order_by(RecordedStatement.serial.desc())).all()


def holdings(session: Session) -> list[Holding]:
    return [Holding(*row) for row in session.execute(_HOLD)]


def on_the_way(session: Session) -> dict[str, int]:
    """Return how many terminals that do not hold the last statement have come how far with it."""
    return {row.state: row.terminals for row in session.execute(_WAY)}


def behind(session: Session, *, serial: int) -> Sequence[str]:
    """Return the terminals in service, in the order of ids, that are not known to hold a statement."""
    return session.scalars(_BEHIND, {"serial": serial}).all()


def places(session: Session, terminal_ids: Sequence[str]) -> dict[str, UUID]:
    """Return the supply point of each of these terminals that is in service."""
    rows = session.execute(
        select(Terminal.id, Terminal.supply_point_id)
        .where(Terminal.id.in_(terminal_ids), Terminal.retired_at.is_(None))
        .order_by(Terminal.id)
    )
    return {row.id: row.supply_point_id for row in rows}
