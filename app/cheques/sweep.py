"""Time passing: how many cheques wait for the bank, and how many for too long."""

from prometheus_client import Gauge
from sqlalchemy import Engine

from app.cheques import queries
from app.clock import Clock
from app.database import in_transaction

IN_CLEARING = Gauge("wattgate_cheques_in_clearing", "Cheques that the bank has neither cleared nor returned")
OVERDUE = Gauge("wattgate_cheques_overdue", "Cheques in clearing for longer than WATTGATE_CHEQUE_OVERDUE_DAYS")


def count_waiting(engine: Engine, *, clock: Clock, overdue_days: int) -> None:
    """Show the figures of this moment."""
    waiting = in_transaction(engine, queries.waiting, now=clock.now(), overdue_days=overdue_days)
    IN_CLEARING.set(waiting.in_clearing)
    OVERDUE.set(waiting.overdue)
