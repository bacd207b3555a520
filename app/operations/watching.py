"""Proves the invariants again and again beside the running service, one at a time, and says what has changed."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import Gauge
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.clock import Clock, monotonic_s
from app.database import transaction
from app.verification import INVARIANTS, find_broken
from app.verification.invariant import Invariant

log = structlog.get_logger()

BROKEN_ROWS = Gauge("wattgate_invariant_broken_rows", "Rows that break it; twenty are counted at most", ["invariant"])
LAST_RUN = Gauge("wattgate_verification_ended_timestamp_seconds", "When the last whole run of all invariants ended")
RUN_SECONDS = Gauge("wattgate_verification_seconds", "How long the last whole run took")

#: A pause as long as the work keeps half of one connection's time, and of one core of the server, for the others.
_LONGEST_PAUSE_S = 60.0


@dataclass
class Watch:
    """Remembers which rows were broken, so that it speaks when that changes."""

    engine: Engine
    invariants: Sequence[Invariant] = INVARIANTS
    stopping: threading.Event = field(default_factory=threading.Event)
    _known: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def keep_watching(self, *, every_s: float) -> None:
        """Run until told to stop; a database that is away is met again at the next run."""
        while not self.stopping.is_set():
            started_s = monotonic_s()
            with suppress(SQLAlchemyError):
                self.run_once()
            self.stopping.wait(max(every_s - (monotonic_s() - started_s), 1.0))

    def run_once(self) -> int:
        """Prove every invariant once; returns how many are broken.

        Raises:
            SQLAlchemyError: an invariant could not be asked; the time of the last whole run stays as it was.
        """
        started_s = monotonic_s()
        broken = 0
        for invariant in self.invariants:
            asked_s = monotonic_s()
            try:
                rows = self._ask(invariant)
            except SQLAlchemyError as error:
                log.error("an invariant could not be asked", invariant=invariant.name, error=str(error))  # noqa: TRY400
                raise
            BROKEN_ROWS.labels(invariant.name).set(len(rows))
            self._speak(invariant, rows)
            broken += bool(rows)
            if self.stopping.wait(min(monotonic_s() - asked_s, _LONGEST_PAUSE_S)):
                return broken
        LAST_RUN.set(Clock().now().timestamp())
        RUN_SECONDS.set(monotonic_s() - started_s)
        return broken

    def _ask(self, invariant: Invariant) -> list[dict[str, Any]]:
        with transaction(self.engine) as session:
            session.execute(text("SET TRANSACTION READ ONLY"))
            return find_broken(session, invariant)

    def _speak(self, invariant: Invariant, rows: list[dict[str, Any]]) -> None:
        if rows == self._known.get(invariant.name, []):
            return
        self._known[invariant.name] = rows
        if rows:
            log.error("an invariant is broken", invariant=invariant.name, says=invariant.says, rows=rows)
        else:
            log.info("an invariant holds again", invariant=invariant.name, says=invariant.says)


def patient_engine(url: str) -> Engine:
    """Connect for questions that take long and must not press: one connection, one core, no hurry."""
    options = "-c statement_timeout=30min -c lock_timeout=5s -c max_parallel_workers_per_gather=0 -c timezone=UTC"
    connect_args = {"application_name": "wattgate verify", "connect_timeout": 5, "options": options}
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=connect_args)
