"""A quote says where every fraction of the money goes; nothing is dropped, nothing is charged twice."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.purchases.rules import LARGEST_PURCHASE_FEN, AmountNotSellable, Quote, hours_of_supply, quote
from app.quantities import NANOFEN_PER_FEN, price_nfen_per_wh

AMOUNTS_FEN = st.integers(1, LARGEST_PURCHASE_FEN)
DEBTS_FEN = st.integers(0, 2 * LARGEST_PURCHASE_FEN) | st.just(0)
KEPT_NFEN = st.integers(0, 10**12)
PRICES = st.decimals(min_value=Decimal("0.00000001"), max_value=100, places=8)


def a_quote(
    paid_fen: int, *, debt_fen: int = 0, kept_nfen: int = 0, yuan_per_kwh: Decimal = Decimal("0.8130")
) -> Quote:
    return quote(paid_fen=paid_fen, debt_fen=debt_fen, kept_nfen=kept_nfen, yuan_per_kwh=yuan_per_kwh)


def test_old_debt_is_paid_first_and_the_rest_buys_energy() -> None:
    sold = a_quote(5_000_000, debt_fen=120_000)
    assert sold == Quote(
        paid_fen=5_000_000,
        debt_paid_fen=120_000,
        kept_before_nfen=0,
        energy_wh=60_024_600,
        emergency_repaid_wh=0,
        kept_after_nfen=20_000_000,
    )
    assert sold.deposited_fen == 4_880_000


@pytest.mark.parametrize(
    ("paid_fen", "debt_fen", "kept_nfen", "energy_wh", "kept_after_nfen"),
    [
        (1, 0, 0, 12, 24_400_000),  # 0.01 yuan buys 12.3 Wh
        (813, 0, 0, 10_000, 0),  # 8.13 yuan buy 10 kWh to the last fraction
        (100, 100, 0, 0, 0),  # all of it pays the debt
        (99, 100, 0, 0, 0),
        (101, 100, 0, 12, 24_400_000),
        (100, 100, 81_300_000, 1, 0),  # what was kept buys the next Wh
        (100, 100, 81_299_999, 0, 81_299_999),
    ],
)
def test_a_payment_is_split(
    paid_fen: int, debt_fen: int, kept_nfen: int, energy_wh: int, kept_after_nfen: int
) -> None:
    sold = a_quote(paid_fen, debt_fen=debt_fen, kept_nfen=kept_nfen)
    assert (sold.energy_wh, sold.kept_after_nfen) == (energy_wh, kept_after_nfen)
    assert sold.debt_paid_fen == min(paid_fen, debt_fen)


@pytest.mark.parametrize("paid_fen", [0, -1, LARGEST_PURCHASE_FEN + 1, 2**63])
def test_an_amount_that_is_no_purchase_is_refused(paid_fen: int) -> None:
    with pytest.raises(AmountNotSellable) as refused:
        a_quote(paid_fen)
    assert refused.value.facts == {"paid_fen": paid_fen}
    assert refused.value.remedy == "Take an amount from 0.01 yuan to 100,000,000 yuan."


@pytest.mark.parametrize("paid_fen", [1, LARGEST_PURCHASE_FEN])
def test_the_smallest_and_the_largest_purchase_are_sold(paid_fen: int) -> None:
    assert a_quote(paid_fen).paid_fen == paid_fen


@given(AMOUNTS_FEN, DEBTS_FEN, KEPT_NFEN, PRICES)
def test_money_is_conserved_exactly(paid_fen: int, debt_fen: int, kept_nfen: int, yuan_per_kwh: Decimal) -> None:
    sold = a_quote(paid_fen, debt_fen=debt_fen, kept_nfen=kept_nfen, yuan_per_kwh=yuan_per_kwh)
    price_nfen = price_nfen_per_wh(yuan_per_kwh)
    came_nfen = (sold.paid_fen - sold.debt_paid_fen) * NANOFEN_PER_FEN + sold.kept_before_nfen
    assert came_nfen == sold.energy_wh * price_nfen + sold.kept_after_nfen
    assert (sold.paid_fen, sold.kept_before_nfen) == (paid_fen, kept_nfen)
    assert 0 <= sold.kept_after_nfen < price_nfen


@given(AMOUNTS_FEN, DEBTS_FEN, KEPT_NFEN, PRICES)
def test_never_more_is_charged_than_was_paid(
    paid_fen: int, debt_fen: int, kept_nfen: int, yuan_per_kwh: Decimal
) -> None:
    sold = a_quote(paid_fen, debt_fen=debt_fen, kept_nfen=kept_nfen, yuan_per_kwh=yuan_per_kwh)
    assert 0 <= sold.debt_paid_fen <= min(paid_fen, debt_fen)
    assert 0 <= sold.deposited_fen <= paid_fen
    assert sold.energy_wh >= 0


@given(AMOUNTS_FEN, AMOUNTS_FEN, DEBTS_FEN, KEPT_NFEN, PRICES)
def test_more_money_never_buys_less(
    one_fen: int, other_fen: int, debt_fen: int, kept_nfen: int, yuan_per_kwh: Decimal
) -> None:
    less, more = (
        a_quote(paid_fen, debt_fen=debt_fen, kept_nfen=kept_nfen, yuan_per_kwh=yuan_per_kwh)
        for paid_fen in sorted((one_fen, other_fen))
    )
    assert less.energy_wh <= more.energy_wh
    assert less.debt_paid_fen <= more.debt_paid_fen


@given(st.integers(2, LARGEST_PURCHASE_FEN), st.data(), DEBTS_FEN, KEPT_NFEN, PRICES)
def test_two_payments_buy_what_one_of_their_sum_buys(
    paid_fen: int, data: st.DataObject, debt_fen: int, kept_nfen: int, yuan_per_kwh: Decimal
) -> None:
    first_fen = data.draw(st.integers(1, paid_fen - 1))
    whole = a_quote(paid_fen, debt_fen=debt_fen, kept_nfen=kept_nfen, yuan_per_kwh=yuan_per_kwh)
    first = a_quote(first_fen, debt_fen=debt_fen, kept_nfen=kept_nfen, yuan_per_kwh=yuan_per_kwh)
    second = a_quote(
        paid_fen - first_fen,
        debt_fen=debt_fen - first.debt_paid_fen,
        kept_nfen=first.kept_after_nfen,
        yuan_per_kwh=yuan_per_kwh,
    )
    assert first.energy_wh + second.energy_wh == whole.energy_wh
    assert first.debt_paid_fen + second.debt_paid_fen == whole.debt_paid_fen
    assert second.kept_after_nfen == whole.kept_after_nfen


@pytest.mark.parametrize(
    ("paid_fen", "debt_fen", "share", "debt_paid_fen"),
    [
        (5_000_000, 10_000_000, 30, 1_500_000),
        (5_000_000, 1_000_000, 30, 1_000_000),
        (1, 100, 30, 0),  # a share of less than a fen waits
        (5_000_000, 10_000_000, 100, 5_000_000),
    ],
)
def test_an_agreed_share_of_a_payment_pays_old_debt(
    paid_fen: int, debt_fen: int, share: int, debt_paid_fen: int
) -> None:
    sold = quote(
        paid_fen=paid_fen,
        debt_fen=debt_fen,
        kept_nfen=0,
        yuan_per_kwh=Decimal("0.8130"),
        debt_share_percent=share,
    )
    assert sold.debt_paid_fen == debt_paid_fen


@given(AMOUNTS_FEN, st.integers(0, 10**12))
def test_what_was_lent_is_given_back_first_and_never_more_than_was_bought(paid_fen: int, lent_wh: int) -> None:
    sold = quote(paid_fen=paid_fen, debt_fen=0, kept_nfen=0, yuan_per_kwh=Decimal("0.8130"), emergency_wh=lent_wh)
    assert sold.emergency_repaid_wh == min(lent_wh, sold.energy_wh)
    assert sold.granted_wh + sold.emergency_repaid_wh == sold.energy_wh


@pytest.mark.parametrize(
    ("left_wh", "load_w", "hours"),
    [(60_000_000, 480_000, 125), (0, 480_000, 0), (-5, 480_000, 0), (1, 0, None), (None, 480_000, None)],
)
def test_hours_of_supply(left_wh: int | None, load_w: int, hours: int | None) -> None:
    assert hours_of_supply(left_wh, load_w=load_w) == hours
