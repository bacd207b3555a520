"""Two scales of time: seconds that the machine lives, and a clock on the wall that may run faster."""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.mqtt.messages import TerminalClock

#: A terminal that was not told the time for this long no longer calls its clock synced.
SYNC_LASTS_S = 48 * 3600
#: Differences below this are the wire's doing, not the clock's; lived by the machine, so multiplied by the factor.
TOLERANCE_S = 5
#: A time outside these years is a fault of the sender.
YEARS_BELIEVED = range(2000, 2200)


class Instant(NamedTuple):
    """One moment on both scales."""

    machine_s: float
    at: datetime


class ClockProfile(BaseModel):
    """A clock that showed ``shown_at`` when the machine's own clock stood at ``started_at``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: int = Field(default=1, ge=1, le=100_000, description="how many times faster than machines live")
    started_at: AwareDatetime = datetime(2000, 1, 1, tzinfo=UTC)
    shown_at: AwareDatetime = datetime(2000, 1, 1, tzinfo=UTC)
    machine_factor: int = Field(default=1, ge=1, le=100, description="how many times faster than life machines live")

    def shown(self, machine_at: datetime) -> datetime:
        return (self.shown_at + (machine_at - self.started_at) * self.factor * self.machine_factor).astimezone(UTC)

    def now(self) -> Instant:
        return Instant(monotonic() * self.machine_factor, self.shown(datetime.now(UTC)))


class DeviceClock:
    """The terminal's own clock: the true time and an error that it does not know of."""

    def __init__(self, *, factor: int, offset: timedelta) -> None:
        self.factor = factor
        self.offset = offset
        self._synced_s: float | None = None
        self._unset = False

    def reading(self, true_at: datetime) -> datetime:
        return true_at + self.offset

    def true_at(self, reading: datetime) -> datetime:
        return reading - self.offset

    def quality(self, machine_s: float) -> TerminalClock:
        if self._unset:
            return TerminalClock.UNSET
        if self._synced_s is not None and machine_s - self._synced_s <= SYNC_LASTS_S:
            return TerminalClock.SYNCED
        return TerminalClock.FREE

    def jump(self, by: timedelta) -> None:
        """Go wrong by so much without noticing."""
        self.offset += by

    def lose_time(self) -> None:
        """Forget that the time was ever told, as after an empty backup battery."""
        self._synced_s = None
        self._unset = True

    def told(self, shown: datetime, *, now: Instant) -> int:
        """Take the service's time; return by how many seconds the clock had to step, 0 within tolerance."""
        self._synced_s = now.machine_s
        self._unset = False
        error = shown - self.reading(now.at)
        if abs(error) <= timedelta(seconds=TOLERANCE_S * self.factor):
            return 0
        self.offset += error
        return round(error.total_seconds())
