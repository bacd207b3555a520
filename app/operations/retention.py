"""Lets go of old reports, whole months at a time, and of old unreadable messages; never of books or proofs."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.audit import service as audit
from app.audit.console import typist
from app.audit.rules import Deed
from app.clock import Clock
from app.database import in_transaction_of, reading
from app.operations.programs import NotPossible

Tell = Callable[[str], None]

_MONTH = re.compile(r"terminal_reports_(\d{4})_(\d{2})")
_SHOWN_AT_MOST = 5

_PARTITIONS = text("""
    SELECT part.relname AS name, pg_total_relation_size(part.oid) AS size_bytes
      FROM pg_inherits AS child JOIN pg_class AS part ON part.oid = child.inhrelid
     WHERE child.inhparent = CAST('terminal_reports' AS regclass)
     ORDER BY part.relname
""")
_DELETE_LATE = text("""
    WITH gone AS (DELETE FROM terminal_reports_other WHERE at < :before RETURNING 1) SELECT count(*) FROM gone
""")
_DELETE_UNREADABLE = text("""
    WITH gone AS (DELETE FROM quarantined_messages WHERE received_at < :before RETURNING 1) SELECT count(*) FROM gone
""")
# The energy book is posted from the live counter. Where it is behind a month's reports, those are the only witness.
_UNSETTLED = """
    SELECT reported.terminal_id
      FROM (SELECT terminal_id, max(supplied_wh) AS supplied_wh FROM {name} WHERE at < :before
             GROUP BY terminal_id) AS reported
      JOIN terminals AS terminal ON terminal.id = reported.terminal_id AND terminal.retired_at IS NULL
      JOIN allowances AS allowance ON allowance.supply_point_id = terminal.supply_point_id
     WHERE reported.supplied_wh > allowance.posted_supplied_wh
     ORDER BY reported.terminal_id
"""


@dataclass(frozen=True, kw_only=True)
class OldMonth:
    """A month of reports that lies before the limit; ``unsettled`` names terminals that the energy book is behind."""

    table: str
    rows: int
    size_bytes: int
    unsettled: list[str]


@dataclass(frozen=True, kw_only=True)
class Old:
    """All that lies before the limit."""

    before: datetime
    months: list[OldMonth]
    late_reports: int
    unreadable: int


def first_kept(keep_months: int, *, now: datetime) -> datetime:
    """Return the first moment of the oldest month that stays; this month counts as one.

    Two months, asked for on 10 March: from 1 February on.
    """
    months = now.year * 12 + now.month - keep_months
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def look(engine: Engine, *, keep_months: int, now: datetime) -> Old:
    """Return what lies before the limit, without changing anything."""
    with reading(engine) as session:
        return _look(session, before=first_kept(keep_months, now=now))


def let_go(engine: Engine, old: Old, *, tell: Tell) -> None:
    """Drop what was found, each month in a transaction of its own.

    A dropped report that a terminal sends again is not taken for a new one: its spool's numbers stay, and it is noted
    from before when reports went.

    Each step stands in the record of the service itself under the account that has typed the command.

    Raises:
        NotPossible: a month is not settled; nothing was dropped.
    """
    behind = {month.table: month.unsettled for month in old.months if month.unsettled}
    if behind:
        table, terminals = next(iter(behind.items()))
        shown = ", ".join(terminals[:_SHOWN_AT_MOST])
        raise NotPossible(
            f"{table} is not settled: it tells of supply by {shown} that the energy book does not have yet",
            remedy="let the worker post the day's energy, or find out why those terminals' counters are behind",
        )
    by = typist()
    # First, so that nothing which is dropped can be taken for new in between.
    in_transaction_of(engine, by, _note, old)
    for month in old.months:
        rows = in_transaction_of(engine, by, _drop, month, before=old.before)
        tell(f"dropped {month.table}: {rows} reports, {month.size_bytes / 1e6:,.1f} MB")
    reports, unreadable = in_transaction_of(engine, by, _delete_strays, before=old.before)
    tell(f"deleted {reports} reports outside their month and {unreadable} unreadable messages")


def owner_engine(url: str) -> Engine:
    """Connect as the owner; who waits for a busy table lets the worker go first after two seconds."""
    options = "-c lock_timeout=2s -c statement_timeout=10min -c timezone=UTC"
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args={"options": options})


def _look(session: Session, *, before: datetime) -> Old:
    partitions = [(row.name, row.size_bytes) for row in session.execute(_PARTITIONS)]
    return Old(
        before=before,
        months=[
            _measure(session, name, size_bytes=size_bytes, before=before)
            for name, size_bytes in partitions
            if (begins_at := _begins_at(name)) is not None and begins_at < before
        ],
        late_reports=_count(session, "terminal_reports_other WHERE at < :before", before=before),
        unreadable=_count(session, "quarantined_messages WHERE received_at < :before", before=before),
    )


def _begins_at(name: str) -> datetime | None:
    found = _MONTH.fullmatch(name)
    return datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC) if found else None


def _measure(session: Session, name: str, *, size_bytes: int, before: datetime) -> OldMonth:
    unsettled = session.scalars(text(_UNSETTLED.format(name=name)), {"before": before})
    rows = _count(session, f"{name} WHERE at < :before", before=before)
    return OldMonth(table=name, rows=rows, size_bytes=size_bytes, unsettled=list(unsettled))


def _count(session: Session, what: str, *, before: datetime) -> int:
    counted = session.scalar(text(f"SELECT count(*) FROM {what}"), {"before": before})  # noqa: S608 - names of our own
    return int(counted or 0)


def _note(session: Session, old: Old) -> None:
    noted = "INSERT INTO reports_let_go VALUES (:before) ON CONFLICT DO NOTHING"
    session.execute(text(noted), {"before": old.before})
    after = {"before": old.before, "months": [month.table for month in old.months]}
    _record(session, "reports.retention_begun", "terminal_reports", after)


def _drop(session: Session, month: OldMonth, *, before: datetime) -> int:
    # Counted again: what came since the look goes as well. No lock, or reports of other months would wait for it.
    rows = int(session.scalar(text(f"SELECT count(*) FROM {month.table}")) or 0)  # noqa: S608 - a name of our own
    session.execute(text(f"DROP TABLE {month.table}"))
    _record(session, "reports.month_dropped", month.table, {"before": before, "reports": rows})
    return rows


def _delete_strays(session: Session, *, before: datetime) -> tuple[int, int]:
    reports = int(session.scalar(_DELETE_LATE, {"before": before}) or 0)
    unreadable = int(session.scalar(_DELETE_UNREADABLE, {"before": before}) or 0)
    after = {"before": before, "reports": reports, "unreadable_messages": unreadable}
    _record(session, "reports.strays_deleted", "terminal_reports", after)
    return reports, unreadable


def _record(session: Session, action: str, subject: str, after: dict[str, Any]) -> None:
    deed = Deed(action=action, subject_kind="reports", subject=subject, after=after)
    audit.record(session, deed, at=Clock().now())
