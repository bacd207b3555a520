"""Time passing: looks again at supply points whose moment has come."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Engine

from app.database import in_transaction
from app.load_control import queries, service
from app.load_control.rules import LOOK_AGAIN
from app.load_control.service import Pace

log = structlog.get_logger()

_AT_ONCE = 25


def run_once(engine: Engine, *, pace: Pace) -> int:
    """Decide anew for every supply point that is due; returns how many."""
    looked_at = 0
    while True:
        now = pace.clock.now()
        due = in_transaction(engine, queries.due, now=now, limit=_AT_ONCE)
        if not due:
            return looked_at
        _decide(engine, due, pace=pace, now=now)
        looked_at += len(due)
        if len(due) < _AT_ONCE:
            return looked_at


def _decide(engine: Engine, supply_point_ids: list[UUID], *, pace: Pace, now: datetime) -> None:
    """Decide together; one by one when that fails, so that one odd point keeps no other waiting."""
    try:
        in_transaction(engine, service.reassess, supply_point_ids, trigger="time", pace=pace, now=now)
    except Exception:
        if len(supply_point_ids) == 1:
            log.exception(
                "no decision could be made; the next try is in an hour", supply_point_id=supply_point_ids[0]
            )
            in_transaction(engine, service.put_off, supply_point_ids[0], until=now + LOOK_AGAIN)
            return
        for supply_point_id in supply_point_ids:
            _decide(engine, [supply_point_id], pace=pace, now=now)
