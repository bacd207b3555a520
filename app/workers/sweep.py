"""Time passing: a worker shows every second that it lives, and knows which terminals are its own."""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.clock import monotonic_s
from app.database import in_transaction
from app.workers import service
from app.workers.rules import share_of
from app.workers.service import Here, TakenForDead, WorkerNameTaken

log = structlog.get_logger()

HELD = Gauge("wattgate_worker_shares", "Of 64 shares of the terminals, those for which this worker records")
ALIVE = Gauge("wattgate_workers_alive", "Workers that share the terminals, as this one sees them")
TAKEN_OVER = Counter("wattgate_workers_found_dead_total", "Other workers that this one has found dead")

TEND_EVERY_S = 1.0
_KEPT_FRAMES = 20_000
_TRY_AGAIN_S = 0.5
#: Beyond the lease, until the last turn of whoever finds a worker dead has ended.
_MARGIN_S = 3.0

#: Topic, payload, and the monotonic second at which it was heard.
Frame = tuple[str, bytes, float]


class Shares:
    """What this worker holds. Frames of others' terminals are kept for as long as it can take to find a worker dead.

    Whoever takes a share over then records what its terminals told meanwhile; what was recorded before is known.
    """

    def __init__(self, engine: Engine, *, name: str, lease_s: int, take: Callable[[Iterable[Frame]], None]) -> None:
        self._engine = engine
        self._here = Here(name=name, host=socket.gethostname()[:200], pid=os.getpid())
        self._lease_s = lease_s
        self._take = take
        self._own_id: UUID | None = None
        self._held: frozenset[int] = frozenset()
        self._kept: deque[Frame] = deque(maxlen=_KEPT_FRAMES)
        # Between the network thread, which keeps, and the one that takes over: no frame may fall between them.
        self._moving = threading.Lock()

    def enter(self, stopping: threading.Event) -> None:
        """Come in under the name, waiting for the lease of an earlier life of it to run out.

        Raises:
            WorkerNameTaken: another worker of that name goes on living.
        """
        until_s = monotonic_s() + self._lease_s + _MARGIN_S
        while True:
            try:
                self._own_id = in_transaction(
                    self._engine, service.enter, self._here, lease_s=self._lease_s, gone=self._is_gone
                )
                break
            except WorkerNameTaken as taken:
                if monotonic_s() > until_s or stopping.wait(_TRY_AGAIN_S):
                    raise
                log.warning("waiting for the name of another worker", detail=taken.detail, remedy=taken.remedy)
        self.tend(hears=False)

    def tend(self, *, hears: bool) -> None:
        """Show that this worker lives, and bring what it holds up to date.

        Raises:
            WorkerNameTaken: it was taken for dead, and another one has come under its name.
        """
        if self._own_id is None:
            return
        try:
            tended = in_transaction(self._engine, service.tend, self._own_id, hears=hears, lease_s=self._lease_s)
        except TakenForDead:
            log.error(  # noqa: TRY400 - there is nothing to trace
                "this worker was taken for dead; others have its terminals, and it begins anew", name=self._here.name
            )
            self._hold(frozenset())
            self._own_id = in_transaction(
                self._engine, service.enter, self._here, lease_s=self._lease_s, gone=self._is_gone
            )
            return
        ALIVE.set(tended.alive)
        for name in tended.dead:
            TAKEN_OVER.inc()
            log.warning("a worker is dead; its terminals are taken over", name=name, silent_for_s=self._lease_s)
        if tended.shares != self._held:
            log.info("shares of the terminals", held=len(tended.shares), before=len(self._held), workers=tended.alive)
            self._hold(tended.shares)

    def leave(self) -> None:
        if self._own_id is not None:
            in_transaction(self._engine, service.leave, self._own_id)
            self._own_id = None
            self._hold(frozenset())

    def put(self, topic: str, payload: bytes) -> None:
        """Take a frame from the network thread: pass it on if its terminal is ours, else keep it for a while."""
        now_s = monotonic_s()
        with self._moving:
            while self._kept and self._kept[0][2] < now_s - self._lease_s - _MARGIN_S:
                self._kept.popleft()
            if share_of(_terminal_of(topic)) not in self._held:
                self._kept.append((topic, payload, now_s))
                return
        self._take([(topic, payload, now_s)])

    def not_ours(self, session: Session, terminal_ids: Iterable[str]) -> set[str]:
        """Return which of these another worker records for, and let that not change until the transaction ends."""
        held = service.shares_held(session, self._own_id) if self._own_id is not None else frozenset[int]()
        return {terminal_id for terminal_id in terminal_ids if share_of(terminal_id) not in held}

    def _hold(self, shares: frozenset[int]) -> None:
        with self._moving:
            new = shares - self._held
            self._held = shares
            heard_s = monotonic_s() - self._lease_s - _MARGIN_S
            ours = [one for one in self._kept if one[2] >= heard_s and share_of(_terminal_of(one[0])) in new]
            if ours:
                self._take(ours)
        HELD.set(len(shares))

    def _is_gone(self, host: str, pid: int) -> bool:
        """Say whether a process of this machine is surely no more; a number that is our own now was another's."""
        if host != self._here.host:
            return False
        if pid == self._here.pid:
            return True
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def _terminal_of(topic: str) -> str:
    levels = topic.split("/", 3)
    return levels[2] if len(levels) > 2 else topic  # noqa: PLR2004 - lm/v1/TERMINAL/…
