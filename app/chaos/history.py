"""What happened: what the terminals' own witnesses wrote down, beside what the service's database says of it."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Engine, text

from app.clock import Clock
from app.database import transaction

ENDING = ".witnessed"

_COMMANDS = text("""
    SELECT id, terminal_id, op, args, version, command_class, requested_by IS NOT NULL AS by_hand FROM commands
""")
# Moments of the machine, since a worker's own clock may have been wrong: of the commit, and of the id of a step.
_PURCHASES = text("""
    SELECT bought.purchase_no, bought.terminal_id, bought.order_no,
           pg_xact_commit_timestamp(bought.xmin) AS booked_at, min(step.id::text) AS verified_by
      FROM purchases AS bought
      LEFT JOIN commands AS credit
        ON credit.terminal_id = bought.terminal_id AND credit.slot = 'credit'
       AND (credit.args->>'order_no')::bigint >= bought.order_no AND credit.verified_at IS NOT NULL
      LEFT JOIN command_steps AS step ON step.command_id = credit.id AND step.step = 'verified'
     GROUP BY bought.id
""")
_STORED = text("""
    SELECT terminal_id, spool_id, count(*) AS rows, count(DISTINCT seq) AS numbers
      FROM (SELECT terminal_id, spool_id, seq FROM terminal_reports UNION ALL
            SELECT terminal_id, spool_id, seq FROM terminal_events) AS told
     GROUP BY terminal_id, spool_id
""")


@dataclass(frozen=True, kw_only=True)
class Did:
    """One thing that a terminal did: it booted, carried out a command, opened or closed a relay.

    ``machine_at`` is the machine's clock; ``at`` the true contract time, whatever the terminal's own clock showed.
    """

    terminal_id: str
    what: str
    machine_at: datetime
    at: datetime
    boot: int
    session: str | None
    rounds: str
    order_no: int
    remaining_wh: int
    trip_wh: int
    claims: dict[str, Any] = field(default_factory=dict)
    cause: str | None = None

    @property
    def is_cut(self) -> bool:
        return self.claims.get("step") == "operate"


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """A command as the service has it."""

    terminal_id: str
    op: str
    args: dict[str, Any]
    version: int
    by_hand: bool = False


@dataclass(frozen=True, kw_only=True)
class Bought:
    """A purchase, and when the terminal was proved to hold it; both by the machine's clock."""

    purchase_no: str
    terminal_id: str
    order_no: int
    booked_at: datetime
    verified_at: datetime | None


class Sample(NamedTuple):
    """What the service told of the restore that has waited longest, in seconds."""

    at: datetime
    longest_s: float


@dataclass(kw_only=True)
class History:
    """Everything that is judged; ``clock`` turns moments of the machine into those of contracts."""

    clock: Clock
    did: list[Did] = field(default_factory=list)
    commands: dict[UUID, Ordered] = field(default_factory=dict)
    bought: list[Bought] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    #: While a worker's clock was wrong, from and to; its moments are then sure to an hour only.
    wrong_clocks: list[tuple[datetime, datetime]] = field(default_factory=list)
    #: Numbers made by each terminal's spool, and rows and different numbers stored.
    made: dict[tuple[str, UUID], int] = field(default_factory=dict)
    stored: dict[tuple[str, UUID], tuple[int, int]] = field(default_factory=dict)

    def of(self, terminal_id: str) -> list[Did]:
        return [one for one in self.did if one.terminal_id == terminal_id]


def witnessed(folder: Path) -> list[Did]:
    """Read what the terminals did, each in its order; a line that a kill tore is left out."""
    found = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        whole, _, _torn = path.read_bytes().rpartition(b"\n")
        for line in whole.splitlines():
            # A kill in the middle of a line leaves its beginning before the next life's first.
            try:
                found.append(_did(path.stem, json.loads(line)))
            except json.JSONDecodeError:
                found.append(_did(path.stem, json.loads(line[line.rindex(b'{"machine_at"') :])))
    return found


def of_database(history: History, engine: Engine) -> None:
    """Fill in what the database knows."""
    with transaction(engine) as session:
        history.commands = {
            row.id: Ordered(
                terminal_id=row.terminal_id, op=row.op, args=row.args, version=row.version, by_hand=row.by_hand
            )
            for row in session.execute(_COMMANDS)
        }
        history.bought = [
            Bought(
                purchase_no=row.purchase_no,
                terminal_id=row.terminal_id,
                order_no=row.order_no,
                booked_at=row.booked_at,
                verified_at=made_at(UUID(row.verified_by)) if row.verified_by else None,
            )
            for row in session.execute(_PURCHASES)
        ]
        history.stored = {
            (row.terminal_id, row.spool_id): (row.rows, row.numbers) for row in session.execute(_STORED)
        }


def made_at(identity: UUID) -> datetime:
    """Return the moment of the machine at which an id was made (RFC 9562, version 7)."""
    since_epoch = timedelta(milliseconds=identity.int >> 80)
    return datetime.fromisoformat("1970-01-01T00:00:00+00:00") + since_epoch


def _did(terminal_id: str, line: dict[str, Any]) -> Did:
    return Did(
        terminal_id=terminal_id,
        what=line["what"],
        machine_at=datetime.fromisoformat(line["machine_at"]),
        at=datetime.fromisoformat(line["at"]),
        boot=line["boot"],
        session=line["session"],
        rounds=line["rounds"],
        order_no=line["order_no"],
        remaining_wh=line["remaining_wh"],
        trip_wh=line["trip_wh"],
        claims=line.get("claims", {}),
        cause=line.get("cause"),
    )
