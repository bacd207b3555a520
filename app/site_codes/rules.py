"""When a credit may leave as a site code, and what the code gives back besides energy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.commands.rules import IN_DOUBT, OPEN, CommandState, Op
from app.errors import Conflict, Refused

#: What a terminal can complete the short numbers of a code by.
ORDERS_AHEAD_AT_MOST = 127
ENERGY_AHEAD_BELOW_WH = 2**34


class TerminalReachable(Conflict):
    title = "The terminal is online"

    def __init__(self, *, terminal_id: str, seen_at: datetime) -> None:
        super().__init__(
            f"Terminal {terminal_id} answers, last at {seen_at:%Y-%m-%d %H:%M:%S} UTC, so the credit goes to it by "
            "itself.",
            remedy="Look in a minute whether the purchase is verified. A code is for a terminal that stays off line.",
            terminal_id=terminal_id,
        )


class NotCommissioned(Refused):
    title = "The terminal has never been online"

    def __init__(self, *, terminal_id: str) -> None:
        super().__init__(
            f"Terminal {terminal_id} has never told what it holds, so nobody knows which code it would take.",
            remedy="Bring it online once; the credit then arrives by itself.",
            terminal_id=terminal_id,
        )


class NoSiteKey(Refused):
    """Its keypad has no key, or one of another secret."""

    title = "The terminal takes no site codes from here"

    def __init__(self, *, terminal_id: str) -> None:
        super().__init__(
            f"Terminal {terminal_id} was never given a site key, or one of another secret than the service has now.",
            remedy="Write the key of POST /api/v1/terminals/{terminal_id}/site-key into it on site; until then it "
            "needs its line.",
            terminal_id=terminal_id,
        )


class NothingToCarry(Conflict):
    title = "There is nothing for a code to carry"

    def __init__(self, *, terminal_id: str) -> None:
        super().__init__(
            f"No credit is on its way to terminal {terminal_id}: it has told that it holds all that was paid for, or "
            "nothing was bought.",
            remedy="Sell energy first; if supply is still off, look why (GET /api/v1/supply-points/{id}/why).",
            terminal_id=terminal_id,
        )


class CodeWouldLower(Conflict):
    """A code gives and never takes: the terminal would refuse it as wrong."""

    title = "The credit takes energy back"

    def __init__(self, *, terminal_id: str, paid_until_wh: int, may_hold_wh: int) -> None:
        super().__init__(
            f"The credit says paid until {paid_until_wh:,} Wh; terminal {terminal_id} may hold {may_hold_wh:,} Wh.",
            remedy="Let it arrive over the line, or withdraw the refund or closing that it comes from.",
            terminal_id=terminal_id,
            paid_until_wh=paid_until_wh,
            may_hold_wh=may_hold_wh,
        )


class TooFarAhead(Refused):
    """A code holds the low digits of its numbers; the terminal completes them from what it holds."""

    title = "The credit is too far ahead of the terminal"

    def __init__(self, *, orders: int, energy_wh: int) -> None:
        super().__init__(
            f"It is {orders} orders and {energy_wh:,} Wh ahead of what the terminal last told; a code reaches "
            f"{ORDERS_AHEAD_AT_MOST} orders and less than {ENERGY_AHEAD_BELOW_WH:,} Wh.",
            remedy="Bring the terminal online, if only for a minute, or exchange it.",
            orders=orders,
            energy_wh=energy_wh,
        )


@dataclass(frozen=True, kw_only=True)
class Credit:
    """The open credit of a terminal: its order, and paid-until in Wh."""

    order_no: int
    paid_until_wh: int


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a terminal last told of its orders, and the most that it may hold by now, in Wh."""

    order_no: int
    paid_until_wh: int
    may_hold_wh: int


@dataclass(frozen=True, kw_only=True)
class RoundStanding:
    """A fitted round: whether it was told as tripped, and the last command for it, None before the first."""

    told_tripped: bool
    op: Op | None = None
    state: CommandState | None = None

    @property
    def restored(self) -> bool:
        """Whether a close of it is on its way."""
        return self.op is Op.CLOSE and self.state in OPEN

    @property
    def may_be_tripped(self) -> bool:
        acted = self.state in IN_DOUBT | {CommandState.EXECUTED, CommandState.VERIFIED}
        return self.told_tripped or (self.op is Op.TRIP and acted)


@dataclass(frozen=True, kw_only=True)
class GivenBack:
    """What a code gives back besides energy: the rounds that were cut by order, and the power limit."""

    rounds: bool
    limit: bool

    def __bool__(self) -> bool:
        return self.rounds or self.limit


def check_carries(credit: Credit, holding: Holding, *, terminal_id: str) -> None:
    """Refuse a credit that a code cannot bring.

    Args:
        credit: paid-until in Wh.
        holding: of the terminal, in Wh.
        terminal_id: named in the refusal.

    Raises:
        CodeWouldLower: the terminal may hold more than the credit says.
        TooFarAhead: 128 orders, or 2^34 Wh, ahead of what the terminal last told.

    Example: order 301 and 6 000 000 Wh for a terminal that told order 300 and 5 000 000 Wh pass; 428 does not.
    """
    if credit.paid_until_wh < holding.may_hold_wh:
        raise CodeWouldLower(
            terminal_id=terminal_id, paid_until_wh=credit.paid_until_wh, may_hold_wh=holding.may_hold_wh
        )
    orders, energy_wh = credit.order_no - holding.order_no, credit.paid_until_wh - holding.paid_until_wh
    if not 0 < orders <= ORDERS_AHEAD_AT_MOST or energy_wh >= ENERGY_AHEAD_BELOW_WH:
        raise TooFarAhead(orders=orders, energy_wh=energy_wh)


def given_back(rounds: Sequence[RoundStanding], *, limit_lifted: bool) -> GivenBack:
    """Say what a code may give back: exactly what commands on their way give back.

    A code names no rounds, so it releases all or none: there must be a close on its way for each round that is
    tripped, or may be. ``limit_lifted``: a command that lifts the limit is on its way. Raises nothing.

    Example: round 1 tripped with a close on its way and round 2 tripped by an operator without one: no rounds.
    """
    covered = all(one.restored for one in rounds if one.may_be_tripped)
    return GivenBack(rounds=covered and any(one.restored for one in rounds), limit=limit_lifted)


def needs_new_order(before: GivenBack | None, now: GivenBack, *, cut_since: bool) -> bool:
    """Tell whether a code must go under a new order number, since the terminal may have taken the old one already.

    Args:
        before: what the code gives back that was made for this order; None where none was.
        now: what it is to give back.
        cut_since: a cut was sent after the order number was given out, so its codes give back nothing.

    Example: a code without flags was given out, and now a close is on its way: a new order.
    """
    return (before is not None and before != now) or (cut_since and bool(now))
