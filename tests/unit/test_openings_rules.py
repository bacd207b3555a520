"""What an opening balance grants and posts."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.customers.rules import ContractClosed, ContractClosing
from app.ledger.rules import AccountKind, Posting, check
from app.openings.rules import (
    GrantedBefore,
    Ground,
    NoTerminalToOpen,
    NothingToOpen,
    OpenedBefore,
    Opening,
    PaidForNoEnergy,
    PurchasedBefore,
    ReadingBelowPaid,
    granted_wh,
    money_lines,
)

AT = datetime(2026, 3, 1, tzinfo=UTC)
OPENING = Opening(
    contract_no="HT-1", reading_wh=1_200_000, remaining_wh=5_000_000, energy_paid_fen=400_000, debt_fen=120_000,
    kept_fen=1200,
)  # fmt: skip
GROUND = Ground(
    contract_id=UUID(int=1), contract_no="HT-1", closed_at=None, supply_point_id=UUID(int=2), paid_until_wh=1_000_000,
    terminal_id="SH-0001", alarm_wh=0, trip_wh=0, purchased=False, granted=False,
    opened_at=None,
)  # fmt: skip


def test_paid_until_is_the_reading_plus_what_is_left() -> None:
    assert granted_wh(OPENING, GROUND) == 5_200_000


def test_what_was_used_before_is_granted_even_with_nothing_left() -> None:
    nothing = replace(OPENING, remaining_wh=0, energy_paid_fen=0)
    assert granted_wh(nothing, replace(GROUND, terminal_id=None)) == 200_000


@pytest.mark.parametrize(
    ("opening", "ground", "refusal"),
    [
        ({}, {"closed_at": AT}, ContractClosed),
        ({}, {"closing_since": AT}, ContractClosing),
        ({}, {"opened_at": AT}, OpenedBefore),
        ({}, {"purchased": True}, PurchasedBefore),
        ({}, {"granted": True}, GrantedBefore),
        ({"remaining_wh": 0}, {}, PaidForNoEnergy),
        ({"reading_wh": 999_999}, {}, ReadingBelowPaid),
        ({}, {"terminal_id": None}, NoTerminalToOpen),
        (
            {"reading_wh": 1_000_000, "remaining_wh": 0, "energy_paid_fen": 0, "debt_fen": 0, "kept_fen": 0},
            {},
            NothingToOpen,
        ),
    ],
)
def test_an_opening_that_cannot_be_is_refused(
    opening: dict[str, Any], ground: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        granted_wh(replace(OPENING, **opening), replace(GROUND, **ground))


def test_money_kept_waits_as_nano_fen() -> None:
    assert OPENING.kept_nfen == 1_200_000_000_000


def test_money_is_posted_in_double_entry() -> None:
    lines = money_lines(OPENING)
    assert {line.kind: line.amount for line in lines} == {
        AccountKind.DEPOSIT: -401_200, AccountKind.RECEIVABLE: 120_000, AccountKind.OPENING_MONEY: 281_200,
    }  # fmt: skip
    check(Posting(kind="opening", business_key="opening", lines=lines))


def test_money_and_debt_that_are_equal_need_no_third_line() -> None:
    assert len(money_lines(replace(OPENING, energy_paid_fen=120_000, kept_fen=0))) == 2
    assert money_lines(replace(OPENING, energy_paid_fen=0, debt_fen=0, kept_fen=0)) == ()
