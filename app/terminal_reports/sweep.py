"""Time passing: takes silent terminals off line, and makes the months' partitions ahead of time."""

from datetime import date, datetime, timedelta

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.clock import Clock
from app.database import in_transaction
from app.terminals import presence

log = structlog.get_logger()

#: Three heartbeats at the usual minute.
SILENT_AFTER_S = 180
_MONTHS_AHEAD = 3


def note_silence(engine: Engine, *, clock: Clock) -> list[str]:
    """Take terminals off line that have been silent for three heartbeats; returns their ids."""
    seen_before = clock.now() - clock.lived(SILENT_AFTER_S)
    silent = in_transaction(engine, presence.note_silence, seen_before=seen_before)
    if silent:
        log.warning("terminals are silent", count=len(silent), first=silent[:5])
    return silent


def make_partitions(engine: Engine, *, now: datetime) -> int:
    """Make the partitions of this month and the next ones; returns how many were missing."""
    first = now.replace(day=1)
    months = [(first + timedelta(days=31 * ahead)).replace(day=1).date() for ahead in range(_MONTHS_AHEAD + 1)]
    return in_transaction(engine, _make_partitions, months)


def _make_partitions(session: Session, months: list[date]) -> int:
    made = text("SELECT count(*) FROM unnest(CAST(:months AS date[])) AS month WHERE make_report_partition(month)")
    return int(session.execute(made, {"months": months}).scalar_one())
