"""Money, energy and prices change their unit without losing anything."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.quantities import (
    MAX_BIGINT,
    fen_to_yuan,
    floor_to_wh,
    half_up_to_fen,
    nanofen_to_fen,
    price_nfen_per_wh,
    yuan_to_fen,
)

AMOUNTS_FEN = st.integers(-MAX_BIGINT, MAX_BIGINT)
DECIMALS = st.decimals(min_value=-(10**15), max_value=10**15, places=6)


@pytest.mark.parametrize(
    ("yuan", "fen"),
    [("50000.10", 5_000_010), ("0.01", 1), ("0", 0), ("-0.01", -1), ("5e4", 5_000_000), ("1.500", 150)],
)
def test_yuan_become_fen(yuan: str, fen: int) -> None:
    assert yuan_to_fen(Decimal(yuan)) == fen


@pytest.mark.parametrize("yuan", ["0.001", "50000.105", "1e-3", "0.010000000001"])
def test_a_fraction_of_a_fen_is_refused(yuan: str) -> None:
    with pytest.raises(ValueError, match="at most two decimals"):
        yuan_to_fen(Decimal(yuan))


def test_a_fraction_of_a_fen_is_refused_however_small_it_is() -> None:
    with pytest.raises(ValueError, match="at most two decimals"):
        yuan_to_fen(Decimal("50000.10" + "0" * 40 + "1"))


@pytest.mark.parametrize("yuan", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_amount(yuan: str) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        yuan_to_fen(Decimal(yuan))


def test_fen_are_written_as_yuan_with_two_decimals() -> None:
    assert str(fen_to_yuan(5_000_010)) == "50000.10"
    assert str(fen_to_yuan(-1)) == "-0.01"


@given(AMOUNTS_FEN)
def test_every_amount_of_fen_comes_back_from_yuan(fen: int) -> None:
    assert yuan_to_fen(fen_to_yuan(fen)) == fen


def test_nano_fen_are_written_as_fen() -> None:
    assert nanofen_to_fen(40_000_000) == Decimal("0.04")


@given(AMOUNTS_FEN)
def test_nano_fen_are_written_exactly(nfen: int) -> None:
    assert Fraction(nanofen_to_fen(nfen)) * 10**9 == nfen


@pytest.mark.parametrize(
    ("yuan_per_kwh", "nfen"),
    [("0.8130", 81_300_000), ("1", 100_000_000), ("0.00196875", 196_875), ("0.00000001", 1), ("0", 0)],
)
def test_a_price_is_a_whole_number_of_nano_fen(yuan_per_kwh: str, nfen: int) -> None:
    assert price_nfen_per_wh(Decimal(yuan_per_kwh)) == nfen


@pytest.mark.parametrize("yuan_per_kwh", ["0.000000001", "0.813000005", "0.8130" + "0" * 40 + "1"])
def test_a_price_of_more_than_eight_decimals_is_refused(yuan_per_kwh: str) -> None:
    with pytest.raises(ValueError, match="at most eight decimals"):
        price_nfen_per_wh(Decimal(yuan_per_kwh))


@pytest.mark.parametrize("yuan_per_kwh", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_price(yuan_per_kwh: str) -> None:
    with pytest.raises(ValueError, match="price"):
        price_nfen_per_wh(Decimal(yuan_per_kwh))


@given(st.decimals(min_value=0, max_value=10**6, places=8))
def test_a_price_per_wh_is_the_price_per_kwh_exactly(yuan_per_kwh: Decimal) -> None:
    yuan_per_wh = Fraction(price_nfen_per_wh(yuan_per_kwh), 100 * 10**9)
    assert yuan_per_wh * 1000 == Fraction(yuan_per_kwh)


@pytest.mark.parametrize(
    ("exact", "fen"),
    [("373496.5", 373497), ("373496.4999", 373496), ("-0.5", -1), ("-0.4999", 0), ("0", 0), ("1.5", 2), ("2.5", 3)],
)
def test_a_bill_line_is_rounded_half_away_from_zero(exact: str, fen: int) -> None:
    assert half_up_to_fen(Decimal(exact)) == fen


@given(DECIMALS)
def test_rounding_a_bill_line_moves_it_by_half_a_fen_at_most_and_alike_on_both_sides(exact: Decimal) -> None:
    assert abs(Fraction(half_up_to_fen(exact)) - Fraction(exact)) <= Fraction(1, 2)
    assert half_up_to_fen(-exact) == -half_up_to_fen(exact)


@pytest.mark.parametrize(("exact", "wh"), [("7012.7", 7012), ("7012", 7012), ("-0.1", -1), ("0.999", 0)])
def test_energy_is_rounded_down(exact: str, wh: int) -> None:
    assert floor_to_wh(Decimal(exact)) == wh


@given(DECIMALS)
def test_rounding_energy_never_gives_any_away(exact: Decimal) -> None:
    assert 0 <= Fraction(exact) - floor_to_wh(exact) < 1
