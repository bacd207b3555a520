"""A posting is whole or it is a bug."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.rules import CHART, CREDIT, DEBIT, AccountKind, Book, Line, Overdrawn, Posting, check

MONEY = [kind for kind, chart in CHART.items() if chart.book is Book.MONEY]
ENERGY = [kind for kind, chart in CHART.items() if chart.book is Book.ENERGY]
LARGEST = 2**63 - 1


def a_posting(*lines: tuple[AccountKind, int]) -> Posting:
    return Posting(
        kind="prepayment",
        business_key="purchase:1",
        lines=tuple(Line(kind=kind, amount=amount) for kind, amount in lines),
    )


def test_a_payment_in_advance_is_whole() -> None:
    paid = a_posting((AccountKind.TILL, 5_000_000), (AccountKind.DEPOSIT, -5_000_000))
    check(paid)
    assert paid.book is Book.MONEY
    assert paid.reverses_id is None


def test_energy_is_posted_in_its_own_book() -> None:
    sold = a_posting((AccountKind.ENERGY_SOLD, 60_024_600), (AccountKind.ALLOWANCE, -60_024_600))
    check(sold)
    assert sold.book is Book.ENERGY


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "two lines or more"),
        ([(AccountKind.TILL, 0)], "two lines or more"),
        ([(AccountKind.TILL, 1)], "two lines or more"),
        ([(AccountKind.TILL, 1), (AccountKind.DEPOSIT, -1), (AccountKind.REVENUE, 0)], "a line of zero"),
        ([(AccountKind.TILL, 1), (AccountKind.ALLOWANCE, -1)], "separate books"),
        ([(AccountKind.TILL, 2), (AccountKind.DEPOSIT, -1)], "sum to 1, not 0"),
        ([(AccountKind.TILL, 1), (AccountKind.DEPOSIT, 1)], "sum to 2, not 0"),
    ],
)
def test_a_posting_that_is_not_whole_is_a_bug(lines: list[tuple[AccountKind, int]], why: str) -> None:
    with pytest.raises(ValueError, match=f"^purchase:1: .*{why}"):
        check(a_posting(*lines))


@pytest.mark.parametrize("book", [MONEY, ENERGY], ids=["money", "energy"])
@given(data=st.data())
def test_lines_of_one_book_are_whole_exactly_when_they_sum_to_zero(
    book: list[AccountKind], data: st.DataObject
) -> None:
    amounts = st.integers(-LARGEST, LARGEST).filter(bool)
    lines = data.draw(st.lists(st.tuples(st.sampled_from(book), amounts), min_size=1, max_size=5))
    missing = -sum(amount for _, amount in lines)
    if missing:
        with pytest.raises(ValueError, match="two lines" if len(lines) == 1 else "not 0"):
            check(a_posting(*lines))
        check(a_posting(*lines, (book[0], missing)))
    else:
        check(a_posting(*lines))


def test_every_account_has_its_place_in_the_chart() -> None:
    assert set(CHART) == set(AccountKind)
    assert {chart.normal_side for chart in CHART.values()} == {DEBIT, CREDIT}
    assert DEBIT == -CREDIT


def test_customers_never_owe_on_a_deposit_and_overdraw_energy_only() -> None:
    floors = {kind: chart.floor for kind, chart in CHART.items() if chart.of_customer}
    assert floors == {
        AccountKind.DEPOSIT: 0,
        AccountKind.RECEIVABLE: 0,
        AccountKind.ALLOWANCE: None,
        AccountKind.EMERGENCY: 0,
    }


@pytest.mark.parametrize(
    ("kind", "side"),
    [
        (AccountKind.TILL, DEBIT),
        (AccountKind.RECEIVABLE, DEBIT),
        (AccountKind.DEPOSIT, CREDIT),
        (AccountKind.REVENUE, CREDIT),
        (AccountKind.ALLOWANCE, CREDIT),
        (AccountKind.ENERGY_SOLD, DEBIT),
        (AccountKind.ENERGY_SUPPLIED, CREDIT),
    ],
)
def test_every_account_grows_on_its_own_side(kind: AccountKind, side: int) -> None:
    assert CHART[kind].normal_side == side


def test_an_overdrawn_account_is_named() -> None:
    refusal = Overdrawn(account="deposit")
    assert refusal.detail == "The entry would take account deposit below its floor."
    assert refusal.facts == {"account": "deposit"}
