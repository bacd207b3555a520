"""Faults of every kind, one after the other, half of them at the very moment at which something changes its state."""

import queue
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from app.chaos.ailments import LINES, Ailments
from app.chaos.boundaries import BOUNDARIES, Seen
from app.chaos.parts import OWN_PARTS, WORKERS, ChaosFailed, Part, Parts
from app.clock import monotonic_s, sleep

_TURN_S = 0.01
_QUIET_S = 1.0
#: A boundary whose turn it is is waited for longer than any other.
_ITS_TURN_S, _AWAITED_FOR_S = 8.0, 16.0
_PAUSE_S = (0.05, 1.5)
_SHORT_S, _LONG_S = (0.3, 3.0), (3.0, 15.0)
_LONG_EVERY = 4
_BACK_WITHIN_S = 90.0
#: Every third fault comes at random, the others at a boundary.
_AT_RANDOM_EVERY = 3


class Card(NamedTuple):
    """A kind of fault and whom it befalls."""

    kind: str
    part: Part


OF_TERMINALS = ("outage", "freeze", "power_cycle", "clock")
DECK = (
    *(Card("kill", part) for part in Part),
    *(Card("freeze", part) for part in sorted(OWN_PARTS)),
    *(Card("cut off", part) for part in sorted(LINES)),
    *(Card("clock", part) for part in WORKERS),
    *(Card(f"{kind} of some", Part.TERMINALS) for kind in OF_TERMINALS),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, how many faults, with which dice."""

    seconds: float
    faults: int
    seed: int


class Storm:
    """Deals faults from a shuffled deck until its time is over, then heals everything."""

    def __init__(self, parts: Parts, ailments: Ailments, plan: Plan, *, tell: Callable[[str], None]) -> None:
        self._parts = parts
        self._ailments = ailments
        self._plan = plan
        self._tell = tell
        self._chance = random.Random(plan.seed)  # noqa: S311 - the same seed gives the same dice
        self._deck: list[Card] = []
        self._to_come = set(BOUNDARIES)
        self._seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        self.dealt: Counter[Card] = Counter()
        self.at_boundary: Counter[str] = Counter()

    def notice(self, seen: Seen) -> None:
        """Hear of a boundary; from the watch's thread."""
        self._seen.put(seen)

    def run(self) -> None:
        """Deal until the time is over.

        Raises:
            ChaosFailed: a part ended by itself, or did not come back.
        """
        end_s = monotonic_s() + self._plan.seconds
        step_s = (self._plan.seconds - _QUIET_S) / self._plan.faults
        number = 0
        while (left_s := end_s - monotonic_s()) > _QUIET_S:
            number += 1
            self._live_for(min(step_s * self._chance.uniform(0.2, 1.2), left_s))
            at = None if number % _AT_RANDOM_EVERY == 0 else self._await_boundary(until_s=end_s)
            self._strike(at)
        self.heal()

    def heal(self) -> None:
        """End every fault, and wait until every part is back."""
        deadline_s = monotonic_s() + _BACK_WITHIN_S
        while self._ailments.ailing or set(self._parts.up) != set(self._parts.all):
            self._ailments.heal_due(everything=True)
            if monotonic_s() > deadline_s:
                away = ", ".join(sorted(set(self._parts.all) - set(self._parts.up)))
                raise ChaosFailed(f"not back after {_BACK_WITHIN_S:.0f} s: {away}")
            self._turn()

    def _await_boundary(self, *, until_s: float) -> Seen | None:
        """Wait for one of the boundaries that have not had their turn; None when none comes about in time."""
        while not self._seen.empty():
            self._seen.get()
        began_s = monotonic_s()
        while monotonic_s() < min(until_s, began_s + _AWAITED_FOR_S):
            while not self._seen.empty():
                seen = self._seen.get()
                if seen.boundary in self._to_come or monotonic_s() - began_s > _ITS_TURN_S:
                    return seen
            self._turn()
        return None

    def _strike(self, at: Seen | None) -> None:
        card = self._draw()
        if card is None:
            return
        self._befall(card, at=at)
        self.dealt[card] += 1
        if at is not None:
            self.at_boundary[at.boundary] += 1
            self._to_come.discard(at.boundary)
            self._to_come = self._to_come or set(BOUNDARIES)
        self._tell(f"{card.kind}: {card.part}, at {at.boundary if at else 'random'}")

    def _befall(self, card: Card, *, at: Seen | None) -> None:
        is_long = sum(self.dealt.values()) % _LONG_EVERY == 0
        seconds = self._chance.uniform(*(_LONG_S if is_long else _SHORT_S))
        pause_s = self._chance.uniform(*_PAUSE_S)
        match card.kind:
            case "kill":
                self._parts.kill(card.part, pause_s=pause_s)
            case "freeze":
                self._ailments.freeze(card.part, seconds=seconds)
            case "cut off":
                self._ailments.cut_off(card.part, seconds=seconds)
            case "clock":
                self._ailments.shift_clock(card.part, seconds=max(_LONG_S), pause_s=pause_s)
            case of_some:
                kind = of_some.removesuffix(" of some")
                self._ailments.afflict(kind, seconds=seconds, also=at.terminal_id if at else None)

    def _draw(self) -> Card | None:
        """Take the next card whose part is up and well; None when there is none."""
        if not self._deck:
            self._deck = self._chance.sample(DECK, len(DECK))
        well = set(self._parts.up) - self._ailments.ailing
        card = next((card for card in self._deck if card.part in well), None)
        if card is not None:
            self._deck.remove(card)
        return card

    def _live_for(self, seconds: float) -> None:
        until_s = monotonic_s() + seconds
        while monotonic_s() < until_s:
            self._turn()

    def _turn(self) -> None:
        self._ailments.heal_due()
        self._parts.check()
        self._parts.revive(now_s=monotonic_s())
        sleep(_TURN_S)
