"""Reads of terminals: what is fitted and what they last told."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.terminals.models import RecordedStatement, Terminal, TerminalLive, TerminalRound

_SEEN = select(Terminal, TerminalLive).join(TerminalLive, TerminalLive.terminal_id == Terminal.id)


class NoSuchTerminal(NotFound):
    title = "There is no such terminal"

    def __init__(self, *, terminal_id: str) -> None:
        super().__init__(
            f"No terminal has the id {terminal_id!r}.",
            remedy="Look the id up with GET /api/v1/terminals, or register the terminal first.",
            terminal_id=terminal_id,
        )


class NoTerminalFitted(NotFound):
    title = "No terminal is fitted there"

    def __init__(self, *, supply_point_id: UUID) -> None:
        super().__init__(
            f"Supply point {supply_point_id} has no terminal, so energy cannot reach it.",
            remedy="Register a terminal for the supply point with POST /api/v1/terminals.",
            supply_point_id=str(supply_point_id),
        )


class TerminalSeen(NamedTuple):
    """A terminal and what it last told of itself."""

    terminal: Terminal
    live: TerminalLive


def terminal(session: Session, terminal_id: str) -> Terminal:
    found = session.get(Terminal, terminal_id)
    if found is None:
        raise NoSuchTerminal(terminal_id=terminal_id)
    return found


def terminal_at(session: Session, supply_point_id: UUID) -> Terminal:
    found = session.scalar(
        select(Terminal).where(Terminal.supply_point_id == supply_point_id, Terminal.retired_at.is_(None))
    )
    if found is None:
        raise NoTerminalFitted(supply_point_id=supply_point_id)
    return found


def terminal_seen(session: Session, terminal_id: str) -> TerminalSeen:
    """Return a terminal with its live state.

    Raises:
        NoSuchTerminal: no terminal has the id.
    """
    row = session.execute(_SEEN.where(Terminal.id == terminal_id)).first()
    if row is None:
        raise NoSuchTerminal(terminal_id=terminal_id)
    return TerminalSeen(*row)


def list_terminals(session: Session, *, online: bool | None, limit: int, after: str | None) -> list[TerminalSeen]:
    """Return up to ``limit`` terminals in the order of ids, after the id ``after``."""
    wanted = _SEEN.order_by(Terminal.id).limit(limit)
    if online is not None:
        wanted = wanted.where(TerminalLive.online.is_(online))
    if after is not None:
        wanted = wanted.where(Terminal.id > after)
    return [TerminalSeen(*row) for row in session.execute(wanted)]


def live(session: Session, terminal_id: str) -> TerminalLive | None:
    return session.get(TerminalLive, terminal_id)


def rounds_of(session: Session, terminal_ids: Iterable[str]) -> dict[str, list[TerminalRound]]:
    """Return the rounds fitted to each terminal, in the order of their numbers."""
    found: dict[str, list[TerminalRound]] = {terminal_id: [] for terminal_id in terminal_ids}
    rows = session.scalars(
        select(TerminalRound)
        .where(TerminalRound.terminal_id.in_(list(found)))
        .order_by(TerminalRound.terminal_id, TerminalRound.round)
    )
    for row in rows:
        found[row.terminal_id].append(row)
    return found


def broker_credentials(session: Session) -> dict[str, str]:
    """Return the credential hash of each terminal that may sign in, for a broker's list of users."""
    rows = session.execute(select(Terminal.id, Terminal.credential_hash).where(may_sign_in()).order_by(Terminal.id))
    return {row.id: row.credential_hash for row in rows}


def mosquitto_hashes(session: Session) -> dict[str, str | None]:
    """Return what Mosquitto keeps of each terminal that may sign in; None where an earlier version registered it."""
    rows = session.execute(select(Terminal.id, Terminal.mosquitto_hash).where(may_sign_in()))
    return {row.id: row.mosquitto_hash for row in rows}


def may_sign_in() -> ColumnElement[bool]:
    """Tell in SQL whether a terminal is in service and its credential is not revoked."""
    return and_(Terminal.retired_at.is_(None), Terminal.credential_revoked_at.is_(None))


def newest_statement(session: Session) -> RecordedStatement | None:
    return session.scalar(select(RecordedStatement).order_by(RecordedStatement.serial.desc()).limit(1))


def kids_trusted(session: Session, terminal_ids: Iterable[str]) -> dict[str, list[str]]:
    """Return the ids of the keys that each terminal is known to trust: as it has told, else as it was given them."""
    rows = session.execute(
        select(Terminal.id, TerminalLive.keys_told, Terminal.keys_pinned)
        .join(TerminalLive, TerminalLive.terminal_id == Terminal.id)
        .where(Terminal.id.in_(list(terminal_ids)))
    )
    held: list[tuple[str, dict[str, Any] | None]] = [(row.id, row.keys_told or row.keys_pinned) for row in rows]
    return {terminal_id: keys["kids"] for terminal_id, keys in held if keys is not None}
