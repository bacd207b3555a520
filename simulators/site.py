"""The customer's site: a load, part of it behind rounds that the terminal's relays can shed."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from app.mqtt.messages import ROUNDS_FITTED_AT_MOST
from simulators import load_shapes
from simulators.profile import TerminalProfile

_ALL_PERCENT = 100


class Site:
    """Loads, relays, breakers and the person who closes them; outlives a power loss of the terminal."""

    def __init__(self, profile: TerminalProfile) -> None:
        self._profile = profile
        self._share_percent = {fitted.round: fitted.share_percent for fitted in profile.rounds}
        self._open_relays: set[int] = set()
        self._breaker_closes_at: dict[int, datetime] = {}
        self._block = -1
        self._base_w = 0
        self.load_percent = _ALL_PERCENT
        self.refusing: set[int] = set()

    @property
    def fitted(self) -> tuple[int, ...]:
        return tuple(sorted(self._share_percent))

    def rounds(self) -> str:
        """Return the position of each relay: `1` closed, `0` tripped, `-` not fitted."""
        return "".join(
            "-" if number not in self._share_percent else "01"[number not in self._open_relays]
            for number in range(1, ROUNDS_FITTED_AT_MOST + 1)
        )

    def is_closed(self, number: int) -> bool:
        return number not in self._open_relays

    def power_w(self, at: datetime) -> int:
        """Return the power at a moment; constant until the next of `changes_at`."""
        return self._unshed_w(at) * self._connected_percent(at) // _ALL_PERCENT

    def round_power_w(self, number: int, *, at: datetime) -> int:
        """Return the power that runs through a round now."""
        if not self._carries(number, at=at):
            return 0
        return self._unshed_w(at) * self._share_percent[number] // _ALL_PERCENT

    def changes_at(self, at: datetime) -> Iterator[datetime]:
        """Yield the moments after ``at`` at which the power may change by itself."""
        yield load_shapes.next_block_at(at)
        yield from self._breaker_closes_at.values()

    def open_relay(self, number: int) -> bool:
        """Trip a round; False when the relay does not move."""
        if number in self.refusing and self.is_closed(number):
            return False
        self._open_relays.add(number)
        self._breaker_closes_at.pop(number, None)
        return True

    def close_relay(self, number: int, *, at: datetime, direct: bool) -> bool:
        """Let a round close: at once when ``direct``, else when the person comes; False when the relay sticks."""
        if self.is_closed(number):
            return True
        if number in self.refusing:
            return False
        self._open_relays.discard(number)
        delay_s = 0 if direct else self._profile.breaker_delay_s
        if delay_s:
            self._breaker_closes_at[number] = at + timedelta(seconds=delay_s)
        return True

    def put_relays(self, *, tripped: set[int]) -> None:
        """Put latching relays where they were left, when the whole simulation starts again."""
        self._open_relays = tripped & set(self._share_percent)

    def set_load(self, percent: int) -> None:
        self.load_percent = percent
        self._block = -1

    def _unshed_w(self, at: datetime) -> int:
        block = load_shapes.block_of(at)
        if block != self._block:
            permille = load_shapes.load_permille(self._profile.shape, at=at, seed=self._profile.seed)
            self._base_w = self._profile.rated_power_w * permille // 1000 * self.load_percent // _ALL_PERCENT
            self._block = block
        return self._base_w

    def _carries(self, number: int, *, at: datetime) -> bool:
        return self.is_closed(number) and self._breaker_closes_at.get(number, at) <= at

    def _connected_percent(self, at: datetime) -> int:
        shed = sum(share for number, share in self._share_percent.items() if not self._carries(number, at=at))
        return _ALL_PERCENT - shed
