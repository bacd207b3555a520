"""The keypad: takes a site code, and with it an order that no command could bring."""

from enum import StrEnum

from app.mqtt.messages import EventType
from app.mqtt.site_codes import MistypedError, SiteCode, WrongCodeError, deaf_s, key_from, read
from simulators.device import Device
from simulators.load_control import LoadControl
from simulators.memory import Cause


class Typed(StrEnum):
    """What the display says to a code."""

    TAKEN = "taken"
    MISTYPED = "mistyped"
    WRONG = "wrong"
    OLD = "old"
    DEAF = "deaf"
    NO_KEY = "no_key"


class Keypad:
    """Reads codes under the terminal's own key. How many were wrong outlives a power loss."""

    def __init__(self, device: Device, load_control: LoadControl) -> None:
        self._device = device
        self._load_control = load_control
        # Nobody shortens the wait by switching off and on: it begins anew.
        self._deaf_until_s = device.machine_s + deaf_s(device.kept.wrong_codes)

    def take(self, typed: str) -> Typed:
        """Apply a code, or say why not."""
        device, kept = self._device, self._device.kept
        if device.profile.site_key is None:
            return Typed.NO_KEY
        if self._is_deaf():
            return Typed.DEAF
        key = key_from(device.profile.site_key)
        try:
            code = read(typed, key, order_no=kept.order_no, paid_until_wh=kept.paid_until_wh)
        except MistypedError:
            return Typed.MISTYPED
        except WrongCodeError:
            self._count_wrong()
            return Typed.WRONG
        if self._is_old(code):
            return Typed.OLD
        self._apply(code)
        return Typed.TAKEN

    def _is_deaf(self) -> bool:
        return self._device.machine_s < self._deaf_until_s

    def _is_old(self, code: SiteCode) -> bool:
        return code.order_no <= self._device.kept.order_no

    def _gives_back(self, code: SiteCode) -> bool:
        """Tell whether a code may undo cuts: none does that was made before the last of them."""
        return code.order_no > self._device.kept.codes_spent

    def _count_wrong(self) -> None:
        device = self._device
        device.kept.wrong_codes += 1
        wait_s = deaf_s(device.kept.wrong_codes)
        self._deaf_until_s = device.machine_s + wait_s
        if wait_s:
            device.event(EventType.TAMPER, note=f"{device.kept.wrong_codes} wrong site codes")
        device.changed()

    def _apply(self, code: SiteCode) -> None:
        device, kept, load_control = self._device, self._device.kept, self._load_control
        before_wh = kept.remaining_wh
        kept.wrong_codes = 0
        kept.order_no, kept.paid_until_wh = code.order_no, code.paid_until_wh
        if kept.remaining_wh > kept.alarm_wh:
            kept.warning = None
        device.event(
            EventType.CREDIT_APPLIED,
            order_no=code.order_no,
            remaining_before_wh=before_wh,
            remaining_after_wh=kept.remaining_wh,
            cause=Cause.SITE_CODE,
        )
        if code.lift_limit and self._gives_back(code):
            load_control.lift_limit()
        if code.release_rounds and self._gives_back(code):
            load_control.release(*list(kept.tripped), cause=Cause.ORDER, told_cause=Cause.SITE_CODE)
        load_control.apply()
        device.report_wanted = True
        device.changed()
