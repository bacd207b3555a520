"""The body of a terminal: what it remembers, measures and says; its rules live in the modules beside."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.mqtt.messages import (
    RESULTS_KEPT,
    Ack,
    AckDetail,
    AckStep,
    Birth,
    CommandResult,
    Event,
    EventDetail,
    EventType,
    Heartbeat,
    Message,
    RefusalCode,
    Report,
    State,
    encode,
)
from simulators.device_clock import DeviceClock, Instant
from simulators.load_shapes import next_block_at
from simulators.memory import Memory, factory_new
from simulators.metering import Meter
from simulators.profile import TerminalProfile
from simulators.site import Site
from simulators.spool import Spool
from simulators.trust import Trust

#: The longest absence over which the meter is taken to have gone on counting.
GAP_COUNTED = timedelta(days=31)
_SAVED_EVERY_S = 60


class Outgoing(NamedTuple):
    """A message for ``lm/v1/{terminal_id}/up/{kind}``."""

    kind: str
    payload: bytes


class Device:
    """One powered-on life of a terminal, from boot to power loss."""

    spool_kind: type[Spool] = Spool

    def __init__(self, profile: TerminalProfile, *, site: Site, memory: Memory, factor: int, now: Instant) -> None:
        self.profile = profile
        self.site = site
        self.memory = memory
        self.kept = memory.load() or factory_new(profile, at=now.at)
        self.kept.boot += 1
        self.trust = Trust(profile, self.kept)
        self.clock = DeviceClock(factor=factor, offset=timedelta(microseconds=self.kept.clock_offset_us))
        self.spool = self.spool_kind(memory, capacity=profile.spool_capacity)
        self.session: str | None = None
        self.online = False
        self.echo: str | None = None
        self.machine_s = now.machine_s
        self.heard_s = now.machine_s
        self.report_wanted = False
        self._born_s = now.machine_s
        self._meter = Meter(
            self.kept.metered,
            meter_no=profile.meter_no,
            rate_hours=profile.rate_hours,
            power_factor_percent=profile.power_factor_percent,
        )
        self._outbox: list[Outgoing] = []
        self._witnessed: list[dict[str, Any]] = []
        self._told: State | None = None
        self._heartbeat_wanted = False
        self._heartbeat_s = now.machine_s
        self._changed = True
        self._saved_s = now.machine_s
        site.put_relays(tripped=set(self.kept.tripped))
        self.catch_up(now)
        self.witness("boot")

    @property
    def at(self) -> datetime:
        """The true time up to which this terminal has lived."""
        return self.kept.metered.metered_at

    @property
    def reading(self) -> datetime:
        """What the terminal's own clock shows."""
        return self.clock.reading(self.at)

    @property
    def stamp(self) -> datetime:
        """The reading as it is written into messages, in whole milliseconds."""
        reading = self.reading
        return reading.replace(microsecond=reading.microsecond // 1000 * 1000)

    @property
    def uptime_s(self) -> int:
        return int(self.machine_s - self._born_s)

    @property
    def power_w(self) -> int:
        return self.site.power_w(self.at)

    @property
    def heartbeat_due_s(self) -> float:
        return self._heartbeat_s + self.kept.heartbeat_interval_s

    def state(self) -> State:
        kept = self.kept
        rounds = self.site.rounds()
        return State(
            paid_until_wh=kept.paid_until_wh,
            remaining_wh=kept.remaining_wh,
            order_no=kept.order_no,
            alarm_wh=kept.alarm_wh,
            trip_wh=kept.trip_wh,
            control_enabled=kept.control_enabled,
            mode=kept.mode,
            stage=kept.stage(rounds),
            limit_w=None if kept.limit is None else kept.limit.power_w,
            rounds=rounds,
            guarantee=kept.guarantee,
        )

    def count(self, *, until: datetime) -> None:
        """Let time pass up to ``until``, no further than the next change of the site's power."""
        if until > self.at:
            self._meter.count(self.power_w, until=until)

    def catch_up(self, now: Instant) -> None:
        """Count what the meter did while the terminal was off or frozen; no rule is applied to that time."""
        if now.at - self.at > GAP_COUNTED:
            self.kept.metered.metered_at = now.at - GAP_COUNTED
        while self.at < now.at:
            self.count(until=min([now.at, *(at for at in self.site.changes_at(self.at) if at > self.at)]))
        self.machine_s = now.machine_s

    def time_to(self, energy_wh: int) -> timedelta | None:
        return self._meter.time_to(energy_wh, power_w=self.power_w)

    def changed(self) -> None:
        """Mark that something must be in memory before the next message leaves."""
        self._changed = True

    def open_session(self) -> str:
        """Begin a session under a new name; it is live from `birth` to its loss."""
        self.session = secrets.token_hex(16)
        self.online = False
        self.echo = None
        return self.session

    def birth(self) -> None:
        if self.session is None:
            raise RuntimeError("a session is opened before birth")
        self.online = True
        self._say(
            "birth",
            Birth(
                session=self.session,
                boot=self.kept.boot,
                uptime_s=self.uptime_s,
                at=self.stamp,
                clock=self.clock.quality(self.machine_s),
                firmware=self.profile.firmware,
                spool=self.spool.range,
                slots=self.kept.slots,
                state=self.state(),
                results=self.kept.results,
                keys=self.trust.held(),
            ),
        )
        self._told = self.state()
        self._heartbeat_s = self.machine_s
        self.spool.send_all_again(reading=self.reading, machine_s=self.machine_s)

    def ack(
        self,
        command_id: UUID | None,
        *,
        step: AckStep,
        code: RefusalCode | None = None,
        detail: AckDetail | None = None,
        at: datetime | None = None,
    ) -> None:
        self._say(
            "ack",
            Ack(
                command_id=command_id,
                step=step,
                code=code,
                at=at or self.stamp,
                uptime_s=self.uptime_s,
                detail=detail or AckDetail(),
            ),
        )

    def event(self, kind: EventType, **detail: Any) -> None:
        self._spooled(
            "event",
            message=lambda spool_id, seq: Event(
                spool_id=spool_id, seq=seq, at=self.stamp, type=kind, detail=EventDetail(**detail)
            ),
        )

    def report(self) -> None:
        self._spooled(
            "report",
            message=lambda spool_id, seq: Report(
                spool_id=spool_id,
                seq=seq,
                at=self.stamp,
                clock=self.clock.quality(self.machine_s),
                uptime_s=self.uptime_s,
                supplied_wh=self.kept.metered.supplied_wh,
                active_power_w=self.power_w,
                meters=[self._meter.reading()],
                state=self.state(),
            ),
        )
        self.report_wanted = False

    def witness(self, what: str, **members: Any) -> None:
        """Note something for whoever judges afterwards; it is written once the memory holds what it tells of."""
        kept = self.kept
        told = {
            "what": what,
            "boot": kept.boot,
            "session": self.session,
            "at": self.at.isoformat(),
            "rounds": self.site.rounds(),
            "order_no": kept.order_no,
            "remaining_wh": kept.remaining_wh,
            "trip_wh": kept.trip_wh,
        }
        self._witnessed.append(told | members)

    def want_heartbeat(self) -> None:
        self._heartbeat_wanted = True

    def remember(self, result: CommandResult) -> None:
        self.kept.results = [*self.kept.results, result][-RESULTS_KEPT:]
        self.changed()

    def send_again(self, kind: str, payload: bytes) -> None:
        if self.online:
            self._outbox.append(Outgoing(kind, payload))

    def flush(self) -> list[Outgoing]:
        """Return what is to be sent, after all that it relies on is in memory."""
        self._tell_state()
        if self.report_wanted:
            self.report()
        if self.online:
            for kind, payload in self.spool.due_again(reading=self.reading):
                self.send_again(kind, payload)
        if self._changed or self.machine_s - self._saved_s >= _SAVED_EVERY_S:
            self.save()
        outgoing, self._outbox = self._outbox, []
        return outgoing

    def save(self) -> None:
        self.kept.clock_offset_us = self.clock.offset // timedelta(microseconds=1)
        self.memory.save(self.kept)
        if self._witnessed:
            self.memory.note_witnessed(self._witnessed)
            self._witnessed = []
        self._changed = False
        self._saved_s = self.machine_s

    def next_power_change_at(self) -> datetime:
        return min((at for at in self.site.changes_at(self.at) if at > self.at), default=next_block_at(self.at))

    def _tell_state(self) -> None:
        state = self.state().model_copy(update={"remaining_wh": 0})
        if self._told is not None and state != self._told.model_copy(update={"remaining_wh": 0}):
            self._heartbeat_wanted = True
            self.changed()
        if self._heartbeat_wanted or (self.online and self.machine_s >= self.heartbeat_due_s):
            self._heartbeat()

    def _heartbeat(self) -> None:
        self._heartbeat_wanted = False
        self._heartbeat_s = self.machine_s
        self._told = self.state()
        if self.session is None or not self.online:
            return
        self._say(
            "heartbeat",
            Heartbeat(
                session=self.session,
                uptime_s=self.uptime_s,
                at=self.stamp,
                clock=self.clock.quality(self.machine_s),
                echo=self.echo,
                active_power_w=self.power_w,
                state=self._told,
            ),
        )

    def _say(self, kind: str, message: Message) -> None:
        if self.online:
            self._outbox.append(Outgoing(kind, encode(message)))

    def _spooled(self, kind: str, *, message: Callable[[UUID, int], Message]) -> None:
        entry = self.spool.add(kind, at=self.stamp, machine_s=self.machine_s, message=message)
        self.changed()
        if self.online:
            self._outbox.append(Outgoing(kind, entry.payload))
