"""What befalls a part without ending it: it stands still, its line breaks or is silent, its clock is wrong."""

import os
import random
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from app.chaos.parts import Part, Parts
from app.chaos.relay import Order
from app.clock import Clock, monotonic_s
from app.demo.utility import Utility
from app.embedded.children import Child

LINES = {
    Part.SERVICE: ("service-database",),
    Part.WORKER: ("worker-database", "worker-broker"),
    Part.SECOND_WORKER: ("worker-2-database", "worker-2-broker"),
}
_EPOCH_S = (10**9, 7 * 10**8)
_SHARE_OF_TERMINALS = 4
_POWER_OFF_S = 1.0


@dataclass(kw_only=True)
class Ailment:
    """One fault and when it is over; seconds of a counter, not of a day."""

    kind: str
    part: Part
    at_s: float
    until_s: float
    heal: Callable[[], None]
    boundary: str | None = None


class Ailments:
    """Brings faults upon parts, and takes them away when their time is over."""

    def __init__(
        self, utility: Utility, parts: Parts, *, relays: Child, terminal_ids: Sequence[str], chance: random.Random
    ) -> None:
        self._utility = utility
        self._parts = parts
        self._relays = relays
        self._terminal_ids = terminal_ids
        self._chance = chance
        self._now: list[Ailment] = []
        self.all: list[Ailment] = []

    @property
    def ailing(self) -> set[Part]:
        return {one.part for one in self._now}

    def freeze(self, part: Part, *, seconds: float) -> Ailment:
        """Let a part stand still in the middle of whatever it does."""
        pids = self._pids(part)
        _signal_all(reversed(pids), signal.SIGSTOP)
        return self._begin("freeze", part, seconds, heal=lambda: _signal_all(pids, signal.SIGCONT))

    def cut_off(self, part: Part, *, seconds: float) -> Ailment:
        """Break a line of a part, or let it be silent."""
        line, do = self._chance.choice(LINES[part]), self._chance.choice(("cut", "stall"))
        self._relays.tell(Order(line=line, do=do).as_line())
        return self._begin(
            f"{do} off", part, seconds, heal=lambda: self._relays.tell(Order(line=line, do="open").as_line())
        )

    def shift_clock(self, part: Part, *, seconds: float, pause_s: float) -> Ailment:
        """Start a worker with a clock that is an hour ahead or behind, or in 1970, until it is started once more."""
        clock = self._utility.clock
        now = clock.now()
        epoch = timedelta(seconds=now.timestamp())
        by = self._chance.choice((timedelta(hours=1), -timedelta(hours=1), -epoch))
        own = self._utility.more[part]
        own["WATTGATE_CLOCK_SHOWN_AT"] = (clock.shown_at + by).isoformat()
        self._parts.kill(part, pause_s=pause_s)

        def heal() -> None:
            own.pop("WATTGATE_CLOCK_SHOWN_AT", None)
            self._parts.kill(part, pause_s=0)

        return self._begin("clock", part, seconds, heal=heal)

    def afflict(self, kind: str, *, seconds: float, also: str | None = None) -> Ailment:
        """Let a share of the terminals suffer, and of these ``also`` if it is named."""
        share = max(1, len(self._terminal_ids) // _SHARE_OF_TERMINALS)
        chosen = {*self._chance.sample(list(self._terminal_ids), share), *([also] if also else [])}
        for terminal_id in sorted(chosen):
            for fault, members in self._of_terminals(kind, seconds=seconds):
                self._utility.suffer(terminal_id, fault, **members)
        return self._begin(f"{kind} of some", Part.TERMINALS, 0, heal=lambda: None)

    def heal_due(self, *, everything: bool = False) -> None:
        now_s = monotonic_s()
        for one in [one for one in self._now if everything or one.until_s <= now_s]:
            # Who is not back yet cannot be started once more with the right clock.
            if one.kind != "clock" or one.part in self._parts.up:
                self._now.remove(one)
                one.heal()

    def _of_terminals(self, kind: str, *, seconds: float) -> list[tuple[str, dict[str, float]]]:
        if kind in ("outage", "freeze"):
            return [(kind, {"seconds": seconds})]
        if kind == "power_cycle":
            return [(kind, {"off_s": _POWER_OFF_S})]
        # An hour of a machine's life, which the terminals' clocks make many days of.
        hour_s = round(Clock(factor=self._utility.clock.factor).lived(3600).total_seconds())
        steps = self._chance.choice(((hour_s,), (-hour_s,), tuple(-part for part in _EPOCH_S), ()))
        return [("clock_step", {"seconds": step_s}) for step_s in steps] or [("lose_time", {})]

    def _pids(self, part: Part) -> list[int]:
        match part:
            case Part.POSTGRES:
                return self._utility.postgres.family()
            case Part.BROKER:
                return [self._utility.broker.pid]
            case _:
                return [self._utility.children[part].pid]

    def _begin(self, kind: str, part: Part, seconds: float, *, heal: Callable[[], None]) -> Ailment:
        at_s = monotonic_s()
        begun = Ailment(kind=kind, part=part, at_s=at_s, until_s=at_s + seconds, heal=heal)
        self._now.append(begun)
        self.all.append(begun)
        return begun


def _signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
