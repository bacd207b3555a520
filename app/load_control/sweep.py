"""Time passing: looks again at supply points whose moment has come."""

from sqlalchemy import Engine

from app.database import in_transaction
from app.load_control import queries, service
from app.load_control.service import Pace

_AT_ONCE = 200


def run_once(engine: Engine, *, pace: Pace) -> int:
    """Decide anew for every supply point that is due; returns how many."""
    looked_at = 0
    while True:
        now = pace.clock.now()
        due = in_transaction(engine, queries.due, now=now, limit=_AT_ONCE)
        if not due:
            return looked_at
        in_transaction(engine, service.reassess, due, trigger="time", pace=pace, now=now)
        looked_at += len(due)
        if len(due) < _AT_ONCE:
            return looked_at
