"""What an amount of money pays off, buys and leaves over; nothing is dropped, nothing is charged twice."""

from dataclasses import dataclass
from decimal import Decimal

from app.errors import Refused
from app.quantities import NANOFEN_PER_FEN, price_nfen_per_wh

#: Above a hundred million yuan the amount is a slip of the finger, not a purchase.
LARGEST_PURCHASE_FEN = 100_000_000 * 100


class AmountNotSellable(Refused):
    title = "The amount cannot be sold"

    def __init__(self, *, paid_fen: int) -> None:
        super().__init__(
            f"{paid_fen} fen is not an amount that can be sold.",
            remedy=f"Take an amount from 0.01 yuan to {LARGEST_PURCHASE_FEN // 100:,} yuan.",
            paid_fen=paid_fen,
        )


@dataclass(frozen=True, kw_only=True)
class Quote:
    """Where the money goes. ``(paid - debt_paid) x 10^9 + kept_before = energy x price + kept_after``, exactly.

    Of the energy, ``emergency_repaid_wh`` gives back what was lent; the rest is granted.
    """

    paid_fen: int
    debt_paid_fen: int
    kept_before_nfen: int
    energy_wh: int
    emergency_repaid_wh: int
    kept_after_nfen: int

    @property
    def granted_wh(self) -> int:
        return self.energy_wh - self.emergency_repaid_wh

    @property
    def deposited_fen(self) -> int:
        return self.paid_fen - self.debt_paid_fen


def hours_of_supply(left_wh: int | None, *, load_w: int) -> int | None:
    """Return for how many whole hours energy lasts at a load, or None where one of them is not known.

    60 000 000 Wh at 480 000 W: 125 h. Nothing left, or an overdraft: 0 h.
    """
    if left_wh is None or load_w <= 0:
        return None
    return max(left_wh, 0) // load_w


def quote(
    *,
    paid_fen: int,
    debt_fen: int,
    kept_nfen: int,
    yuan_per_kwh: Decimal,
    debt_share_percent: int = 100,
    emergency_wh: int = 0,
) -> Quote:
    """Split a payment: old debt by its share, the rest into energy at the price, floored to Wh, the remainder kept.

    50 000.00 yuan, 1 200.00 owed, 0.8130 yuan/kWh: 1 200.00 pays the debt; 48 800.00 yuan buy
    4 880 000 x 10^9 / 81 300 000 = 60 024 600.2… → 60 024 600 Wh; 20 000 000 nano-fen (0.02 fen) are kept for the
    next purchase. With an agreed share of 30 % and 100 000.00 owed, 15 000.00 of the 50 000.00 pay debt. Energy that
    was lent in an emergency is given back first: of 60 024 600 Wh with 5 000 000 Wh lent, 55 024 600 Wh are granted.

    Raises:
        AmountNotSellable: the amount is not above zero, or above the largest purchase.
    """
    if not 0 < paid_fen <= LARGEST_PURCHASE_FEN:
        raise AmountNotSellable(paid_fen=paid_fen)
    debt_paid_fen = min(paid_fen * debt_share_percent // 100, debt_fen)
    spendable_nfen = (paid_fen - debt_paid_fen) * NANOFEN_PER_FEN + kept_nfen
    energy_wh, kept_after_nfen = divmod(spendable_nfen, price_nfen_per_wh(yuan_per_kwh))
    return Quote(
        paid_fen=paid_fen,
        debt_paid_fen=debt_paid_fen,
        kept_before_nfen=kept_nfen,
        energy_wh=energy_wh,
        emergency_repaid_wh=min(energy_wh, emergency_wh),
        kept_after_nfen=kept_after_nfen,
    )
