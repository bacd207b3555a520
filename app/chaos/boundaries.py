"""Watches the database for the moments between two states, at which a fault hurts most."""

import threading
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Engine, Row, text
from sqlalchemy.exc import DBAPIError

from app.chaos.witness import Witness
from app.clock import monotonic_s
from app.database import transaction

_EVERY_S = 0.04
_WITNESS_EVERY_S = 1.0

BOOKED = "a purchase booked"
RESTORE = "a restore under way"
CUT_BEGINS = ("a cut waiting", "a cut armed", "a cut operating")
BOUNDARIES = (
    BOOKED,
    *(f"a credit {state}" for state in ("sent", "received", "executed")),
    *CUT_BEGINS,
    "a cut executed",
    RESTORE,
)

_UNDER_WAY = text("""
    SELECT command.id, command.terminal_id, contract.contract_no, command.op, command.command_class,
           CASE command.state WHEN 'verified' THEN 'executed' ELSE command.state END AS state,
           command.ended_at IS NULL AS is_open
      FROM commands AS command
      JOIN supply_contracts AS contract ON contract.supply_point_id = command.supply_point_id
     WHERE command.ended_at IS NULL OR command.id = ANY(:open_before)
""")
_BOUGHT = text("SELECT id, terminal_id FROM purchases ORDER BY id DESC LIMIT 1")


class Seen(NamedTuple):
    """A state that has just begun, and where."""

    boundary: str
    terminal_id: str
    contract_no: str | None = None
    op: str | None = None


class Watch:
    """Looks many times a second, in a thread of its own, since a frozen database answers nobody."""

    def __init__(self, engine: Engine, *, witness: Witness, tell: Callable[[Seen], None]) -> None:
        self._engine = engine
        self._witness = witness
        self._tell = tell
        self._known: set[object] = set()
        self._open: list[UUID] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        witnessed_s = monotonic_s()
        while not self._stopping.wait(_EVERY_S):
            try:
                self._look()
            except DBAPIError:
                continue  # it has just been killed, or recovers
            if monotonic_s() - witnessed_s > _WITNESS_EVERY_S:
                self._witness.look()
                witnessed_s = monotonic_s()

    def _look(self) -> None:
        with transaction(self._engine) as session:
            bought = session.execute(_BOUGHT).first()
            # With those that were open a moment ago: what is executed is verified almost at once.
            rows = session.execute(_UNDER_WAY, {"open_before": self._open}).all()
        now: set[object] = set()
        if bought is not None:
            now.add(bought.id)
            if bought.id not in self._known:
                self._tell(Seen(BOOKED, bought.terminal_id))
        for row in rows:
            now.add((row.id, row.state))
            boundary = boundary_of(row)
            if boundary is not None and (row.id, row.state) not in self._known:
                self._tell(Seen(boundary, row.terminal_id, row.contract_no, row.op))
        self._known = now
        self._open = [row.id for row in rows if row.is_open]


def boundary_of(row: Row[tuple[object, ...]]) -> str | None:
    """Name the state in which a command is, where it is one of the moments that count."""
    if row.command_class == "restore" and row.op != "credit":
        return RESTORE
    what = "credit" if row.op == "credit" else row.command_class
    found = f"a {what} {row.state}"
    return found if found in BOUNDARIES else None
