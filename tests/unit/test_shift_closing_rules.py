"""What must be in a till, and what becomes of the difference."""

import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.rules import AccountKind, Posting, check
from app.shift_closing.rules import (
    Compared,
    Count,
    CountUnequal,
    Flow,
    NotCounted,
    NotToBeCounted,
    OwnShift,
    ReasonNeeded,
    check_countable,
    check_counted,
    check_denominations,
    check_reason,
    check_supervisor,
    closing_lines,
    compare,
    expected,
    seal_of,
)
from app.shifts.rules import ReceiptKind, ShiftState, TenderKind

CASHIER, SUPERVISOR = UUID(int=1), UUID(int=2)


def a_flow(kind: ReceiptKind, tender: TenderKind, *, in_fen: int = 0, out_fen: int = 0) -> Flow:
    return Flow(kind=kind, tender=tender, number=1, in_fen=in_fen, out_fen=out_fen)


def cash(*, expected_fen: int, counted_fen: int) -> Compared:
    return Compared(tender=TenderKind.CASH, expected_fen=expected_fen, counted_fen=counted_fen)


def test_cash_is_expected_with_its_float_and_less_what_went_out() -> None:
    flows = [
        a_flow(ReceiptKind.PURCHASE, TenderKind.CASH, in_fen=30_000),
        a_flow(ReceiptKind.PURCHASE, TenderKind.CARD, in_fen=20_000),
        a_flow(ReceiptKind.REFUND, TenderKind.CASH, out_fen=5_000),
    ]
    sums = expected(50_000, flows)
    assert (sums[TenderKind.CASH], sums[TenderKind.CARD], sums[TenderKind.ONLINE]) == (75_000, 20_000, 0)


def test_a_cheque_is_a_slip_only_where_it_was_taken_in() -> None:
    flows = [
        a_flow(ReceiptKind.CHEQUE, TenderKind.CHEQUE, in_fen=70_000),
        a_flow(ReceiptKind.PURCHASE, TenderKind.CHEQUE, in_fen=40_000),
        a_flow(ReceiptKind.CHEQUE_RETURNED, TenderKind.CHEQUE, out_fen=30_000),
    ]
    assert expected(0, flows)[TenderKind.CHEQUE] == 70_000


def test_what_was_not_told_counts_as_none() -> None:
    sums = expected(0, [a_flow(ReceiptKind.PURCHASE, TenderKind.CARD, in_fen=20_000)])
    compared = compare(sums, Count(cash_fen=0, slips_fen={}))
    assert {each.tender: each.difference_fen for each in compared if each.difference_fen} == {
        TenderKind.CARD: -20_000
    }
    assert compared[0].tender is TenderKind.CASH


def test_a_difference_in_cash_or_in_slips_needs_a_reason() -> None:
    short = (cash(expected_fen=75_000, counted_fen=74_950),)
    with pytest.raises(ReasonNeeded) as refused:
        check_reason(short, None)
    assert refused.value.facts["differences_fen"] == {"cash": -50}
    assert "cash -50 fen" in refused.value.detail
    check_reason(short, "a torn note")
    check_reason((cash(expected_fen=5, counted_fen=5),), None)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12))
def test_closing_empties_the_till_into_the_safe_and_books_the_difference(expected_fen: int, counted_fen: int) -> None:
    lines = closing_lines(cash(expected_fen=expected_fen, counted_fen=counted_fen))
    amounts = {line.kind: line.amount for line in lines}
    assert amounts.get(AccountKind.TILL, 0) == -expected_fen
    assert amounts.get(AccountKind.SAFE, 0) == counted_fen
    assert amounts.get(AccountKind.OVER_SHORT, 0) == expected_fen - counted_fen
    if lines:
        check(Posting(kind="close", business_key="k", lines=lines))
    else:
        assert (expected_fen, counted_fen) == (0, 0)


def test_notes_and_coins_must_make_the_sum() -> None:
    check_denominations({10_000: 3, 50: 2}, cash_fen=30_100)
    with pytest.raises(CountUnequal) as refused:
        check_denominations({10_000: 3, 50: 2}, cash_fen=30_000)
    assert refused.value.facts["told_fen"] == 30_100


def test_nobody_supervises_their_own_shift() -> None:
    check_supervisor(SUPERVISOR, cashier_id=CASHIER)
    with pytest.raises(OwnShift):
        check_supervisor(CASHIER, cashier_id=CASHIER)


@pytest.mark.parametrize("state", ShiftState)
def test_a_shift_is_counted_when_open_or_sent_back_and_judged_when_counted(state: ShiftState) -> None:
    if state in (ShiftState.OPEN, ShiftState.RECOUNT):
        check_countable(state)
    else:
        with pytest.raises(NotToBeCounted):
            check_countable(state)
    if state is ShiftState.COUNTED:
        check_counted(state)
    else:
        with pytest.raises(NotCounted):
            check_counted(state)


def test_the_seal_is_the_sha256_of_the_text() -> None:
    assert seal_of('{"a":"收"}') == hashlib.sha256('{"a":"收"}'.encode()).digest()
