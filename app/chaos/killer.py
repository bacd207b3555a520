"""Who is killed when: a timetable from a seed, worked off while the parts come back on their own."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from app.chaos.parts import FIVE_PARTS, OWN_PARTS, ChaosFailed, Part, Parts
from app.clock import monotonic_s, sleep

_TURN_S = 0.02
_LOOK_EVERY_S = 1.0
_QUIET_S = 1.0
#: More blows than are asked for, since some find nobody to hit.
_MORE_BLOWS = 1.2
_TWO_AT_ONCE = 0.2
_PAUSE_S = (0.05, 1.5)
_LONGEST_DELAY = 3
_BACK_WITHIN_S = 90.0
#: Dealt one after the other: everybody has a turn before anybody's second, and the tills die half as often.
_HANDS = (sorted(FIVE_PARTS), sorted(OWN_PARTS.intersection(FIVE_PARTS)))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, how often and with which dice."""

    seconds: float
    kills: int
    seed: int


class Killer:
    """Kills parts at random moments, sometimes two at once, and starts each again after a short random pause."""

    def __init__(self, parts: Parts, plan: Plan, *, look: Callable[[], None], tell: Callable[[str], None]) -> None:
        self._parts = parts
        self._plan = plan
        self._look = look
        self._tell = tell
        self._chance = random.Random(plan.seed)  # noqa: S311 - the same seed gives the same dice
        self._deck: list[Part] = []
        self._looked_s = 0.0

    @property
    def killed(self) -> int:
        """How often a part of the utility itself was killed."""
        return sum(death.part in OWN_PARTS for death in self._parts.deaths)

    def run(self) -> None:
        """Work off the timetable, and go on for a while where it did not bring enough.

        Raises:
            ChaosFailed: there were fewer kills than asked for, or a part did not come back.
        """
        began_s = monotonic_s()
        for moment_s in self._timetable():
            self._live_until(began_s + moment_s)
            self._strike()
        while self.killed < self._plan.kills:
            if monotonic_s() - began_s > _LONGEST_DELAY * self._plan.seconds:
                raise ChaosFailed(f"{self.killed} kills of {self._plan.kills} in {monotonic_s() - began_s:.0f} s")
            self._live_until(monotonic_s() + self._chance.random())
            self._strike()
        self._live_until(began_s + self._plan.seconds)
        self.heal()

    def heal(self) -> None:
        """Wait until every part is back."""
        deadline_s = monotonic_s() + _BACK_WITHIN_S
        while set(self._parts.up) != set(self._parts.all):
            if monotonic_s() > deadline_s:
                away = ", ".join(sorted(set(self._parts.all) - set(self._parts.up)))
                raise ChaosFailed(f"not back after {_BACK_WITHIN_S:.0f} s: {away}")
            self._turn()

    def _timetable(self) -> list[float]:
        blows = round(self._plan.kills * _MORE_BLOWS)
        step_s = (self._plan.seconds - 2 * _QUIET_S) / blows
        return [_QUIET_S + (number + self._chance.random()) * step_s for number in range(blows)]

    def _strike(self) -> None:
        for _ in range(2 if self._chance.random() < _TWO_AT_ONCE else 1):
            part = self._draw()
            if part is not None:
                self._parts.kill(part, pause_s=self._chance.uniform(*_PAUSE_S))
                self._tell(f"killed the {part} ({self.killed} of {self._plan.kills})")

    def _draw(self) -> Part | None:
        """Take the next card of a shuffled deck whose part is up; None when nobody is."""
        if not self._deck:
            self._deck = [card for hand in _HANDS for card in self._chance.sample(hand, len(hand))]
        part = next((card for card in self._deck if card in self._parts.up), None)
        if part is not None:
            self._deck.remove(part)
        return part

    def _live_until(self, moment_s: float) -> None:
        while monotonic_s() < moment_s:
            self._turn()

    def _turn(self) -> None:
        now_s = monotonic_s()
        self._parts.check()
        self._parts.revive(now_s=now_s)
        if now_s - self._looked_s > _LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        sleep(_TURN_S)
