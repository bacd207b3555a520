"""Money, energy, power and prices: integers with a unit, Decimal for prices, and the named roundings."""

from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

FEN_PER_YUAN = 100
WH_PER_KWH = 1000
NANOFEN_PER_FEN = 1_000_000_000
SECONDS_PER_HOUR = 3600

#: The largest integer that a database column (BIGINT) can hold.
MAX_BIGINT = 2**63 - 1

_CAREFUL = Context(prec=38, traps=[DivisionByZero, InvalidOperation, Overflow])
_EXACT = Context(prec=38, traps=[DivisionByZero, Inexact, InvalidOperation, Overflow])


def yuan_to_fen(amount_yuan: Decimal) -> int:
    """Turn yuan with at most two decimals into fen.

    ``Decimal("50000.10")`` → ``5_000_010``.

    Raises:
        ValueError: the amount has a fraction of a fen or is not finite.
    """
    if not amount_yuan.is_finite():
        raise ValueError("the amount must be a number")
    return _whole(amount_yuan, 2, refusal="the amount must have at most two decimals (yuan and fen)")


def fen_to_yuan(amount_fen: int) -> Decimal:
    """Write fen as yuan with two decimals: ``5_000_010`` → ``Decimal("50000.10")``."""
    return Decimal(amount_fen).scaleb(-2)


def nanofen_to_fen(amount_nfen: int) -> Decimal:
    """Write nano-fen as fen, exactly: ``40_000_000`` → ``Decimal("0.04")``."""
    return Decimal(amount_nfen).scaleb(-9)


def price_nfen_per_wh(price_yuan_per_kwh: Decimal) -> int:
    """Write a price as whole nano-fen per watt-hour, exactly: 0.8130 yuan/kWh → 81_300_000.

    One yuan/kWh is 100 fen / 1000 Wh = 0.1 fen/Wh = 100_000_000 nano-fen/Wh, so a price of eight decimals
    is still a whole number.

    Raises:
        ValueError: the price has more than eight decimals or is not finite.
    """
    if not price_yuan_per_kwh.is_finite():
        raise ValueError("the price must be a number")
    return _whole(price_yuan_per_kwh, 8, refusal="a price has at most eight decimals")


def _whole(number: Decimal, decimals: int, *, refusal: str) -> int:
    """Shift the point so many places to the right; what is left behind it, however little, is refused."""
    try:
        return int(_EXACT.to_integral_exact(_EXACT.scaleb(number, decimals)))
    except Inexact:
        raise ValueError(refusal) from None


def half_up_to_fen(amount_fen: Decimal) -> int:
    """Round a bill line to whole fen, half away from zero: 373496.5 → 373497."""
    return int(amount_fen.quantize(Decimal(1), rounding=ROUND_HALF_UP, context=_CAREFUL))


def floor_to_wh(energy_wh: Decimal) -> int:
    """Round energy down to whole watt-hours: 7012.7 → 7012."""
    return int(energy_wh.to_integral_value(rounding=ROUND_FLOOR))
