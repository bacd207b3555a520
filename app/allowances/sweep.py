"""Time passing: once a day, posts to the energy book what terminals have supplied."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.allowances import service
from app.customers import service as customers
from app.database import in_transaction


def post_all(engine: Engine, *, now: datetime) -> int:
    """Post for every supply point with news, each in a transaction of its own; returns the energy in Wh."""
    behind = in_transaction(engine, _behind)
    return sum(in_transaction(engine, _post, point, wh, now=now) for point, wh in behind)


def _behind(session: Session) -> list[tuple[UUID, int]]:
    rows = session.execute(
        text("""
            SELECT allowance.supply_point_id, live.supplied_wh
              FROM allowances AS allowance
              JOIN terminals AS terminal
                ON terminal.supply_point_id = allowance.supply_point_id AND terminal.retired_at IS NULL
              JOIN terminal_live AS live ON live.terminal_id = terminal.id
             WHERE live.supplied_wh > allowance.posted_supplied_wh
             ORDER BY allowance.supply_point_id
        """)
    )
    return [(row.supply_point_id, row.supplied_wh) for row in rows]


def _post(session: Session, supply_point_id: UUID, supplied_wh: int, *, now: datetime) -> int:
    customers.lock_supply_points(session, [supply_point_id])
    return service.post_supplied(session, supply_point_id, supplied_wh=supplied_wh, now=now)
