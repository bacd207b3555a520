"""Time passing: requests lapse, and what one person did alone waits for its review, as figures."""

from datetime import datetime

import structlog
from prometheus_client import Gauge
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.approvals import queries, service
from app.database import in_transaction
from app.load_control.service import Pace

log = structlog.get_logger()

WAITING = Gauge("wattgate_approvals_waiting", "Requests that wait for an approver")
UNREVIEWED = Gauge("wattgate_done_alone_unreviewed", "What one person did without approval and nobody has reviewed")
OVERDUE = Gauge("wattgate_done_alone_overdue", "The same, more than a day ago")

_COUNTED = text("""
    SELECT count(*) FILTER (WHERE state = 'asked') AS waiting,
           count(*) FILTER (WHERE state = 'alone') AS unreviewed,
           count(*) FILTER (WHERE state = 'alone' AND review_due_at < :now) AS overdue
      FROM approvals WHERE state = 'asked' OR (state = 'alone' AND reviewed_at IS NULL)
""")


def run_once(engine: Engine, *, pace: Pace) -> int:
    """End the requests whose time is over or whose matter has changed; returns how many."""
    lapsed = 0
    for approval_id in in_transaction(engine, queries.asked_for):
        try:
            lapsed += in_transaction(engine, service.lapse_if_over, approval_id, pace=pace, now=pace.clock.now())
        except Exception:
            log.exception("a request could not be looked at; the next turn follows", approval_id=approval_id)
    return lapsed


def count_waiting(engine: Engine, *, now: datetime) -> None:
    """Show the figures of this moment."""
    in_transaction(engine, _count, now=now)


def _count(session: Session, *, now: datetime) -> None:
    counted = session.execute(_COUNTED, {"now": now}).one()
    WAITING.set(counted.waiting)
    UNREVIEWED.set(counted.unreviewed)
    OVERDUE.set(counted.overdue)
