"""Time passing: where the brake is on, as a figure."""

from prometheus_client import Gauge
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.brake.rules import Scope
from app.database import in_transaction

PULLED = Gauge("wattgate_brake_pulled", "Places where the brake on cuts is on, until a person releases it", ["scope"])

_ON = text("SELECT scope, count(*) AS pulls FROM brake_pulls WHERE released_at IS NULL GROUP BY scope")


def count_pulled(engine: Engine) -> None:
    """Show the figures of this moment."""
    pulls = in_transaction(engine, _count)
    for scope in Scope:
        PULLED.labels(scope.value).set(pulls.get(scope.value, 0))


def _count(session: Session) -> dict[str, int]:
    return {row.scope: row.pulls for row in session.execute(_ON)}
