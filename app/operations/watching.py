"""Proves the invariants again and again beside the running service, one at a time, and says what has changed."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from prometheus_client import Gauge
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.clock import Clock, monotonic_s
from app.verification import HOLDS, INVARIANTS, Proof, prove
from app.verification.invariant import Invariant

log = structlog.get_logger()

BROKEN_ROWS = Gauge("wattgate_invariant_broken_rows", "Rows that break it; twenty are counted at most", ["invariant"])
UNCHECKED = Gauge("wattgate_invariant_unchecked", "1 if it could not be checked at the last run", ["invariant"])
LAST_RUN = Gauge("wattgate_verification_ended_timestamp_seconds", "When the last whole run of all invariants ended")
RUN_SECONDS = Gauge("wattgate_verification_seconds", "How long the last whole run took")

#: A pause as long as the work keeps half of one connection's time, and of one core of the server, for the others.
_LONGEST_PAUSE_S = 60.0


@dataclass
class Watch:
    """Remembers what it found, so that it speaks when that changes."""

    engine: Engine
    invariants: Sequence[Invariant] = INVARIANTS
    stopping: threading.Event = field(default_factory=threading.Event)
    _known: dict[str, Proof] = field(default_factory=dict)

    def keep_watching(self, *, every_s: float) -> None:
        """Run until told to stop; a database that is away is met again at the next run."""
        while not self.stopping.is_set():
            started_s = monotonic_s()
            with suppress(SQLAlchemyError):
                self.run_once()
            self.stopping.wait(max(every_s - (monotonic_s() - started_s), 1.0))

    def run_once(self) -> int:
        """Ask for every invariant once; returns how many are broken or could not be checked.

        Raises:
            SQLAlchemyError: the database does not answer; the time of the last whole run stays as it was.
        """
        started_s = monotonic_s()
        faults = 0
        all_checked = True
        for invariant in self.invariants:
            asked_s = monotonic_s()
            try:
                proof = prove(self.engine, invariant)
            except SQLAlchemyError as error:
                log.error("an invariant could not be asked", invariant=invariant.name, error=str(error))  # noqa: TRY400
                raise
            self._show(invariant, proof)
            all_checked = all_checked and proof.unchecked is None
            faults += proof != HOLDS
            if self.stopping.wait(min(monotonic_s() - asked_s, _LONGEST_PAUSE_S)):
                return faults
        if all_checked:
            LAST_RUN.set(Clock().now().timestamp())
        RUN_SECONDS.set(monotonic_s() - started_s)
        return faults

    def _show(self, invariant: Invariant, proof: Proof) -> None:
        UNCHECKED.labels(invariant.name).set(proof.unchecked is not None)
        # What was broken counts as broken until it has been seen to hold.
        if proof.unchecked is None:
            BROKEN_ROWS.labels(invariant.name).set(len(proof.broken))
        self._speak(invariant, proof)

    def _speak(self, invariant: Invariant, proof: Proof) -> None:
        if proof == self._known.get(invariant.name, HOLDS):
            return
        self._known[invariant.name] = proof
        about = {"invariant": invariant.name, "says": invariant.says}
        if proof.unchecked is not None:
            log.error("an invariant could not be checked", **about, error=proof.unchecked)
        elif proof.broken:
            log.error("an invariant is broken", **about, rows=proof.broken)
        else:
            log.info("an invariant holds again", **about)


def patient_engine(url: str) -> Engine:
    """Connect for questions that take long and must not press: one connection, one core, no hurry."""
    options = "-c statement_timeout=30min -c lock_timeout=5s -c max_parallel_workers_per_gather=0 -c timezone=UTC"
    connect_args = {"application_name": "wattgate verify", "connect_timeout": 5, "options": options}
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=connect_args)
