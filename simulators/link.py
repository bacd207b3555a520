"""One terminal on its line: connects, carries frames both ways, and suffers the faults that it is given."""

import logging
import random

from simulators import faults
from simulators.admission import Door
from simulators.connection import Connection, Frame
from simulators.defects import parts_with
from simulators.device import Outgoing
from simulators.device_clock import Instant
from simulators.faults import Fault, FaultyWire, LinkFaults, PowerCycle
from simulators.keypad import Typed
from simulators.memory import Memory
from simulators.profile import FleetProfile, TerminalProfile
from simulators.terminal import Terminal

_log = logging.getLogger("simulators")

BACKOFF_AT_MOST_S = 60
#: A broker that has not answered after this long is given up.
ANSWER_WITHIN_S = 30
_CALLED_LATER = float("inf")
_KEEPALIVE_LOOKED_AT_EVERY_S = 5


class Link:
    """What the fleet's loop drives: `serve` when due or after reading; `due_s` says when next."""

    def __init__(
        self,
        profile: TerminalProfile,
        *,
        fleet: FleetProfile,
        door: "Door[Link]",
        memory: Memory,
        now: Instant,
        connect_s: float,
    ) -> None:
        self.terminal = Terminal(
            profile, now=now, factor=fleet.clock.factor, memory=memory, parts=parts_with(profile.defect)
        )
        self.connection: Connection | None = None
        self.published = 0
        self.received = 0
        self._profile = profile
        self._fleet = fleet
        self._door = door
        self._chance = random.Random(profile.seed)
        self._up: FaultyWire[Outgoing] | None = None
        self._down: FaultyWire[Frame] | None = None
        self._connect_s = connect_s
        self._opened_s = 0.0
        self._attempts = 0
        self._tries = 0
        self._off_until_s: float | None = None
        self._frozen_until_s: float | None = None
        self._on_next_command: PowerCycle | None = None
        self._keepalive_s = 0.0

    @property
    def frozen(self) -> bool:
        return self._frozen_until_s is not None

    def due_s(self, now: Instant) -> float:
        """Return the machine second of the next `serve`, never sooner than one tick from now."""
        if self._off_until_s is not None:
            return self._off_until_s
        if self._frozen_until_s is not None:
            return self._frozen_until_s
        due = [self.terminal.due_s(), *(wire.due_s() for wire in (self._up, self._down) if wire is not None)]
        due.append(self._connect_s if self.connection is None else self._keepalive_s)
        return max(now.machine_s + self._fleet.tick_ms / 1000, min(due))

    def serve(self, now: Instant, *, frames: list[Frame]) -> None:
        """Do all that is due at ``now`` after ``frames`` have arrived."""
        if not self._awake(now):
            return
        self._mind_connection(now)
        outgoing = []
        if self.connection is not None and self.connection.subscribed and not self.terminal.online:
            self._attempts = 0
            self._door.leave(self)
            outgoing += self.terminal.connected(now)
            _log.info("%s connected, session %s", self._profile.terminal_id, self.terminal.session)
        for frame in self._arrived(frames, now=now):
            self.received += 1
            outgoing += self.terminal.receive(frame.kind, frame.payload, now=now, retained=frame.retained)
            if frame.kind == "command" and self._on_next_command is not None:
                self._send(outgoing, now=now)
                self._power_off(now, fault=self._on_next_command)
                return
        outgoing += self.terminal.step(now)
        self._send(outgoing, now=now)

    def read(self) -> list[Frame]:
        return [] if self.connection is None or self.frozen else self.connection.read()

    def report(self, now: Instant) -> None:
        if self._off_until_s is None and not self.frozen:
            self._send(self.terminal.report(now), now=now)

    def connect(self, now: Instant) -> None:
        """Connect, unless too many others do; then the door calls later."""
        if self._frozen_until_s is not None:
            self._door.leave(self)
            self._connect_s = self._frozen_until_s
        elif self._door.enter(self):
            self._open(now)
        else:
            self._connect_s = _CALLED_LATER

    def suffer(self, fault: Fault, *, now: Instant) -> None:
        _log.info("%s fault %s", self._profile.terminal_id, fault)
        terminal, site = self.terminal, self.terminal.site
        match fault:
            case faults.PowerCycle():
                self._power_off(now, fault=fault)
            case faults.Freeze():
                self._frozen_until_s = now.machine_s + fault.seconds
            case faults.Outage():
                self._drop(now, why="outage")
                self._connect_s = now.machine_s + fault.seconds
            case faults.ClockStep():
                terminal.jump_clock(fault.seconds, now=now)
            case faults.LoseTime():
                terminal.lose_time()
            case faults.RefusingRelay():
                (site.refusing.add if fault.on else site.refusing.discard)(fault.round)
            case faults.LinkFaults():
                self._spoil(fault)
            case faults.SetLoad():
                self._send(terminal.step(now), now=now)
                site.set_load(fault.percent)
            case faults.Busy():
                terminal.be_busy(until_s=now.machine_s + fault.seconds)

    def type_code(self, digits: str, *, now: Instant) -> Typed | None:
        """Type a site code; None from a terminal that is off or stands still."""
        if self._off_until_s is not None or self.frozen:
            return None
        said = self.terminal.type_code(digits, now=now)
        _log.info("%s site code typed: %s", self._profile.terminal_id, said)
        self._send(self.terminal.step(now), now=now)
        return said

    def reboot(self, now: Instant, *, after_s: float) -> None:
        """Boot again after something went wrong inside, as a watchdog would make it."""
        self._abandon()
        self._off_until_s = now.machine_s + after_s

    def close(self, now: Instant, *, orderly: bool) -> None:
        """End: with a goodbye and a saved memory, or as a process that was killed."""
        if self.connection is not None:
            if orderly and not self.frozen:
                self.connection.disconnect()
            else:
                self.connection.abandon()
            self.connection = None
        if orderly and self._off_until_s is None:
            self.terminal.lost(now)
            self.terminal.save()
        self.terminal.memory.close()

    def _awake(self, now: Instant) -> bool:
        if self._off_until_s is not None:
            if now.machine_s < self._off_until_s:
                return False
            self._off_until_s = None
            self.terminal.power_on(now)
            self._connect_s = now.machine_s
        if self._frozen_until_s is not None:
            if now.machine_s < self._frozen_until_s:
                return False
            self._frozen_until_s = None
            self.terminal.thaw(now)
        return True

    def _power_off(self, now: Instant, *, fault: PowerCycle) -> None:
        if fault.on_next_command:
            self._on_next_command = fault.model_copy(update={"on_next_command": False})
            return
        if self._off_until_s is None:
            self.terminal.power_off(now)
        if fault.loses_spool:
            self.terminal.memory.replace_journal([])
        self._frozen_until_s = None
        self._on_next_command = None
        self._abandon()
        self._off_until_s = now.machine_s + fault.off_s

    def _mind_connection(self, now: Instant) -> None:
        if self.connection is None:
            if now.machine_s >= self._connect_s:
                self.connect(now)
            return
        if now.machine_s >= self._keepalive_s:
            self.connection.mind_keepalive()
            self._keepalive_s = now.machine_s + _KEEPALIVE_LOOKED_AT_EVERY_S
        if not self.connection.subscribed and now.machine_s - self._opened_s > ANSWER_WITHIN_S:
            self.connection.failure = "the broker does not answer"
        if self.connection.failure is not None:
            self._drop(now, why=self.connection.failure)

    def _open(self, now: Instant) -> None:
        connection = Connection(
            self._fleet.broker,
            node=self._profile.seed + self._tries,
            terminal_id=self._profile.terminal_id,
            password=self._profile.password,
            session=self.terminal.open_session(),
            keepalive_s=self._fleet.keepalive_s,
        )
        self._attempts += 1
        self._tries += 1
        try:
            connection.open()
        except OSError as error:
            self._door.leave(self)
            self._back_off(now, why=str(error))
            return
        self.connection = connection
        self._opened_s = now.machine_s
        self._keepalive_s = now.machine_s + _KEEPALIVE_LOOKED_AT_EVERY_S

    def _drop(self, now: Instant, *, why: str) -> None:
        self._abandon()
        self.terminal.lost(now)
        self._back_off(now, why=why)

    def _abandon(self) -> None:
        self._door.leave(self)
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None
        for wire in (self._up, self._down):
            if wire is not None:
                wire.clear()

    def _back_off(self, now: Instant, *, why: str) -> None:
        ceiling_s = min(BACKOFF_AT_MOST_S, 2 ** min(self._attempts, 6))
        wait_s = ceiling_s * self._chance.uniform(0.5, 1)
        self._connect_s = now.machine_s + wait_s
        _log.info("%s not connected (%s), again in %.1f s", self._profile.terminal_id, why, wait_s)

    def _spoil(self, fault: LinkFaults) -> None:
        self._up = FaultyWire(fault, seed=self._profile.seed)
        self._down = FaultyWire(fault, seed=self._profile.seed + 1)

    def _arrived(self, frames: list[Frame], *, now: Instant) -> list[Frame]:
        if self._down is None:
            return frames
        for frame in frames:
            self._down.put(frame, now_s=now.machine_s)
        return self._down.take(now.machine_s)

    def _send(self, outgoing: list[Outgoing], *, now: Instant) -> None:
        for message in outgoing:
            if self._up is None or message.kind == "birth":
                self._publish(message)
            else:
                self._up.put(message, now_s=now.machine_s)
        if self._up is not None:
            for message in self._up.take(now.machine_s):
                self._publish(message)

    def _publish(self, message: Outgoing) -> None:
        if message.kind == "event":
            _log.info("%s %s", self._profile.terminal_id, message.payload.decode())
        if self.connection is not None and self.terminal.online:
            self.published += 1
            self.connection.publish(message)
