"""Time passing: figures about commands, asked of the database now and then and never at a scrape."""

from datetime import datetime, timedelta

from prometheus_client import Gauge, Histogram
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.clock import Clock
from app.commands.rules import OPEN, CommandState
from app.database import first_id_of, in_transaction

STEP_SECONDS = Histogram(
    "wattgate_command_step_seconds",
    "Machine seconds from one fact of a command to the next: issued, sent, received, executed, verified",
    ["op", "command_class", "step"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400),
)
COMMANDS = Gauge("wattgate_commands", "Commands that are not over, by how far each is known to have come", ["state"])
OLDEST_RESTORE = Gauge(
    "wattgate_oldest_undelivered_restore_seconds",
    "How long the restore that waits longest is not proved, tries anew included; 0 when there is none",
    ["terminal"],
)
HELD = Gauge(
    "wattgate_credits_held",
    "Credits that would lower a terminal below what must stay there, and are not sent for it",
)
TRIPS = Gauge("wattgate_trips_last_hour", "Trips that terminals carried out within the last hour")

#: What came to nothing is tried anew within this.
_TRIED_ANEW_WITHIN = timedelta(minutes=5)
#: A step is dated when it happens and seen when it is committed; a batch takes no longer than this.
_COMMITTED_AFTER = timedelta(seconds=15)

# Ids of steps rise with the machine's time, so that the primary key finds what is new.
_STEPS = text("""
    SELECT command.op, command.command_class, fact.step, extract(epoch FROM fact.at - fact.since) AS seconds
      FROM (SELECT DISTINCT command_id, at FROM command_steps WHERE id >= :since AND id < :until) AS noted
      JOIN commands AS command ON command.id = noted.command_id
     CROSS JOIN LATERAL (VALUES
           ('sent', command.sent_at, command.issued_at),
           ('received', command.received_at, coalesce(command.sent_at, command.issued_at)),
           ('executed', command.executed_at, coalesce(command.received_at, command.issued_at)),
           ('verified', command.verified_at, command.executed_at)) AS fact (step, at, since)
     WHERE fact.at = noted.at AND fact.since IS NOT NULL
""")
_OPEN = text("SELECT state, count(*) AS commands FROM commands WHERE ended_at IS NULL GROUP BY state")
# A restore that came to nothing is issued anew under a new id, so its age counts from the first one after what was
# last proved, or last cut, in its slot.
_OWED = text("""
    WITH newest AS (
        SELECT DISTINCT ON (command.terminal_id, command.slot) command.*
          FROM commands AS command
         WHERE (command.terminal_id, command.slot) IN (
               SELECT terminal_id, slot FROM commands
                WHERE command_class = 'restore' AND (ended_at IS NULL OR id >= :lately))
         ORDER BY command.terminal_id, command.slot, command.version DESC)
    SELECT live.online, min(owed.since) AS since
      FROM newest
      JOIN terminals AS terminal ON terminal.id = newest.terminal_id AND terminal.retired_at IS NULL
      JOIN terminal_live AS live ON live.terminal_id = terminal.id
     CROSS JOIN LATERAL (
           SELECT min(one.issued_at) AS since FROM commands AS one
            WHERE one.terminal_id = newest.terminal_id AND one.slot = newest.slot AND one.command_class = 'restore'
              AND one.version > coalesce((
                  SELECT max(settled.version) FROM commands AS settled
                   WHERE settled.terminal_id = newest.terminal_id AND settled.slot = newest.slot
                     AND (settled.verified_at IS NOT NULL OR settled.command_class <> 'restore')), 0)) AS owed
     WHERE newest.command_class = 'restore' AND newest.verified_at IS NULL AND newest.state <> 'cancelled'
       AND (newest.held IS NULL OR newest.ended_at IS NOT NULL
            OR (newest.args->>'paid_until_wh')::bigint > (live.state->>'paid_until_wh')::bigint)
     GROUP BY live.online
""")
_HELD = text("SELECT count(*) FROM commands WHERE state = ANY(:open) AND held IS NOT NULL")
_TRIPS = text("SELECT count(*) FROM commands WHERE op = 'trip' AND executed_at > :since")


class CommandFigures:
    """Remembers up to where it has looked, so that each fact is counted once."""

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._looked_until = Clock().now() - _COMMITTED_AFTER

    def measure(self) -> None:
        until = Clock().now() - _COMMITTED_AFTER
        in_transaction(self._engine, self._measure, until=until)
        self._looked_until = until

    def _measure(self, session: Session, *, until: datetime) -> None:
        now = self._clock.now()
        window = {"since": first_id_of(self._looked_until), "until": first_id_of(until)}
        steps = session.execute(_STEPS, window).all()
        states = {row.state: row.commands for row in session.execute(_OPEN)}
        lately = first_id_of(until - _TRIED_ANEW_WITHIN)
        owed = {row.online: row.since for row in session.execute(_OWED, {"lately": lately})}
        held = session.scalar(_HELD, {"open": sorted(OPEN)})
        trips = session.scalar(_TRIPS, {"since": now - self._clock.lived(3600)})
        for row in steps:
            seconds = self._clock.real_seconds(timedelta(seconds=float(row.seconds)))
            STEP_SECONDS.labels(row.op, row.command_class, row.step).observe(max(seconds, 0.0))
        for state in (*OPEN, CommandState.EXECUTED, CommandState.UNKNOWN):
            COMMANDS.labels(state.value).set(states.get(state.value, 0))
        for online, terminal in ((True, "online"), (False, "offline")):
            since = owed.get(online)
            OLDEST_RESTORE.labels(terminal).set(self._clock.real_seconds(now - since) if since else 0)
        HELD.set(held or 0)
        TRIPS.set(trips or 0)
