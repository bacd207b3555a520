"""Reads of what terminals told: reports and events of a supply point, and what could not be read."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.terminal_reports.models import QuarantinedMessage, TerminalEvent, TerminalReport
from app.terminals.models import Terminal

Told = TypeVar("Told", TerminalReport, TerminalEvent)


class Position(NamedTuple):
    """Where a report or event stands among those of its supply point."""

    at: datetime
    seq: int
    spool_id: UUID


@dataclass(frozen=True, kw_only=True)
class Span:
    """From a moment on, until before another; None leaves that side open."""

    begins_at: datetime | None = None
    ends_at: datetime | None = None


def list_reports(
    session: Session, supply_point_id: UUID, *, span: Span, limit: int, before: Position | None
) -> list[TerminalReport]:
    """Return up to ``limit`` reports of a supply point, newest first, before a position."""
    return _list(session, TerminalReport, supply_point_id, span=span, limit=limit, before=before)


def list_events(
    session: Session, supply_point_id: UUID, *, span: Span, limit: int, before: Position | None
) -> list[TerminalEvent]:
    """Return up to ``limit`` events of a supply point, newest first, before a position."""
    return _list(session, TerminalEvent, supply_point_id, span=span, limit=limit, before=before)


def _list(
    session: Session, told: type[Told], supply_point_id: UUID, *, span: Span, limit: int, before: Position | None
) -> list[Told]:
    # Those of terminals that were exchanged since belong to the supply point as well.
    terminal_ids = select(Terminal.id).where(Terminal.supply_point_id == supply_point_id)
    wanted = (
        select(told)
        .where(told.terminal_id.in_(terminal_ids))
        .order_by(told.at.desc(), told.seq.desc(), told.spool_id.desc())
        .limit(limit)
    )
    if span.begins_at is not None:
        wanted = wanted.where(told.at >= span.begins_at)
    if span.ends_at is not None:
        wanted = wanted.where(told.at < span.ends_at)
    if before is not None:
        wanted = wanted.where(tuple_(told.at, told.seq, told.spool_id) < before)
    return list(session.scalars(wanted))


def list_quarantined(session: Session, *, limit: int, before_id: UUID | None) -> list[QuarantinedMessage]:
    """Return up to ``limit`` unreadable messages, newest first, received before the one with ``before_id``."""
    wanted = select(QuarantinedMessage).order_by(QuarantinedMessage.id.desc()).limit(limit)
    if before_id is not None:
        wanted = wanted.where(QuarantinedMessage.id < before_id)
    return list(session.scalars(wanted))
