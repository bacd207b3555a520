"""How much of a purchase can be taken back, and what money that is; or why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from app.errors import Conflict, Forbidden, Refused
from app.load_control.facts import Facts
from app.load_control.levels import level_that_acts
from app.load_control.reasons import Reason
from app.quantities import NANOFEN_PER_FEN, SECONDS_PER_HOUR, price_nfen_per_wh


class RefundKind(StrEnum):
    """A reversal undoes a mistaken purchase, all of it; a refund gives money for energy that was not used."""

    REVERSAL = "reversal"
    REFUND = "refund"


class RefundState(StrEnum):
    """Taking back: the energy has left the books, the money not yet. Then it is paid out, or withdrawn."""

    TAKING_BACK = "taking_back"
    PAID_OUT = "paid_out"
    WITHDRAWN = "withdrawn"


class RefundRefused(Refused):
    """Nothing, or not that much, can be taken back; ``because`` names the reason, ``most_wh`` what could be."""

    title = "The purchase cannot be taken back"

    def __init__(self, because: str, *, detail: str, remedy: str, most_wh: int = 0) -> None:
        super().__init__(detail, remedy=remedy, because=because, most_wh=most_wh)


class NotTakenBackYet(Refused):
    """Money moves when the terminal shows that it has given the energy up, or when an approver answers for it."""

    title = "The terminal has not given the energy up yet"

    def __init__(self, *, terminal_order_no: int, order_no: int) -> None:
        super().__init__(
            f"The terminal has told of order {terminal_order_no}; it must show order {order_no}, or a later one "
            "that it was given here, and hold no more than that order says.",
            remedy="Wait until the terminal has it, or ask an approver to release the money with a reason.",
            terminal_order_no=terminal_order_no,
            order_no=order_no,
        )


class RefundOver(Conflict):
    title = "The refund is over"

    def __init__(self, *, state: RefundState, ended_at: datetime | None) -> None:
        when = f" since {ended_at.isoformat()}" if ended_at else ""
        super().__init__(
            f"The refund is {state.value.replace('_', ' ')}{when}.",
            remedy="Nothing needs to be done; ask anew where more is to be taken back.",
            state=state.value,
        )


class RefundReleasedBefore(Conflict):
    """Who has released money answers for it, and another release would put a new name and reason over theirs."""

    title = "The refund was released before"

    def __init__(self, *, by: str, because: str | None) -> None:
        super().__init__(
            f"{by} has released it: {because}",
            remedy="Have it paid out; or have it withdrawn, if it should not have been released.",
            released_by=by,
            released_because=because,
        )


class OwnRefund(Forbidden):
    title = "Two people stand behind a released refund"

    def __init__(self) -> None:
        super().__init__(
            "You asked for this refund, or released it, so another person must release or pay its money.",
            remedy="Ask another approver to release it, or another cashier to pay it.",
        )


class Given(NamedTuple):
    """Energy in Wh that a purchase (or another source) gave, or that was taken from it again."""

    source: UUID
    energy_wh: int


def left_of(purchase_id: UUID, given: Sequence[Given], *, remaining_wh: int) -> int:
    """Return how much of a purchase's energy has not been used, in Wh; what was given first burns first.

    Purchases of 10, 20 and 30 MWh, 35 MWh remaining: 30 of the last, 5 of the second, none of the first.
    """
    net_wh: dict[UUID, int] = {}
    for each in given:
        net_wh[each.source] = net_wh.get(each.source, 0) + each.energy_wh
    left_wh = max(remaining_wh, 0)
    for source in reversed(net_wh):
        held_wh = min(max(net_wh[source], 0), left_wh)
        if source == purchase_id:
            return held_wh
        left_wh -= held_wh
    return 0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a purchase stands: energy in Wh, money in fen and nano-fen, load in W."""

    granted_wh: int
    left_wh: int
    remaining_wh: int
    keep_wh: int
    emergency_wh: int
    kept_nfen: int
    yuan_per_kwh: Decimal
    deposited_fen: int
    debt_paid_fen: int
    kept_before_nfen: int
    newest: bool
    refunded: bool
    report_fresh: bool
    closing: bool = False


@dataclass(frozen=True, kw_only=True)
class TakeBack:
    """What is taken back. ``(energy + lent again) x price + kept before = deposit x 10^9 + kept after``, exactly.

    ``energy_wh`` leaves the terminal. A reversal lends the emergency credit again that its purchase gave back: of
    10 000 000 Wh bought, 2 000 000 gave back what was lent, so 8 000 000 leave the terminal, and the money is that of
    10 000 000.
    """

    energy_wh: int
    deposit_back_fen: int
    debt_reopened_fen: int
    kept_before_nfen: int
    kept_after_nfen: int

    @property
    def money_fen(self) -> int:
        return self.deposit_back_fen + self.debt_reopened_fen


def energy_to_keep(*, level_wh: int, recent_load_w: int, report_valid_s: int) -> int:
    """Return what must stay at the terminal: the level below which it acts, and what it uses until it has heard.

    At 480 kW, reports valid for 30 min and a trip level of 0: 240 kWh.
    """
    return level_wh + max(recent_load_w, 0) * report_valid_s // SECONDS_PER_HOUR


def why_held(facts: Facts, *, paid_until_wh: int, now: datetime) -> tuple[Reason, ...]:
    """Name what stands against a credit that would lower the terminal to ``paid_until_wh``; empty when nothing does.

    What was spared when the refund was asked for may have been used since. On a fresh report as much must stay as
    the terminal can use from that report until it has heard: the margin of :func:`energy_to_keep` is there to be used
    up. At 480 kW and a trip level of 0, reported 10 min ago, heard within 20 s: 82 667 Wh. An account that is being
    closed has used nothing since its final reading, and nothing runs.
    """
    if not facts.lowering:
        return ()
    age = now - facts.supplied_at if facts.supplied_at is not None else None
    if age is None or age > facts.report_valid_for:
        return (Reason("stale_report", reported_at=facts.supplied_at.isoformat() if facts.supplied_at else ""),)
    if facts.estimated:
        return (Reason("estimate"),)
    if facts.order_unknown:
        return (Reason("order_unknown"),)
    if facts.closing:
        return _against_closing(facts, reading_wh=paid_until_wh)
    remaining_wh = paid_until_wh - (facts.supplied_wh or 0)
    must_stay_wh = energy_to_keep(
        level_wh=level_that_acts(facts),
        recent_load_w=max(facts.recent_load_w, facts.active_power_w or 0),
        report_valid_s=int((age + facts.retry_after).total_seconds()),
    )
    if remaining_wh >= must_stay_wh:
        return ()
    return (Reason("must_stay", remaining_wh=remaining_wh, must_stay_wh=must_stay_wh),)


def _against_closing(facts: Facts, *, reading_wh: int) -> tuple[Reason, ...]:
    if facts.supplied_wh != reading_wh:
        return (Reason("used_while_closing"),)
    if facts.active_power_w is None:
        return (Reason("power_unknown"),)
    if facts.active_power_w != 0:
        return (Reason("load_running", active_power_w=facts.active_power_w),)
    return ()


def take_back(standing: Standing, *, kind: RefundKind, wanted_wh: int | None) -> TakeBack:
    """Decide how much energy leaves the terminal and what money that is.

    A reversal takes all or nothing, debt that was paid included. A refund takes what is wanted, at most what is left
    of the purchase and can be spared, at the purchase's own price: 1 000 000 Wh at 0.8130 with 0.02 fen kept are
    81 300.02 fen: 813.00 yuan, and 0.02 fen stay kept.

    Raises:
        RefundRefused: names why, and how much could be taken back.
    """
    _refuse_unsure(standing)
    spare_wh = max(standing.remaining_wh - standing.keep_wh, 0)
    most_wh = min(standing.left_wh, spare_wh)
    if kind is RefundKind.REVERSAL:
        _refuse_reversal(standing, most_wh=most_wh)
        return TakeBack(
            energy_wh=standing.granted_wh,
            deposit_back_fen=standing.deposited_fen,
            debt_reopened_fen=standing.debt_paid_fen,
            kept_before_nfen=standing.kept_nfen,
            kept_after_nfen=standing.kept_before_nfen,
        )
    energy_wh = most_wh if wanted_wh is None else wanted_wh
    if most_wh == 0 or energy_wh > most_wh:
        raise RefundRefused(
            "too_little_left",
            detail=f"Of this purchase {standing.left_wh:,} Wh are unused, of which {most_wh:,} Wh can be spared.",
            remedy="Take back at most that." if most_wh else "Nothing can be taken back.",
            most_wh=most_wh,
        )
    worth_nfen = energy_wh * price_nfen_per_wh(standing.yuan_per_kwh) + standing.kept_nfen
    back_fen, kept_nfen = divmod(worth_nfen, NANOFEN_PER_FEN)
    if back_fen == 0:
        raise RefundRefused(
            "worth_nothing",
            detail=f"{energy_wh:,} Wh are worth less than one fen.",
            remedy="Take back more, or nothing.",
            most_wh=most_wh,
        )
    return TakeBack(
        energy_wh=energy_wh,
        deposit_back_fen=back_fen,
        debt_reopened_fen=0,
        kept_before_nfen=standing.kept_nfen,
        kept_after_nfen=kept_nfen,
    )


def _refuse_unsure(standing: Standing) -> None:
    if standing.closing:
        raise RefundRefused(
            "account_closing",
            detail="The account is being closed, which gives back what is left of every purchase.",
            remedy="Finish the closing, or withdraw it first.",
        )
    if not standing.report_fresh:
        raise RefundRefused(
            "report_stale",
            detail="The terminal has not reported lately, so nobody knows what it has used.",
            remedy="Have the terminal report first, and ask again.",
        )
    if standing.emergency_wh:
        raise RefundRefused(
            "emergency_credit",
            detail=f"{standing.emergency_wh:,} Wh of emergency credit have not been given back.",
            remedy="Sell energy that gives the emergency credit back first.",
        )
    if standing.refunded:
        raise RefundRefused(
            "taken_back_before",
            detail="A refund of this purchase is under way or was paid out.",
            remedy="Finish or withdraw the one that is under way.",
        )


def _refuse_reversal(standing: Standing, *, most_wh: int) -> None:
    if not standing.newest:
        raise RefundRefused(
            "not_the_newest",
            detail="Something was bought or taken back after this purchase, so it cannot be undone on its own.",
            remedy="Reverse what came after it first, or refund its unused energy.",
            most_wh=most_wh,
        )
    if standing.left_wh < standing.granted_wh:
        raise RefundRefused(
            "used_already",
            detail=f"{standing.granted_wh - standing.left_wh:,} of its {standing.granted_wh:,} Wh have been used.",
            remedy="Refund the unused part instead.",
            most_wh=most_wh,
        )
    if most_wh < standing.granted_wh:
        raise RefundRefused(
            "would_cut",
            detail=f"{standing.keep_wh:,} Wh must stay at the terminal, or it would cut without notice.",
            remedy="Refund a part instead, or sell the right energy first.",
            most_wh=most_wh,
        )


def bought_again(*, deposit_back_fen: int, kept_nfen: int, yuan_per_kwh: Decimal) -> tuple[int, int]:
    """Return the energy in Wh that withdrawn money buys again at its old price, and what is kept then, in nano-fen.

    813.00 yuan and 0.02 fen kept at 0.8130: 1 000 000 Wh, 0.02 fen kept. Nothing is lost when the price of a Wh does
    not divide what was set aside.
    """
    return divmod(deposit_back_fen * NANOFEN_PER_FEN + kept_nfen, price_nfen_per_wh(yuan_per_kwh))
