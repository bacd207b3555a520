"""Time passing: campaigns take their turns, wave by wave; how many run and how many wait for a person, as figures."""

import structlog
from prometheus_client import Gauge
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.campaigns import queries, service
from app.campaigns.rules import CampaignState
from app.database import in_transaction
from app.load_control.service import Pace

log = structlog.get_logger()

CAMPAIGNS = Gauge("wattgate_campaigns", "Campaigns that run, and those that wait, stopped, for a person", ["state"])

_COUNTED = text("SELECT state, count(*) AS campaigns FROM campaigns WHERE state IN ('running', 'stopped') GROUP BY 1")


def run_once(engine: Engine, *, pace: Pace) -> int:
    """Let each running campaign go a step on; returns how many targets were looked at."""
    looked_at = 0
    for campaign_id in in_transaction(engine, queries.running):
        try:
            looked_at += in_transaction(engine, service.take_turn, campaign_id, pace=pace, now=pace.clock.now())
        except OperationalError:
            log.exception("the database is away; the campaign waits for it", campaign_id=campaign_id)
        except Exception as error:
            log.exception("a campaign's turn failed; it stops until somebody has looked", campaign_id=campaign_id)
            because = f"its turn failed: {type(error).__name__}"
            now = pace.clock.now()
            in_transaction(engine, service.stop_by_itself, campaign_id, because=because, now=now)
    return looked_at


def count(engine: Engine) -> None:
    """Show the figures of this moment."""
    counted = in_transaction(engine, _count)
    for state in (CampaignState.RUNNING, CampaignState.STOPPED):
        CAMPAIGNS.labels(state.value).set(counted.get(state.value, 0))


def _count(session: Session) -> dict[str, int]:
    return {row.state: row.campaigns for row in session.execute(_COUNTED)}
