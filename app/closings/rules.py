"""What an account comes to when it is closed, to the fen; or why it cannot be closed yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from app.errors import Conflict, Forbidden, Refused
from app.quantities import NANOFEN_PER_FEN, half_up_to_fen, nanofen_to_fen, price_nfen_per_wh


class ClosingState(StrEnum):
    """Closing: the energy has left the books, no money has moved. Then it is finished, or withdrawn."""

    CLOSING = "closing"
    FINISHED = "finished"
    WITHDRAWN = "withdrawn"


class Outcome(StrEnum):
    """Which way the money goes."""

    REFUND = "refund"
    PAY_UP = "pay_up"
    NOTHING = "nothing"


class ClosingRefused(Refused):
    """The account cannot be closed now; ``because`` names the reason."""

    title = "The account cannot be closed now"

    def __init__(self, because: str, *, detail: str, remedy: str) -> None:
        super().__init__(detail, remedy=remedy, because=because)


class AccountNotSettled(Refused):
    """Closing a contract outright is for one that never had anything; all else is settled first."""

    title = "The account is not settled"

    def __init__(self, *, contract_no: str, standing: dict[str, int]) -> None:
        listed = ", ".join(f"{name} {amount:,}" for name, amount in standing.items())
        super().__init__(
            f"Contract {contract_no} still has {listed}.",
            remedy=f"Ask for the closing of the account: POST /api/v1/contracts/{contract_no}/closing.",
            contract_no=contract_no,
            standing=standing,
        )


class NotGivenUpYet(Refused):
    """Money moves when the terminal shows that it holds no energy, or when an approver answers for it."""

    title = "The terminal has not shown its last order yet"

    def __init__(self, *, terminal_order_no: int, order_no: int) -> None:
        super().__init__(
            f"The terminal has told of order {terminal_order_no}; it must show order {order_no}, or a later one "
            "that it was given here, hold no more than that order says, and have reported since.",
            remedy="Wait until it has reported, or ask an approver to release the closing with a reason.",
            terminal_order_no=terminal_order_no,
            order_no=order_no,
        )


class UsedSinceFinalReading(Refused):
    title = "Energy was used after the final reading"

    def __init__(self, *, reading_wh: int, counter_wh: int) -> None:
        super().__init__(
            f"The final reading is {reading_wh:,} Wh, and the counter stands at {counter_wh:,} Wh.",
            remedy="Withdraw the closing, have the load ended, and ask for it again.",
            reading_wh=reading_wh,
            counter_wh=counter_wh,
        )


class AccountMoved(Refused):
    title = "The account has moved since the closing was asked for"

    def __init__(self) -> None:
        super().__init__(
            "Deposit, debt or money kept are not what the closing was settled on.",
            remedy="Withdraw the closing and ask for it again.",
        )


class ClosingOver(Conflict):
    title = "The closing is over"

    def __init__(self, *, state: ClosingState, ended_at: datetime | None) -> None:
        when = f" since {ended_at.isoformat()}" if ended_at else ""
        super().__init__(
            f"The closing is {state.value}{when}.",
            remedy="Nothing needs to be done; ask anew where a withdrawn account is to be closed after all.",
            state=state.value,
        )


class ClosingReleasedBefore(Conflict):
    """Who has released a closing answers for it, and another release would put a new name and reason over theirs."""

    title = "The closing was released before"

    def __init__(self, *, by: str, because: str | None) -> None:
        super().__init__(
            f"{by} has released it: {because}",
            remedy="Have it finished; or have it withdrawn, if it should not have been released.",
            released_by=by,
            released_because=because,
        )


class OwnClosing(Forbidden):
    title = "Nobody releases a closing of their own"

    def __init__(self) -> None:
        super().__init__(
            "You asked for this closing, so another approver must release it.", remedy="Ask another approver."
        )


class Source(NamedTuple):
    """Energy that was paid for and not taken back: in Wh, and all that was paid for it, in nano-fen."""

    name: str
    energy_wh: int
    worth_nfen: int


class Part(NamedTuple):
    """What is left of one source, in Wh, and its value in nano-fen."""

    name: str
    energy_wh: int
    worth_nfen: int


def parts_left(sources: Sequence[Source], *, left_wh: int) -> tuple[Part, ...]:
    """Return what is left of each source, oldest first; what was paid for first burns first.

    10 MWh at 0.80 and 20 MWh at 0.90 with 25 MWh left: 5 MWh worth 4 000.00 and 20 MWh worth 18 000.00. A part of a
    source is worth its share of what was paid for it. For a purchase that is the energy at its own price, exactly;
    for an opening balance it is floored to the nano-fen.
    """
    parts = []
    for source in reversed(sources):
        energy_wh = min(max(source.energy_wh, 0), max(left_wh, 0))
        if energy_wh:
            parts.append(Part(source.name, energy_wh, source.worth_nfen * energy_wh // source.energy_wh))
            left_wh -= energy_wh
    return tuple(reversed(parts))


@dataclass(frozen=True, kw_only=True)
class Account:
    """How an account stands at the final reading: energy in Wh, money in fen and nano-fen."""

    reading_wh: int
    paid_until_wh: int
    lent_wh: int
    deposit_fen: int
    debt_fen: int
    kept_nfen: int
    sources: tuple[Source, ...]
    yuan_per_kwh: Decimal | None

    @property
    def remaining_wh(self) -> int:
        return self.paid_until_wh - self.reading_wh


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What an account comes to. ``money_fen`` above zero goes out to the customer, below zero it comes in.

    ``worth + kept before = (money + debt + overused) x 10^9 + kept after``, exactly, in nano-fen. ``lent_wh`` is all
    emergency credit that stood; it is over.
    """

    remaining_wh: int
    lent_wh: int
    parts: tuple[Part, ...]
    overused_wh: int
    overused_fen: int
    yuan_per_kwh: Decimal | None
    deposit_fen: int
    debt_fen: int
    kept_before_nfen: int
    kept_after_nfen: int
    money_fen: int

    @property
    def worth_nfen(self) -> int:
        return sum(part.worth_nfen for part in self.parts)

    @property
    def left_wh(self) -> int:
        return max(self.remaining_wh - self.lent_wh, 0)

    @property
    def supplied_fen(self) -> int:
        """The value of what was supplied: all that was paid in, less what is given back, and what comes in."""
        return self.deposit_fen - self.debt_fen - self.money_fen

    @property
    def outcome(self) -> Outcome:
        if self.money_fen > 0:
            return Outcome.REFUND
        return Outcome.PAY_UP if self.money_fen else Outcome.NOTHING


def settle(account: Account) -> Settlement:
    """Settle an account to the fen.

    Of what remains at the terminal, energy that is still lent goes back first and has no value; the rest is worth
    what was paid for it (:func:`parts_left`). Where less remains than was lent, or less than nothing, the energy that
    is missing was used and never paid: it is owed at the price in force, rounded half-up to the fen, once. Money kept
    counts as paid; old debt is owed. Whole fen are settled; the fraction of a fen stays kept.

    An example: 30 MWh bought at 0.8130 and read with 1 234 567 Wh left, of which 200 000 are lent; 0.02 fen kept,
    100.00 yuan owed. 1 034 567 Wh are worth 84 110 297 100 000 nano-fen (84 110.2971 fen), with 0.02 kept
    84 110.3171 fen. 84 110 fen less 10 000 fen of debt: 741.10 yuan go out, and 0.3171 fen stay.
    Had 1 000 Wh been used beyond what was paid, at 0.8130: 81.3 fen → 81 fen; with the debt and 0.02 fen kept the
    customer pays 100.81 yuan, and 0.02 fen stay.

    Raises:
        ClosingRefused: energy is owed and no price is in force; or the books hold less than the energy is worth.
    """
    net_wh = account.remaining_wh - account.lent_wh
    parts = parts_left(account.sources, left_wh=net_wh)
    overused_wh = max(-net_wh, 0)
    credit_fen, kept_after_nfen = divmod(sum(part.worth_nfen for part in parts) + account.kept_nfen, NANOFEN_PER_FEN)
    overused_fen = _owed_fen(overused_wh, account.yuan_per_kwh)
    if credit_fen > account.deposit_fen:
        raise ClosingRefused(
            "worth_more_than_paid",
            detail=f"What is left is worth {credit_fen:,} fen, and {account.deposit_fen:,} fen lie in the deposit.",
            remedy="Have the books looked through with `wattgate verify`.",
        )
    return Settlement(
        remaining_wh=account.remaining_wh,
        lent_wh=account.lent_wh,
        parts=parts,
        overused_wh=overused_wh,
        overused_fen=overused_fen,
        yuan_per_kwh=account.yuan_per_kwh if overused_wh else None,
        deposit_fen=account.deposit_fen,
        debt_fen=account.debt_fen,
        kept_before_nfen=account.kept_nfen,
        kept_after_nfen=kept_after_nfen,
        money_fen=credit_fen - account.debt_fen - overused_fen,
    )


def _owed_fen(overused_wh: int, yuan_per_kwh: Decimal | None) -> int:
    if not overused_wh:
        return 0
    if yuan_per_kwh is None:
        raise ClosingRefused(
            "no_price",
            detail=f"{overused_wh:,} Wh were used beyond what was paid, and no purchase price is in force.",
            remedy="Ask a tariff keeper to set the purchase price for this period.",
        )
    return half_up_to_fen(nanofen_to_fen(overused_wh * price_nfen_per_wh(yuan_per_kwh)))


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What decides whether an account can be closed now; power in W, readings in Wh."""

    report_fresh: bool
    reading_wh: int | None
    posted_supplied_wh: int
    active_power_w: int | None
    supply_cut: bool
    cut_on_its_way: bool
    refund_under_way: bool
    cheque_in_clearing: bool


def check_ready(ready: Readiness) -> None:
    """Refuse a closing that would race with the customer's load, a cut, a refund or a cheque.

    A closing trips nothing: the customer ends its load. That every round is open would prove less than 0 W, since
    essential load is wired to no round. Supply that is limited or cut is given back first, since afterwards nobody
    could. With a fresh report of 0 W and nothing cut it may begin.

    Raises:
        ClosingRefused: names why, and what would be right.
    """
    for stands, because, detail, remedy in (
        (
            not ready.report_fresh or ready.reading_wh is None,
            "report_stale",
            "The terminal has not reported lately, so nobody knows its final reading.",
            "Have the terminal report first, and ask again.",
        ),
        (
            (ready.reading_wh or 0) < ready.posted_supplied_wh,
            "counter_behind",
            f"The counter stands below {ready.posted_supplied_wh:,} Wh, which the books hold for supplied.",
            "Have the terminal looked at and its counter put right.",
        ),
        (
            ready.active_power_w != 0,
            "load_running",
            f"The latest report says {ready.active_power_w} W, so the final reading would be none.",
            "Have the customer end its load; ask again when a report says 0 W.",
        ),
        (
            ready.supply_cut,
            "supply_cut",
            "Supply is limited or cut by the service; closed now, nobody could give it back.",
            "Guarantee supply or sell energy first, and ask again when it is given back.",
        ),
        (
            ready.cut_on_its_way,
            "cut_pending",
            "The terminal may be acting on a cut just now, and it cannot be called back.",
            "Wait until the cut is verified or has failed, and have supply given back.",
        ),
        (
            ready.refund_under_way,
            "refund_under_way",
            "A refund has taken energy back and its money has not been paid out.",
            "Pay the refund out or withdraw it first.",
        ),
        (
            ready.cheque_in_clearing,
            "cheque_in_clearing",
            "A cheque of this contract is in clearing, and what it is to buy could not be sold any more.",
            "Wait until it has cleared, or give it back first.",
        ),
    ):
        if stands:
            raise ClosingRefused(because, detail=detail, remedy=remedy)
