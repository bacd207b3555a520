"""The parts that are killed: how each dies, how it is started again, and how it shows that it is back."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import httpx
import psycopg

from app.chaos.journal import waiting
from app.clock import monotonic_s, sleep
from app.demo.utility import Utility
from app.embedded.children import Child

_ASK_WITHIN_S = 0.5
_RECOVERED_WITHIN_S = 60.0
_TRY_AGAIN_S = 0.2
_WORKER_IS_BACK = b"connected to the broker"


class Part(StrEnum):
    """What can be killed."""

    SERVICE = "service"
    WORKER = "worker"
    SECOND_WORKER = "worker-2"
    POSTGRES = "postgres"
    BROKER = "broker"
    TERMINALS = "fleet"
    TILLS = "tills"


#: The parts of the utility itself; the tills are its clients.
OWN_PARTS = frozenset(Part) - {Part.TILLS}
#: What the run that only kills has: one worker, and terminals that live through it.
FIVE_PARTS = (Part.SERVICE, Part.WORKER, Part.POSTGRES, Part.BROKER, Part.TILLS)
WORKERS = (Part.WORKER, Part.SECOND_WORKER)


class ChaosFailed(RuntimeError):
    """The run could not be judged: something did not happen in the time that was given to it."""


@dataclass(kw_only=True)
class Death:
    """One SIGKILL: when, how many sales were under way, and what came after; seconds of a counter, not of a day."""

    part: Part
    at_s: float
    start_at_s: float
    sales_under_way: int
    started_s: float | None = None
    back_s: float | None = None

    @property
    def recovery_s(self) -> float | None:
        """How long the part took from its new start until it answered again."""
        return None if self.started_s is None or self.back_s is None else self.back_s - self.started_s


class Parts:
    """The utility and its tills; remembers every death. All starts happen in the caller's thread, which must live on.

    Linux ends a child with the thread that started it.
    """

    def __init__(
        self, utility: Utility, *, tills_task: Path, journals: Path, parts: Sequence[Part] = FIVE_PARTS
    ) -> None:
        self.all = tuple(parts)
        self._utility = utility
        self._tills_task = tills_task
        self._journals = journals
        self._log_read_from = dict.fromkeys(WORKERS, 0)
        self.deaths: list[Death] = []

    @property
    def up(self) -> list[Part]:
        """Return the parts that are back, or were never away."""
        away = {death.part for death in self._away()}
        return [part for part in self.all if part not in away]

    @property
    def tills(self) -> Child:
        return self._utility.children[Part.TILLS]

    def kill(self, part: Part, *, pause_s: float) -> None:
        """End a part as a power cut would; it is to be started again after the pause."""
        now_s = monotonic_s()
        under_way = waiting(self._journals)
        match part:
            case Part.POSTGRES:
                self._utility.postgres.kill()
            case Part.BROKER:
                self._utility.broker.kill()
            case _:
                self._utility.children[part].kill()
        self.deaths.append(Death(part=part, at_s=now_s, start_at_s=now_s + pause_s, sales_under_way=under_way))

    def start_tills(self) -> None:
        arguments = [sys.executable, "-m", "app.chaos.tills", str(self._tills_task)]
        self._utility.children[Part.TILLS] = Child(arguments, log=self._utility.folder / "logs" / "tills.log")

    def revive(self, *, now_s: float) -> None:
        """Start the parts whose pause is over, and note which are back."""
        for death in list(self._away()):
            if death.started_s is None and now_s >= death.start_at_s:
                death.started_s = monotonic_s()
                self._start(death.part)
            elif death.started_s is not None and self._is_back(death.part):
                death.back_s = monotonic_s()

    def check(self) -> None:
        """Raise :class:`ChaosFailed` where a part has ended that nobody killed."""
        waits_for_start = {death.part for death in self._away() if death.started_s is None}
        for part in set(self.all) - waits_for_start:
            child = self._utility.children.get(part)
            if child is not None and child.ended:
                raise ChaosFailed(f"the {part} ended by itself; its log says:\n{child.log_tail()}")

    def _away(self) -> Iterator[Death]:
        return (death for death in self.deaths if death.back_s is None)

    def _start(self, part: Part) -> None:
        start: dict[Part, Callable[[], None]] = {
            Part.SERVICE: self._utility.start_service,
            Part.WORKER: partial(self._start_worker, Part.WORKER),
            Part.SECOND_WORKER: partial(self._start_worker, Part.SECOND_WORKER),
            Part.TERMINALS: self._utility.start_fleet,
            Part.POSTGRES: self._start_postgres,
            Part.BROKER: self._utility.broker.start,
            Part.TILLS: self.start_tills,
        }
        start[part]()

    def _start_postgres(self) -> None:
        """Start it, again where a busy machine let it recover for longer than its starter waits."""
        deadline_s = monotonic_s() + _RECOVERED_WITHIN_S
        while True:
            try:
                self._utility.postgres.start()
            except (subprocess.SubprocessError, psycopg.OperationalError) as error:
                if monotonic_s() > deadline_s:
                    raise ChaosFailed(f"PostgreSQL is not back after {_RECOVERED_WITHIN_S:.0f} s: {error}") from error
                sleep(_TRY_AGAIN_S)
            else:
                return

    def _start_worker(self, part: Part) -> None:
        self._log_read_from[part] = self._utility.children[part].log.stat().st_size
        self._utility.start_worker(part)

    def _is_back(self, part: Part) -> bool:
        if part is Part.SERVICE:
            return _answers(f"{self._utility.http_url}/readyz")
        if part in WORKERS:
            with self._utility.children[part].log.open("rb") as log:
                log.seek(self._log_read_from[part])
                return _WORKER_IS_BACK in log.read()
        return True  # the others are started by calls that wait for the first answer, and the tills have none to give


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=_ASK_WITHIN_S).is_success
    except httpx.TransportError:
        return False
