"""Who does what no message can do: switch off a terminal, freeze it, sell at a service. A person, or a program."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from app.clock import Clock
from app.conformance.spans import Span
from app.conformance.steps import DeviceAction, ServiceAction

#: What a wire and a busy machine may add to what a case allows, where time is hurried.
_SLACK_S = 4.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast the other side lives: a real terminal as fast as we do."""

    clock: Clock = field(default_factory=Clock)
    machine_factor: int = 1

    def now(self) -> datetime:
        """Return what the other side's clock should show."""
        return self.clock.now()

    def real_s(self, span: Span) -> float:
        return span.machine_s / self.machine_factor + span.clock_s / self.clock.factor

    def patience_s(self, span: Span) -> float:
        """Return how long to wait for what should come within a span."""
        hurried = self.clock.factor > 1
        return self.real_s(span) + (_SLACK_S if hurried else 0)

    def on_clock(self, span: Span) -> timedelta:
        """Return how far the clock moves while a span passes."""
        return timedelta(seconds=span.machine_s * self.clock.factor / self.machine_factor + span.clock_s)


class NotRun(Exception):
    """This case says nothing about this device; the text says why."""


class Stand(Protocol):
    """What a terminal on trial stands in."""

    pace: Pace

    def do(self, action: DeviceAction, *, seconds: int) -> None:
        """Do it, and return when it has begun.

        Raises:
            NotRun: nobody here can.
        """

    def type_code(self, digits: str) -> None:
        """Type a site code at the terminal's keypad.

        Raises:
            NotRun: nobody here can.
        """


class Desk(Protocol):
    """Who works at a service on trial."""

    def do(self, action: ServiceAction, *, terminal_id: str) -> None:
        """Do it, and return when it is done.

        Raises:
            NotRun: nobody here can.
        """


_AT_A_TERMINAL = {
    DeviceAction.RECONNECT: "Break the terminal's connection (its network cable) and let it come back",
    DeviceAction.OUTAGE: "Pull the terminal's network cable until its connection has ended, and plug it in again",
    DeviceAction.POWER_LOSS: "Switch the terminal's supply off and on again",
    DeviceAction.STORAGE_LOSS: "Put an empty storage into the terminal (spool and reports lost) and start it",
    DeviceAction.FREEZE: "Be ready to hold the terminal's program, or its cable, for {seconds} s from Enter on",
    DeviceAction.UNSET_CLOCK: "Take away the terminal's time (backup battery) without breaking its connection",
}
_AT_A_SERVICE = {
    ServiceAction.SELL: "Sell any amount to the contract of {terminal_id}",
    ServiceAction.ORDER_TRIP: "Order a trip of round 1 at {terminal_id} that nothing stands against",
    ServiceAction.STOP_DATABASE: "Stop the service's database, or let it refuse to write",
    ServiceAction.START_DATABASE: "Start the service's database again",
}


class PersonStand:
    """A person at a real terminal; with ``ask=None`` nobody is there."""

    def __init__(self, ask: Callable[[str], None] | None) -> None:
        self.pace = Pace()
        self._ask = ask

    def do(self, action: DeviceAction, *, seconds: int) -> None:
        wanted = _AT_A_TERMINAL.get(action)
        if wanted is None:
            raise NotRun(f"{action}: only a rig hits this moment")
        _ask(self._ask, wanted.format(seconds=seconds), action=action)

    def type_code(self, digits: str) -> None:
        _ask(self._ask, f"Type {digits} at the terminal's keypad", action="type_code")


class PersonDesk:
    """A person who works at the service on trial; with ``ask=None`` nobody is there."""

    def __init__(self, ask: Callable[[str], None] | None) -> None:
        self._ask = ask

    def do(self, action: ServiceAction, *, terminal_id: str) -> None:
        _ask(self._ask, _AT_A_SERVICE[action].format(terminal_id=terminal_id), action=action)


def _ask(ask: Callable[[str], None] | None, wanted: str, *, action: str) -> None:
    if ask is None:
        raise NotRun(f"{action}: it needs a person, and the run is unattended")
    ask(wanted)
