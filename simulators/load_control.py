"""What a terminal does of itself: allowance in local mode, power limits, guarantees, releases that fall due."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.mqtt.messages import ControlMode, EventType, Guarantee
from simulators.device import Device
from simulators.memory import Cause

#: A limit trips at most one round in this time, and a relay that refused is tried again after it.
ONE_ROUND_EVERY = timedelta(minutes=1)
#: The power after a trip is looked at so much later.
LOOKED_AT_AFTER = timedelta(minutes=2)


@dataclass(frozen=True, kw_only=True)
class _Aftermath:
    due_at: datetime
    round: int
    cause: Cause
    power_before_w: int


class LoadControl:
    """The rules that run with time; `apply` is called at each moment of `next_moments` and after each input."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._allowance_next_at: datetime | None = None
        self._limit_next_at: datetime | None = None
        self._aftermaths: list[_Aftermath] = []
        self._refusal_told: set[int] = set()

    def apply(self) -> None:
        self._fall_due()
        self._watch_alarm()
        self._guard_allowance()
        self._guard_limit()
        self._look_at_aftermath()

    def next_moments(self) -> Iterator[datetime]:
        """Yield the true times at which a rule may act, besides every change of the site's power."""
        device, kept = self._device, self._device.kept
        for until in (
            kept.guarantee_until,
            None if kept.limit is None else kept.limit.until,
            None if kept.warning is None else kept.warning.until,
        ):
            if until is not None and timedelta(0) < until - device.reading < timedelta(hours=1):
                yield device.clock.true_at(until)
        yield from kept.released_at.values()
        yield from (aftermath.due_at for aftermath in self._aftermaths)
        yield from (at for at in (self._allowance_next_at, self._limit_next_at) if at is not None)
        for threshold_wh in (kept.alarm_wh, kept.trip_wh) if kept.control_enabled else ():
            span = device.time_to(kept.remaining_wh - threshold_wh)
            if span is not None:
                yield device.at + span

    def cut(self, number: int, *, cause: Cause) -> bool:
        """Trip one round, or add a cause to a tripped one; False when the relay does not obey."""
        device, kept = self._device, self._device.kept
        was_closed = device.site.is_closed(number)
        power_before_w = device.power_w
        if not device.site.open_relay(number):
            self._tell_refusal(number)
            return False
        kept.tripped[number] = {*kept.tripped.get(number, ()), cause}
        device.changed()
        if was_closed:
            device.witness("opened", round=number, cause=cause)
            device.event(
                EventType.TRIP,
                rounds=device.site.rounds(),
                round=number,
                cause=cause,
                power_before_w=power_before_w,
            )
            self._aftermaths.append(
                _Aftermath(
                    due_at=device.at + LOOKED_AT_AFTER,
                    round=number,
                    cause=cause,
                    power_before_w=power_before_w,
                )
            )
            device.report_wanted = True
        return True

    def release(self, *numbers: int, cause: Cause | None = None, told_cause: Cause, direct: bool = False) -> bool:
        """Take one cause, or all, from rounds and close those that none holds; False when a relay sticks."""
        device, kept = self._device, self._device.kept
        power_before_w = device.power_w
        moved, obeyed = [], True
        for number in numbers:
            left = kept.tripped.get(number, set()) - ({cause} if cause else set(Cause))
            if cause in {None, Cause.ORDER}:
                kept.released_at.pop(number, None)
            if left:
                kept.tripped[number] = left
                continue
            if device.site.is_closed(number):
                kept.tripped.pop(number, None)
            elif device.site.close_relay(number, at=device.at, direct=direct):
                kept.tripped.pop(number, None)
                moved.append(number)
            else:
                kept.tripped[number] = kept.tripped.get(number) or {told_cause}
                self._tell_refusal(number)
                obeyed = False
        if moved:
            self._tell_restore(moved, cause=told_cause, power_before_w=power_before_w)
        return obeyed

    def begin_guarantee(self, kind: Guarantee, *, until: datetime | None = None) -> bool:
        """Forbid trips and release every round for good; False when a relay sticks."""
        kept = self._device.kept
        if kept.guarantee is not kind:
            self._device.event(EventType.GUARANTEE, guarantee=kind)
        kept.guarantee, kept.guarantee_until = kind, until
        self._allowance_next_at = self._limit_next_at = None
        return self.release(*list(kept.tripped), told_cause=Cause.GUARANTEE)

    def end_guarantee(self) -> None:
        kept = self._device.kept
        if kept.guarantee is not Guarantee.OFF:
            kept.guarantee, kept.guarantee_until = Guarantee.OFF, None
            self._device.event(EventType.GUARANTEE, guarantee=Guarantee.OFF)

    def lift_limit(self) -> None:
        kept = self._device.kept
        kept.limit = None
        self.limit_changed()

    def limit_changed(self) -> None:
        """Release what the old limit tripped; the new one begins with its alarm."""
        kept = self._device.kept
        self._limit_next_at = None
        held = [number for number, causes in kept.tripped.items() if Cause.LIMIT in causes]
        self.release(*held, cause=Cause.LIMIT, told_cause=Cause.LIMIT)
        self._device.report_wanted = True

    def holds_by_allowance(self) -> bool:
        """Tell whether local mode wants the rounds tripped now."""
        kept = self._device.kept
        return (
            kept.control_enabled
            and kept.mode is ControlMode.LOCAL
            and kept.guarantee is Guarantee.OFF
            and kept.remaining_wh <= kept.trip_wh
        )

    def _fall_due(self) -> None:
        device, kept = self._device, self._device.kept
        reading = device.reading
        if kept.guarantee_until is not None and kept.guarantee_until <= reading:
            self.end_guarantee()
        if kept.warning is not None and kept.warning.until is not None and kept.warning.until <= reading:
            kept.warning = None
        if kept.limit is not None and kept.limit.until is not None and kept.limit.until <= reading:
            self.lift_limit()
        for number in [number for number, at in kept.released_at.items() if at <= device.at]:
            self.release(number, cause=Cause.ORDER, told_cause=Cause.ORDER)

    def _watch_alarm(self) -> None:
        device, kept = self._device, self._device.kept
        alarmed = kept.control_enabled and kept.remaining_wh <= kept.alarm_wh
        if alarmed and not kept.alarmed:
            device.event(
                EventType.ALARM,
                cause=Cause.ALLOWANCE,
                order_no=kept.order_no,
                remaining_after_wh=kept.remaining_wh,
            )
            device.report_wanted = True
        kept.alarmed = alarmed

    def _guard_allowance(self) -> None:
        device, kept = self._device, self._device.kept
        if not self.holds_by_allowance():
            self._allowance_next_at = None
            if kept.remaining_wh > kept.trip_wh or not kept.control_enabled:
                held = [number for number, causes in kept.tripped.items() if Cause.ALLOWANCE in causes]
                self.release(*held, cause=Cause.ALLOWANCE, told_cause=Cause.ALLOWANCE)
            return
        alarm_time = timedelta(minutes=kept.round_alarm_min)
        if self._allowance_next_at is None:
            self._allowance_next_at = device.at + alarm_time
        while self._allowance_next_at <= device.at:
            waiting = [n for n in self._in_trip_order() if Cause.ALLOWANCE not in kept.tripped.get(n, ())]
            if not waiting:
                return
            if any(self.cut(number, cause=Cause.ALLOWANCE) for number in waiting):
                self._allowance_next_at += alarm_time
            else:
                self._allowance_next_at = device.at + ONE_ROUND_EVERY

    def _guard_limit(self) -> None:
        device, kept = self._device, self._device.kept
        limit = kept.limit
        above = limit is not None and limit.power_w is not None and device.power_w > limit.power_w
        if limit is None or not above or kept.guarantee is not Guarantee.OFF:
            self._limit_next_at = None
            return
        if self._limit_next_at is None:
            self._limit_next_at = device.at + timedelta(minutes=limit.alarm_delay_min)
            device.event(EventType.ALARM, cause=Cause.LIMIT, power_before_w=device.power_w)
        if self._limit_next_at > device.at:
            return
        self._limit_next_at = device.at + ONE_ROUND_EVERY
        safe_load_w = device.profile.safe_load_w if limit.safe_load_w is None else limit.safe_load_w
        for number in self._in_trip_order():
            round_power_w = device.site.round_power_w(number, at=device.at)
            if 0 < round_power_w <= device.power_w - safe_load_w and self.cut(number, cause=Cause.LIMIT):
                return

    def _in_trip_order(self) -> list[int]:
        order = self._device.kept.trip_order
        return [*order, *(number for number in self._device.site.fitted if number not in order)]

    def _look_at_aftermath(self) -> None:
        device = self._device
        due = [aftermath for aftermath in self._aftermaths if aftermath.due_at <= device.at]
        if not due:
            return
        self._aftermaths = [aftermath for aftermath in self._aftermaths if aftermath.due_at > device.at]
        for aftermath in due:
            device.event(
                EventType.TRIP,
                rounds=device.site.rounds(),
                round=aftermath.round,
                cause=aftermath.cause,
                power_before_w=aftermath.power_before_w,
                power_after_w=device.power_w,
            )

    def _tell_restore(self, numbers: list[int], *, cause: Cause, power_before_w: int) -> None:
        device = self._device
        self._refusal_told.difference_update(numbers)
        device.witness("closed", closed=numbers, cause=cause)
        device.event(
            EventType.RESTORE,
            rounds=device.site.rounds(),
            round=numbers[0] if len(numbers) == 1 else None,
            cause=cause,
            power_before_w=power_before_w,
            power_after_w=device.power_w,
        )
        device.report_wanted = True
        device.changed()

    def _tell_refusal(self, number: int) -> None:
        if number not in self._refusal_told:
            self._refusal_told.add(number)
            self._device.event(
                EventType.RELAY,
                round=number,
                rounds=self._device.site.rounds(),
                cause=Cause.SITE,
                note="the relay does not move",
            )
