"""What money may come in as, and where it lies in the books."""

import pytest

from app.ledger.rules import AccountKind, Line
from app.shifts.rules import (
    Tender,
    TenderKind,
    TendersUnequal,
    TenderUnusable,
    TillLacksCash,
    check_cash,
    check_tenders,
    money_lines,
    receipt_no,
)


def test_tenders_that_make_the_amount_pass() -> None:
    tenders = [
        Tender(kind=TenderKind.CASH, amount_fen=30_000),
        Tender(kind=TenderKind.CARD, amount_fen=20_000, reference="4711"),
    ]
    check_tenders(tenders, amount_fen=50_000)


def test_tenders_that_make_another_amount_are_refused() -> None:
    with pytest.raises(TendersUnequal) as refused:
        check_tenders([Tender(kind=TenderKind.CASH, amount_fen=1)], amount_fen=2)
    assert (refused.value.facts["tendered_fen"], refused.value.facts["amount_fen"]) == (1, 2)


@pytest.mark.parametrize(
    "tender",
    [
        Tender(kind=TenderKind.CHEQUE, amount_fen=1, reference="7"),
        Tender(kind=TenderKind.CASH, amount_fen=0),
        Tender(kind=TenderKind.CASH, amount_fen=-1),
        Tender(kind=TenderKind.TRANSFER, amount_fen=1, reference="  "),
        Tender(kind=TenderKind.ONLINE, amount_fen=1),
    ],
)
def test_what_cannot_be_found_again_or_is_no_money_yet_is_refused(tender: Tender) -> None:
    with pytest.raises(TenderUnusable) as refused:
        check_tenders([tender], amount_fen=tender.amount_fen)
    assert refused.value.remedy


def test_cash_lies_in_the_till_and_all_else_at_the_bank() -> None:
    tenders = [
        Tender(kind=TenderKind.CASH, amount_fen=100),
        Tender(kind=TenderKind.CARD, amount_fen=20, reference="1"),
        Tender(kind=TenderKind.ONLINE, amount_fen=3, reference="2"),
    ]
    assert money_lines(tenders) == (
        Line(kind=AccountKind.TILL, amount=100),
        Line(kind=AccountKind.BANK, amount=23),
    )
    assert money_lines(tenders[:1]) == (Line(kind=AccountKind.TILL, amount=100),)


def test_a_receipt_is_numbered_within_its_till() -> None:
    assert receipt_no("PD-1", 12) == "PD-1-0000012"


def test_cash_goes_out_up_to_what_the_till_holds() -> None:
    paid = [Tender(kind=TenderKind.CASH, amount_fen=-30_000)]
    check_cash(paid, held_fen=30_000)
    check_cash([Tender(kind=TenderKind.TRANSFER, amount_fen=-30_000)], held_fen=0)
    check_cash([Tender(kind=TenderKind.CASH, amount_fen=1)], held_fen=-5)
    with pytest.raises(TillLacksCash) as refused:
        check_cash(paid, held_fen=29_999)
    assert refused.value.facts["wanted_fen"] == 30_000
    assert refused.value.remedy.endswith("open one with more float, or pay by transfer.")


def test_a_reversal_is_not_told_to_go_by_transfer() -> None:
    with pytest.raises(TillLacksCash) as refused:
        check_cash([Tender(kind=TenderKind.CASH, amount_fen=-1)], held_fen=0, as_it_came=True)
    assert refused.value.remedy.endswith("or withdraw the reversal and ask for a refund, which may go by transfer.")
