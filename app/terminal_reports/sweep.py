"""Time passing: takes silent terminals off line, makes partitions ahead of time, measures what is missing."""

from datetime import date, datetime, timedelta

import structlog
from prometheus_client import Gauge
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.clock import Clock
from app.database import in_transaction
from app.terminals import presence

log = structlog.get_logger()

MISSING = Gauge("wattgate_spool_missing_numbers", "Reports and events known to exist that terminals have yet to send")
SPOOLS = Gauge("wattgate_spools_with_gaps", "Terminals of whose spool something is missing")

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
    # Workers that start together make them together.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('make_report_partition'))"))
    made = text("SELECT count(*) FROM unnest(CAST(:months AS date[])) AS month WHERE make_report_partition(month)")
    return int(session.execute(made, {"months": months}).scalar_one())


_MISSING = text("""
    SELECT count(*) AS spools, coalesce(sum(lacking.numbers), 0) AS numbers
      FROM terminal_spools AS spool
      JOIN terminal_live AS live ON live.terminal_id = spool.terminal_id AND live.spool_id = spool.spool_id
     CROSS JOIN LATERAL (
           SELECT sum(upper(gap) - lower(gap)) AS numbers
             FROM unnest(int8multirange(int8range(1, upper(spool.stored))) - spool.stored) AS gap) AS lacking
     WHERE spool.stored <> int8multirange(int8range(1, upper(spool.stored)))
""")


def measure_spools(engine: Engine) -> None:
    """Count what is missing of the spools that terminals write now; a spool that was given up stays as it is."""
    spools, numbers = in_transaction(engine, lambda session: session.execute(_MISSING).one())
    SPOOLS.set(spools)
    MISSING.set(int(numbers))
