"""The command that an order by hand becomes, and what refuses it: its own arguments, or an interlock before a cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.calendars.rules import barred_by, next_allowed
from app.errors import Conflict, Refused
from app.load_control.facts import Cut, Facts
from app.load_control.levels import levels
from app.load_control.reasons import Reason
from app.load_control.rules import Step
from app.notices.rules import NoticeKind, word


class Action(StrEnum):
    """What an operator can order."""

    REMIND = "remind"
    WARN = "warn"
    NOTIFY = "notify"
    LIMIT = "limit"
    LIFT_LIMIT = "lift_limit"
    TRIP = "trip"
    ALLOW_CLOSE = "allow_close"
    DIRECT_CLOSE = "direct_close"
    GUARANTEE = "guarantee"
    END_GUARANTEE = "end_guarantee"
    ENABLE_CONTROL = "enable_control"
    DISABLE_CONTROL = "disable_control"
    CONFIGURE = "configure"
    REFRESH = "refresh"

    @property
    def words(self) -> str:
        return self.value.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order by hand; ``arguments`` are those of its action, as the API names them."""

    action: Action
    supply_point_id: UUID
    reason: str
    requested_by: UUID
    arguments: Mapping[str, Any]


def kept_as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the arguments of an order as they are kept and hashed: moments as text.

    ``{"power_w": 1, "until": datetime(2026, 3, 4, tzinfo=UTC)}`` gives ``{…, "until": "2026-03-04T00:00:00+00:00"}``.
    """
    return {name: _said(value) for name, value in arguments.items()}


def read_from_json(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Read what :func:`kept_as_json` has written."""
    return {
        name: datetime.fromisoformat(value) if name in _MOMENTS and value is not None else value
        for name, value in kept.items()
    }


def _said(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


_MOMENTS = frozenset({"until", "cut_not_before"})

#: What would be right, for each interlock that can stand against a cut by hand.
_REMEDIES = {
    "protected": "This customer is not cut; collect in another way.",
    "closing": "Finish the closing of the account, or withdraw it.",
    "guaranteed": "End the guarantee first (end_guarantee).",
    "estimate": "Wait until the terminal's clock is set and it has reported.",
    "stale_report": "Wait for a fresh report.",
    "credit_undelivered": "Wait until the purchase has reached the terminal.",
    "unreachable": "Wait until the terminal is online and commandable.",
    "not_approved": "Ask for an approval (POST /api/v1/approvals/orders); another person approves it.",
    "brake_on": "Look why so much was to be cut, and have an approver release the brake (GET /api/v1/brake).",
    "no_cut_time": "Order it when cuts are allowed (GET /api/v1/offices/{code}/no-cut-times).",
    "no_notice": "Give the written notice first (notify).",
    "notice_not_served": "Hand the written notice over and record it (POST /api/v1/notices/{id}/served).",
    "notice_period": "Wait until the written notice has run.",
    "no_second_notice": "Give the second notice first (notify with kind second).",
    "second_notice_not_served": "Hand the second notice over and record it (POST /api/v1/notices/{id}/served).",
    "second_notice_period": "Wait until the second notice has run.",
}


class CutRefused(Refused):
    """An interlock stands against the cut; `interlocks` names every one, in Chinese and English."""

    title = "The cut is refused"

    def __init__(self, *, cut: Cut, interlocks: Sequence[Reason]) -> None:
        super().__init__(
            " ".join(reason.text("en") for reason in interlocks),
            remedy=" ".join(_REMEDIES.get(reason.code, "Wait until this no longer holds.") for reason in interlocks),
            cut=cut.value,
            interlocks=[reason.as_json() for reason in interlocks],
        )


class RoundNotFitted(Refused):
    title = "The round is not fitted"

    def __init__(self, *, round_no: int, fitted: Sequence[int]) -> None:
        super().__init__(
            f"The terminal has no round {round_no}.",
            remedy=f"Choose one of its rounds: {', '.join(map(str, fitted)) or 'it has none'}.",
            round=round_no,
            fitted=list(fitted),
        )


class RoundTripped(Conflict):
    """A trip by hand is lifted by hand; what the service has tripped it gives back itself after a purchase."""

    title = "The round is tripped already"

    def __init__(self, *, round_no: int) -> None:
        super().__init__(
            f"Round {round_no} is open, or a trip of it is on its way; a second order would take it over.",
            remedy="Nothing needs to be done; order another round if more load must go.",
            round=round_no,
        )


class LimitOutOfRange(Refused):
    """A limit below the safe load would cut what must never be cut; one above the capacity limits nothing."""

    title = "The limit is out of range"

    def __init__(self, *, power_w: int, safe_load_w: int, capacity_w: int) -> None:
        super().__init__(
            f"{power_w:,} W is not between the safe load and the capacity.",
            remedy=f"Choose a limit from {safe_load_w:,} W to {capacity_w:,} W.",
            power_w=power_w,
            safe_load_w=safe_load_w,
            capacity_w=capacity_w,
        )


class NoticeTooShort(Refused):
    title = "The notice is too short"

    def __init__(self, *, cut_not_before: datetime, earliest: datetime) -> None:
        super().__init__(
            f"A cut from {cut_not_before.isoformat()} leaves less time than the contract promises.",
            remedy=f"Announce the cut for {earliest.isoformat()} or later.",
            cut_not_before=cut_not_before.isoformat(),
            earliest=earliest.isoformat(),
        )


class AnnouncedForNoCutTime(Refused):
    """A customer who prepares for that time would wait for a cut that cannot come."""

    title = "Nobody is cut off at that time"

    def __init__(self, *, cut_not_before: datetime, rule: str, allowed_at: datetime | None) -> None:
        right = f"{allowed_at.isoformat()} or later" if allowed_at else "a time after the rule has ended"
        super().__init__(
            f"At {cut_not_before.isoformat()} nobody is cut off ({rule}).",
            remedy=f"Announce the cut for {right}.",
            cut_not_before=cut_not_before.isoformat(),
            allowed_at=allowed_at.isoformat() if allowed_at else None,
        )


class EndsInThePast(Refused):
    title = "The order would have ended already"

    def __init__(self, *, until: datetime, now: datetime) -> None:
        super().__init__(
            f"It would hold until {until.isoformat()}, and it is {now.isoformat()}.",
            remedy="Choose a later end, or none.",
            until=until.isoformat(),
        )


class NoticeOnItsWay(Conflict):
    """A terminal shows one warning at a time, and a newer one would keep a notice of a cut from arriving."""

    title = "A notice is on its way"

    def __init__(self, *, kind: str, command_id: UUID) -> None:
        super().__init__(
            f"The {kind} notice has not reached the terminal yet, and a newer warning would take its place.",
            remedy="Wait until it has arrived, or call it back (POST /api/v1/commands/{id}/cancel).",
            kind=kind,
            command_id=str(command_id),
        )


class CreditOnItsWay(Conflict):
    """A credit that is open carries what was paid for or taken back; a correction would take its place."""

    title = "A credit is on its way"

    def __init__(self, *, supply_point_id: UUID) -> None:
        super().__init__(
            "A credit has not been proved yet, and a correction would take its place.",
            remedy="Wait until it is verified or has ended (GET /api/v1/commands); it may put the terminal right.",
            supply_point_id=str(supply_point_id),
        )


class NotUnderContract(Refused):
    title = "There is no open contract"

    def __init__(self, *, supply_point_id: UUID) -> None:
        super().__init__(
            "The supply point has no open contract, so nothing can be ordered there.",
            remedy="Sign a contract first.",
            supply_point_id=str(supply_point_id),
        )


class TerminalRetired(Refused):
    title = "The terminal is retired"

    def __init__(self, *, terminal_id: str) -> None:
        super().__init__(
            f"Terminal {terminal_id} is retired and takes no commands.",
            remedy="Fit a new terminal to the supply point first.",
            terminal_id=terminal_id,
        )


def notice_kind_of(order: Order) -> NoticeKind | None:
    """Return the notice that an order gives: ``remind`` a reminder, ``trip`` none."""
    match order.action:
        case Action.REMIND:
            return NoticeKind.REMINDER
        case Action.WARN:
            return NoticeKind.WARNING
        case Action.NOTIFY:
            return NoticeKind(order.arguments["kind"])
        case _:
            return None


def step_of(order: Order, facts: Facts, *, capacity_w: int, now: datetime) -> Step:
    """Turn an order into the command that the terminal gets.

    ``limit`` to 300 000 W at a safe load of 50 000 W and a capacity of 1 000 000 W becomes
    ``limit {power_w: 300000, alarm_delay_min: 0, safe_load_w: 50000}``.

    Raises:
        RoundNotFitted, LimitOutOfRange, EndsInThePast: an argument does not fit the site or the time.
        CreditOnItsWay: a correction would take the place of what was paid for.
        NoticeTooShort, AnnouncedForNoCutTime: the cut cannot come at the time that the notice names.
    """
    given = dict(order.arguments)
    _check_until(given.get("until"), now=now)
    kind = notice_kind_of(order)
    if kind is not None:
        return _warning(kind, facts, cut_not_before=given.get("cut_not_before"), now=now)
    match order.action:
        case Action.LIMIT | Action.LIFT_LIMIT:
            return _limit(given, facts, capacity_w=capacity_w)
        case Action.TRIP:
            _check_rounds([given["round"]], facts)
            return Step(op="trip", args={**given, "safe_load_w": facts.safe_load_w})
        case Action.ALLOW_CLOSE | Action.DIRECT_CLOSE:
            _check_rounds([given["round"]], facts)
            return Step(op="close", args={**given, "manner": order.action.value.removesuffix("_close")})
        case Action.GUARANTEE | Action.END_GUARANTEE:
            return Step(op="guarantee", args=_as_sent({**given, "on": order.action is Action.GUARANTEE}))
        case Action.REFRESH:
            return _correction(facts, supply_point_id=order.supply_point_id)
        case Action.ENABLE_CONTROL | Action.DISABLE_CONTROL:
            enabled = order.action is Action.ENABLE_CONTROL
            return Step(op="control", args={"enabled": enabled, "mode": facts.control_mode.value})
        case _:
            _check_rounds(given.get("trip_order", []), facts)
            return Step(op="configure", args=given)


def _warning(kind: NoticeKind, facts: Facts, *, cut_not_before: datetime | None, now: datetime) -> Step:
    if cut_not_before is not None:
        periods = facts.notice_periods
        period_s = periods.second_s if kind is NoticeKind.SECOND else periods.written_s
        earliest = now + timedelta(seconds=period_s)
        if cut_not_before < earliest:
            raise NoticeTooShort(cut_not_before=cut_not_before, earliest=earliest)
        _check_announced(cut_not_before, facts)
    said = word(kind, remaining_wh=facts.remaining_wh, cut_not_before=cut_not_before, limit_w=None)
    return Step(op="warn", args={"stage": kind.value, "text": {"zh": said.zh, "en": said.en}})


def _correction(facts: Facts, *, supply_point_id: UUID) -> Step:
    """Say what the books say, once more and absolutely; its order number is taken when it is issued."""
    if facts.credit_in_flight:
        raise CreditOnItsWay(supply_point_id=supply_point_id)
    at = levels(facts)
    args = {
        "mode": "refresh",
        "value_wh": facts.paid_until_wh - facts.terminal_paid_until_wh,
        "paid_until_wh": facts.paid_until_wh,
        "alarm_wh": at.warning,
        "trip_wh": at.trip,
    }
    return Step(op="credit", args=args)


def _check_announced(cut_not_before: datetime, facts: Facts) -> None:
    rule = barred_by(facts.no_cut, at=cut_not_before)
    if rule is not None:
        allowed_at = next_allowed(facts.no_cut, at=cut_not_before)
        raise AnnouncedForNoCutTime(cut_not_before=cut_not_before, rule=rule.words, allowed_at=allowed_at)


def _limit(given: dict[str, Any], facts: Facts, *, capacity_w: int) -> Step:
    if "power_w" not in given:
        return Step(op="limit", args={"power_w": None, "alarm_delay_min": 0})
    _check_limit(given["power_w"], facts, capacity_w=capacity_w)
    return Step(op="limit", args=_as_sent({**given, "safe_load_w": facts.safe_load_w}))


def _check_limit(power_w: int, facts: Facts, *, capacity_w: int) -> None:
    if not facts.safe_load_w <= power_w <= capacity_w:
        raise LimitOutOfRange(power_w=power_w, safe_load_w=facts.safe_load_w, capacity_w=capacity_w)


def _check_rounds(wanted: Sequence[int], facts: Facts) -> None:
    fitted = [one.round for one in facts.rounds]
    for round_no in wanted:
        if round_no not in fitted:
            raise RoundNotFitted(round_no=round_no, fitted=fitted)


def _check_until(until: datetime | None, *, now: datetime) -> None:
    if until is not None and until <= now:
        raise EndsInThePast(until=until, now=now)


def _as_sent(args: dict[str, Any]) -> dict[str, Any]:
    """Write moments as the terminal protocol has them: UTC with milliseconds."""
    return {
        name: value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if isinstance(value, datetime)
        else value
        for name, value in args.items()
    }
