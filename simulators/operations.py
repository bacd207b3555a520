"""What each operation does once nothing stands against it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from app.mqtt.keys import BadStatementError
from app.mqtt.messages import (
    ARGS_MODELS,
    AckDetail,
    CloseArgs,
    CommandClaims,
    ConfigureArgs,
    ControlArgs,
    CreditArgs,
    EventType,
    Guarantee,
    GuaranteeArgs,
    KeysArgs,
    LimitArgs,
    Message,
    Op,
    RefusalCode,
    TripArgs,
    WarnArgs,
)
from simulators.device import Device
from simulators.load_control import LoadControl
from simulators.memory import Cause

#: Operations that cut, or may cut, and so are selected before they are operated.
MAY_CUT = frozenset({Op.CONTROL, Op.LIMIT, Op.TRIP, Op.GUARANTEE})
#: A warning of this stage takes the warning away.
NO_WARNING = "none"
_ENERGY_BOUND_WH = 2**60


class RefusedError(Exception):
    """The terminal will not, or cannot, do it."""

    def __init__(self, code: RefusalCode, note: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.note = note


def read_args(claims: CommandClaims) -> Message:
    """Return the arguments in the shape that the operation has.

    Raises:
        RefusedError: `UNSUPPORTED` for an unknown operation, `OUT_OF_RANGE` for values outside the contract.
    """
    try:
        op = Op(claims.op)
    except ValueError as error:
        raise RefusedError(RefusalCode.UNSUPPORTED, "unknown operation") from error
    try:
        return ARGS_MODELS[op].model_validate_json(json.dumps(claims.args))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RefusedError(RefusalCode.OUT_OF_RANGE, f"{where}: {first['msg']}"[:100]) from error


def slot_of(op: Op, args: Message) -> str:
    """Return the only slot that an operation may use."""
    if isinstance(args, TripArgs | CloseArgs):
        return f"round-{args.round}"
    return {Op.WARN: "warning", Op.CONFIGURE: "config"}.get(op, op.value)


def until_of(args: Message) -> datetime | None:
    return getattr(args, "until", None)


class Operations:
    """Checks of values against what the terminal holds, and the acts themselves."""

    def __init__(self, device: Device, load_control: LoadControl) -> None:
        self._device = device
        self._load_control = load_control
        self._acts: dict[type[Message], Callable[[Any], AckDetail]] = {
            CreditArgs: self._credit,
            ControlArgs: self._control,
            WarnArgs: self._warn,
            LimitArgs: self._limit,
            TripArgs: self._trip,
            CloseArgs: self._close,
            GuaranteeArgs: self._guarantee,
            ConfigureArgs: self._configure,
            KeysArgs: self._keys,
        }

    def is_cut(self, args: Message) -> bool:
        """Tell the class of an operation from its arguments and what holds now."""
        match args:
            case TripArgs():
                return True
            case ControlArgs():
                return args.enabled
            case GuaranteeArgs():
                return not args.on
            case LimitArgs():
                limit = self._device.kept.limit
                held_w = None if limit is None else limit.power_w
                return args.power_w is not None and (held_w is None or args.power_w < held_w)
        return False

    def check_range(self, args: Message) -> None:
        """Hold the arguments against what is fitted.

        Raises:
            RefusedError: `OUT_OF_RANGE`.
        """
        fitted = self._device.site.fitted
        match args:
            case TripArgs() | CloseArgs() if args.round not in fitted:
                raise RefusedError(RefusalCode.OUT_OF_RANGE, "the round is not fitted")
            case CreditArgs() if args.alarm_wh < args.trip_wh:
                raise RefusedError(RefusalCode.OUT_OF_RANGE, "alarm_wh is below trip_wh")
            case CreditArgs() if max(map(abs, (args.paid_until_wh, args.alarm_wh, args.trip_wh))) > _ENERGY_BOUND_WH:
                raise RefusedError(RefusalCode.OUT_OF_RANGE, "more energy than the terminal can count")
            case ConfigureArgs() if args.trip_order is not None:
                order = args.trip_order
                if set(order) - set(fitted) or len(set(order)) != len(order):
                    raise RefusedError(RefusalCode.OUT_OF_RANGE, "trip_order names a round wrongly")

    def check_keys(self, args: Message) -> None:
        """Hold a key statement against the anchor and the statement before.

        Raises:
            RefusedError: `UNSUPPORTED` without an anchor, `PRECONDITION` for another anchor's, `DUPLICATE` for one
                that is not newer.
        """
        if not isinstance(args, KeysArgs):
            return
        trust = self._device.trust
        if not trust.has_anchor:
            raise RefusedError(RefusalCode.UNSUPPORTED, "no anchor is pinned, so keys cannot change")
        try:
            serial = trust.read(args.statement).serial
        except BadStatementError as error:
            raise RefusedError(RefusalCode.PRECONDITION, f"key statement: {error}"[:400]) from error
        if serial <= trust.serial:
            raise RefusedError(RefusalCode.DUPLICATE, f"the last key statement is {trust.serial}")

    def check_now(self, args: Message) -> None:
        """Hold the arguments against the present state; asked again right before the act.

        Raises:
            RefusedError: `GUARANTEE_ACTIVE` or `PRECONDITION`.
        """
        device, kept = self._device, self._device.kept
        cuts = isinstance(args, TripArgs) or (isinstance(args, LimitArgs) and self.is_cut(args))
        if cuts and kept.guarantee is not Guarantee.OFF:
            raise RefusedError(RefusalCode.GUARANTEE_ACTIVE)
        match args:
            case CreditArgs() if args.mode == "append" and args.paid_until_wh < kept.paid_until_wh:
                raise RefusedError(RefusalCode.PRECONDITION, "append must not lower paid_until_wh")
            case TripArgs() if args.safe_load_w is not None:
                left_w = device.power_w - device.site.round_power_w(args.round, at=device.at)
                if left_w < args.safe_load_w:
                    raise RefusedError(RefusalCode.PRECONDITION, "below the safe load")
            case CloseArgs() if self._load_control.holds_by_allowance():
                raise RefusedError(RefusalCode.PRECONDITION, "local mode holds the rounds tripped")

    def act(self, args: Message) -> AckDetail:
        """Do it, and return what `executed` tells.

        Raises:
            RefusedError: `HARDWARE` when a relay does not obey.
        """
        detail = self._acts[type(args)](args)
        self._device.changed()
        return detail

    def _rounds_and_power(self) -> AckDetail:
        device = self._device
        device.report_wanted = True
        return AckDetail(rounds=device.site.rounds(), active_power_w=device.power_w)

    def _credit(self, args: CreditArgs) -> AckDetail:
        device, kept = self._device, self._device.kept
        before_wh = kept.remaining_wh
        kept.paid_until_wh = args.paid_until_wh
        kept.order_no = args.order_no
        kept.alarm_wh, kept.trip_wh = args.alarm_wh, args.trip_wh
        if kept.remaining_wh > kept.alarm_wh:
            kept.warning = None
        told = {
            "order_no": args.order_no,
            "remaining_before_wh": before_wh,
            "remaining_after_wh": kept.remaining_wh,
        }
        device.event(EventType.CREDIT_APPLIED, **told)
        self._load_control.apply()
        return self._rounds_and_power().model_copy(update=told)

    def _control(self, args: ControlArgs) -> AckDetail:
        kept = self._device.kept
        kept.control_enabled, kept.mode = args.enabled, args.mode
        self._load_control.apply()
        return self._rounds_and_power()

    def _warn(self, args: WarnArgs) -> AckDetail:
        device = self._device
        device.kept.warning = None if args.stage == NO_WARNING else args
        if device.kept.warning is not None:
            device.event(EventType.ALARM, cause=Cause.ORDER, note=args.stage)
        return AckDetail()

    def _limit(self, args: LimitArgs) -> AckDetail:
        if args.power_w is None:
            self._load_control.lift_limit()
        else:
            self._device.kept.limit = args
            self._load_control.limit_changed()
        self._load_control.apply()
        return self._rounds_and_power()

    def _trip(self, args: TripArgs) -> AckDetail:
        device = self._device
        if not self._load_control.cut(args.round, cause=Cause.ORDER):
            raise RefusedError(RefusalCode.HARDWARE, "the relay does not move")
        device.kept.released_at.pop(args.round, None)
        if args.limit_min:
            device.kept.released_at[args.round] = device.at + timedelta(minutes=args.limit_min)
        return self._rounds_and_power()

    def _close(self, args: CloseArgs) -> AckDetail:
        direct = args.manner == "direct"
        if not self._load_control.release(args.round, told_cause=Cause.ORDER, direct=direct):
            raise RefusedError(RefusalCode.HARDWARE, "the relay does not move")
        return self._rounds_and_power()

    def _guarantee(self, args: GuaranteeArgs) -> AckDetail:
        if not args.on:
            self._load_control.end_guarantee()
        elif not self._load_control.begin_guarantee(Guarantee.ORDERED, until=args.until):
            raise RefusedError(RefusalCode.HARDWARE, "a relay does not move")
        self._load_control.apply()
        return self._rounds_and_power()

    def _configure(self, args: ConfigureArgs) -> AckDetail:
        for name, value in args.model_dump(exclude_none=True).items():
            setattr(self._device.kept, name, value)
        return AckDetail()

    def _keys(self, args: KeysArgs) -> AckDetail:
        trust = self._device.trust
        trust.accept(trust.read(args.statement))
        return AckDetail(keys=trust.held())
