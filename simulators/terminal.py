"""A load-management terminal without a network: inputs and the time go in, messages come out."""

import math
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import ValidationError

from app.mqtt.messages import (
    ClockChallenge,
    EventType,
    Guarantee,
    Message,
    Receipt,
    Request,
    State,
)
from app.mqtt.topics import DOWN_KINDS, MAX_PAYLOAD_BYTES
from simulators.device import Outgoing
from simulators.device_clock import YEARS_BELIEVED, Instant
from simulators.keypad import Typed
from simulators.memory import Kept, Memory, VolatileMemory
from simulators.parts import Parts
from simulators.profile import TerminalProfile
from simulators.site import Site

_Down = TypeVar("_Down", bound=Message)


class Terminal:
    """One terminal and its site.

    Every method that takes ``now`` first lets the time up to ``now`` pass; the two scales of ``now`` never go
    back. What a method returns is to be sent in order, and is already safe in memory where it must be.
    """

    def __init__(
        self,
        profile: TerminalProfile,
        *,
        now: Instant,
        factor: int = 1,
        memory: Memory | None = None,
        site: Site | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.profile = profile
        self.memory = memory or VolatileMemory()
        self.site = site or Site(profile)
        self._factor = factor
        self._parts = parts or Parts()
        self._boot(now)
        self._device.save()

    @property
    def state(self) -> State:
        return self._device.state()

    @property
    def kept(self) -> Kept:
        """What the non-volatile memory holds; to look at, not to change."""
        return self._device.kept

    @property
    def session(self) -> str | None:
        return self._device.session

    @property
    def online(self) -> bool:
        return self._device.online

    @property
    def power_w(self) -> int:
        return self._device.power_w

    @property
    def supplied_wh(self) -> int:
        return self._device.kept.metered.supplied_wh

    @property
    def made(self) -> int:
        """How many reports and events its spool has numbered."""
        return self._device.spool.last

    @property
    def spooled(self) -> int:
        """How many reports and events have no receipt."""
        return len(self._device.spool)

    def open_session(self) -> str:
        """Return the name of a new session, for the last will; it is live once `connected`."""
        return self._device.open_session()

    def connected(self, now: Instant) -> list[Outgoing]:
        """Return the birth, then what the spool holds without a receipt."""
        self._advance(now)
        self._device.birth()
        return self._device.flush()

    def lost(self, now: Instant) -> None:
        """End the session: selections lapse, delayed cuts are refused."""
        self._advance(now)
        self._desk.session_lost()
        self._device.online = False
        self._device.session = None
        self._device.flush()

    def step(self, now: Instant) -> list[Outgoing]:
        """Let time pass and carry out what was received."""
        self._advance(now)
        self._desk.carry_out()
        self._load_control.apply()
        self._mind_the_wire()
        return self._device.flush()

    def receive(self, kind: str, payload: bytes, *, now: Instant, retained: bool = False) -> list[Outgoing]:
        """Take a frame of ``dn/{kind}``; a command is only stored, the next `step` carries it out."""
        self._advance(now)
        dropped = retained and not self._parts.takes_retained
        if dropped or kind not in DOWN_KINDS or len(payload) > MAX_PAYLOAD_BYTES:
            return self._device.flush()
        self._device.heard_s = now.machine_s
        if self.kept.guarantee is Guarantee.AUTOMATIC:
            self._load_control.end_guarantee()
        match kind:
            case "receipt":
                self._take_receipt(payload)
            case "clock":
                self._take_time(payload, now=now)
            case "request":
                self._take_request(payload)
            case _:
                self._desk.receive(payload)
        return self._device.flush()

    def report(self, now: Instant) -> list[Outgoing]:
        """Make a report now, as if it were due."""
        self._device.report_wanted = True
        return self.step(now)

    def power_off(self, now: Instant) -> None:
        """Lose power: what is not in memory is gone; the meter and the latching relays stay as they are."""
        self._advance(now)
        self._device.online = False
        self._device.event(EventType.POWER_FAIL)
        self._device.save()

    def power_on(self, now: Instant) -> None:
        """Boot from memory."""
        self._boot(now)
        self._device.event(EventType.POWER_BACK)
        self._device.report_wanted = True
        self._device.flush()

    def thaw(self, now: Instant) -> None:
        """Go on after the program stood still: the meter counted, no rule was applied."""
        self._device.catch_up(now)

    def jump_clock(self, seconds: int, *, now: Instant) -> None:
        """Let the terminal's own clock go wrong without its noticing."""
        self._advance(now)
        self._device.clock.jump(timedelta(seconds=seconds))
        self._plan_report()

    def lose_time(self) -> None:
        """Let the clock be unset until the service tells the time again."""
        self._device.clock.lose_time()

    def be_busy(self, *, until_s: float) -> None:
        """Refuse commands as BUSY up to a machine second."""
        self._desk.busy_until_s = until_s

    def type_code(self, digits: str, *, now: Instant) -> Typed:
        """Type a site code at the keypad; what it changes is in memory before the display answers."""
        self._advance(now)
        said = self._keypad.take(digits)
        self._device.save()
        return said

    def save(self) -> None:
        """Write the memory now, as a device does when its supply fades."""
        self._device.save()

    def due_s(self) -> float:
        """Return the machine second at which `step` has something to do at the latest."""
        device = self._device
        due_at = min(self._next_moments(), default=device.next_power_change_at())
        due = [device.machine_s + (due_at - device.at).total_seconds() / self._factor]
        if device.online:
            due.append(device.heartbeat_due_s)
            resend_s = device.spool.resend_due_s()
            if resend_s is not None:
                due.append(resend_s)
        if self.kept.auto_guarantee_min and self.kept.guarantee is Guarantee.OFF:
            due.append(device.heard_s + self.kept.auto_guarantee_min * 60)
        return max(device.machine_s, min(due))

    def _boot(self, now: Instant) -> None:
        parts = self._parts
        device = parts.device(self.profile, site=self.site, memory=self.memory, factor=self._factor, now=now)
        self._device = device
        self._load_control = parts.load_control(device)
        operations = parts.operations(device, self._load_control)
        self._desk = parts.desk(device, operations=operations)
        self._keypad = parts.keypad(device, self._load_control)
        self._plan_report()

    def _advance(self, now: Instant) -> None:
        """Live up to ``now``, stopping at each moment at which anything may change."""
        device = self._device
        device.machine_s = max(device.machine_s, now.machine_s)
        while device.at < now.at:
            device.count(until=min([now.at, *self._next_moments()]))
            self._load_control.apply()
            self._desk.end_delays()
            if device.at >= self._report_at:
                device.report_wanted = True
                self._plan_report()

    def _next_moments(self) -> list[datetime]:
        device = self._device
        return [
            moment
            for moment in (
                device.next_power_change_at(),
                self._report_at,
                *self._load_control.next_moments(),
                *self._desk.next_moments(),
            )
            if moment > device.at
        ]

    def _plan_report(self) -> None:
        """Plan the next report at a full interval of the terminal's own clock."""
        device = self._device
        interval_s = self.kept.report_interval_s
        full_s = math.floor(device.reading.timestamp()) // interval_s * interval_s + interval_s
        reading = datetime.fromtimestamp(full_s, tz=device.at.tzinfo)
        self._report_interval_s = interval_s
        self._report_at = device.clock.true_at(reading)

    def _mind_the_wire(self) -> None:
        device, kept = self._device, self.kept
        if self._report_interval_s != kept.report_interval_s:
            self._plan_report()
        resend_s = device.spool.resend_due_s()
        if device.online and resend_s is not None and device.machine_s >= resend_s:
            device.spool.send_all_again(reading=device.reading, machine_s=device.machine_s)
        silence_s = device.machine_s - device.heard_s
        alone = kept.auto_guarantee_min > 0 and silence_s >= kept.auto_guarantee_min * 60
        if alone and kept.guarantee is Guarantee.OFF:
            self._load_control.begin_guarantee(Guarantee.AUTOMATIC)

    def _take_receipt(self, payload: bytes) -> None:
        receipt = _read(Receipt, payload)
        if receipt is not None:
            self._device.spool.cover(receipt, machine_s=self._device.machine_s)

    def _take_time(self, payload: bytes, *, now: Instant) -> None:
        told = _read(ClockChallenge, payload)
        if told is None or told.at.year not in YEARS_BELIEVED:
            return
        stepped_s = self._device.clock.told(told.at, now=now)
        if stepped_s:
            self._device.event(EventType.CLOCK_STEP, step_s=stepped_s)
            self._plan_report()
        self._device.echo = told.challenge
        self._device.want_heartbeat()

    def _take_request(self, payload: bytes) -> None:
        device = self._device
        request = _read(Request, payload)
        if request is None:
            return
        match request.want:
            case "report":
                device.report_wanted = True
            case "state":
                device.want_heartbeat()
            case "resend":
                first = request.from_seq or 0
                last = device.spool.last if request.to_seq is None else request.to_seq
                for kind, kept in device.spool.between(first, last, reading=device.reading):
                    device.send_again(kind, kept)


def _read(model: type[_Down], payload: bytes) -> _Down | None:
    try:
        return model.model_validate_json(payload)
    except ValidationError:
        return None
