"""The only clock. A factor in the settings lets it run fast for the demo and the story.

Two kinds of time are kept apart. *Contract time* (notice periods, days of supply, price validity) is read
with :meth:`Clock.now` and runs at ``factor`` times life. *Machine time* (a heartbeat, an answer, a retry) is
lived by processes and wires, which cannot be hurried: :meth:`Clock.lived` says how far the clock moves while
a machine lives so many seconds. In production the factor is 1 and both are the same.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock that showed ``shown_at`` when the machine's own clock stood at ``started_at``."""

    factor: int = 1
    started_at: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    shown_at: datetime = datetime(2000, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at(datetime.now(UTC))

    def at(self, machine_at: datetime) -> datetime:
        """Return what this clock shows when the machine's clock shows ``machine_at``."""
        return self.shown_at + (machine_at - self.started_at) * self.factor

    def lived(self, seconds: float) -> timedelta:
        """Return how far this clock moves while a machine lives ``seconds``: 10 s at factor 60 are 10 min."""
        return timedelta(seconds=seconds) * self.factor

    def real_seconds(self, span: timedelta) -> float:
        """Return how long a machine waits while this clock moves by ``span``."""
        return span.total_seconds() / self.factor


def monotonic_s() -> float:
    """Return seconds of a counter that never goes back, for waiting and for measuring."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    time.sleep(seconds)
