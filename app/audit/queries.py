"""Reads of the record: search, and where the chains end."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, column, select, table, text, tuple_
from sqlalchemy.orm import Session

from app.audit.models import AuditEvent
from app.audit.rules import SERVICE_STREAM

# Of the features above, only the names beside an id are read, by table name as foreign keys do.
_OFFICES = table("offices", column("id"), column("code"))
_PEOPLE = table("staff_members", column("id"), column("sign_in_name"))

SERVICE_OFFICE = "-"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a search asks for; what is None does not matter."""

    office: str | None = None
    actor: str | None = None
    action: str | None = None
    subject_kind: str | None = None
    subject: str | None = None
    containing: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Head(NamedTuple):
    """The end of an office's chain."""

    office: str
    stream: UUID
    seq: int
    hash: bytes


class Found(NamedTuple):
    """An event and the code of the office whose chain it stands in."""

    office: str
    event: AuditEvent


def search(session: Session, wanted: Wanted, *, limit: int, before: tuple[datetime, UUID, int] | None) -> list[Found]:
    """Return up to ``limit`` events, newest first, those before the one named by moment, stream and number."""
    statement = (
        select(_OFFICES.c.code, AuditEvent)
        .select_from(AuditEvent)
        .outerjoin(_OFFICES, _OFFICES.c.id == AuditEvent.stream)
        .where(*_conditions(wanted))
        .order_by(AuditEvent.at.desc(), AuditEvent.stream.desc(), AuditEvent.seq.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(tuple_(AuditEvent.at, AuditEvent.stream, AuditEvent.seq) < before)
    return [Found(code or SERVICE_OFFICE, event) for code, event in session.execute(statement)]


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.office == SERVICE_OFFICE:
        found.append(AuditEvent.stream == SERVICE_STREAM)
    elif wanted.office is not None:
        found.append(_OFFICES.c.code == wanted.office)
    if wanted.actor is not None:
        found.append(AuditEvent.actor_id.in_(select(_PEOPLE.c.id).where(_PEOPLE.c.sign_in_name == wanted.actor)))
    for name in ("action", "subject_kind", "subject"):
        value = getattr(wanted, name)
        if value is not None:
            found.append(getattr(AuditEvent, name) == value)
    if wanted.containing is not None:
        found.append(AuditEvent.payload.contains(wanted.containing, autoescape=True))
    if wanted.since is not None:
        found.append(AuditEvent.at >= wanted.since)
    if wanted.until is not None:
        found.append(AuditEvent.at < wanted.until)
    return found


def heads(session: Session) -> list[Head]:
    """Return where each chain ends, in the order of office codes."""
    rows = session.execute(
        text("""
            SELECT coalesce(office.code, :service) AS office, head.stream, head.seq, head.hash
              FROM audit_heads AS head LEFT JOIN offices AS office ON office.id = head.stream
             ORDER BY 1
        """),
        {"service": SERVICE_OFFICE},
    )
    return [Head(*row) for row in rows]


def not_in_the_record(session: Session, exported: Iterable[Head]) -> list[Head]:
    """Return the exported heads that the record does not have any more: it was rewritten after they were exported."""
    missing = []
    for head in exported:
        found = session.get(AuditEvent, (head.stream, head.seq))
        if found is None or found.hash != head.hash:
            missing.append(head)
    return missing
