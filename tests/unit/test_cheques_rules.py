"""What a cheque is before, while and after it clears."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cheques.rules import (
    ChequeUnusable,
    check_date,
    day_at,
    days_in_clearing,
    ended_lines,
    taken_lines,
)
from app.ledger.rules import Posting, check
from app.shifts.rules import Tender, TenderKind, TenderUnusable, check_tenders

TODAY = date(2026, 3, 11)


@pytest.mark.parametrize("back", [0, 1, 10])
def test_a_cheque_of_the_last_ten_days_is_taken(back: int) -> None:
    check_date(TODAY - timedelta(days=back), today=TODAY)


@pytest.mark.parametrize("back", [-1, 11])
def test_a_cheque_dated_ahead_or_long_ago_is_refused(back: int) -> None:
    with pytest.raises(ChequeUnusable) as refused:
        check_date(TODAY - timedelta(days=back), today=TODAY)
    assert refused.value.facts["drawn_on"] == (TODAY - timedelta(days=back)).isoformat()


def test_the_day_is_that_of_the_office() -> None:
    assert day_at(datetime(2026, 3, 1, 20, tzinfo=UTC), ZoneInfo("Asia/Shanghai")) == date(2026, 3, 2)


def test_days_in_clearing_are_whole_days() -> None:
    taken_at = datetime(2026, 3, 1, tzinfo=UTC)
    assert days_in_clearing(taken_at, until=taken_at + timedelta(hours=49)) == 2


@given(st.integers(1, 10**12))
def test_the_end_takes_out_what_the_start_put_in(amount_fen: int) -> None:
    taken, ended = taken_lines(amount_fen), ended_lines(amount_fen)
    check(Posting(kind="cheque", business_key="k", lines=taken))
    assert {line.kind: -line.amount for line in taken} == {line.kind: line.amount for line in ended}


def test_a_cheque_pays_only_once_it_has_cleared() -> None:
    cheque = (Tender(kind=TenderKind.CHEQUE, amount_fen=500, reference="30109810"),)
    check_tenders(cheque, amount_fen=500, cheque_cleared=True)
    with pytest.raises(TenderUnusable):
        check_tenders(cheque, amount_fen=500)
