"""Which readings an exchange can have, by example."""

from datetime import timedelta

import pytest

from app.exchanges.rules import FinalReadingTooHigh, FinalReadingTooLow, check_final_reading, rebase

HOUR = timedelta(hours=1)


def check(old_final_wh: int, *, silent_for: timedelta = HOUR) -> None:
    check_final_reading(
        old_final_wh,
        reported_wh=1_000_000,
        capacity_kva=1000,
        silent_for=silent_for,
        report_valid_for=timedelta(minutes=30),
    )


def test_a_reading_between_the_report_and_what_the_site_can_draw_is_taken() -> None:
    check(1_000_000)
    check(4_000_000)


def test_a_counter_does_not_run_back() -> None:
    with pytest.raises(FinalReadingTooLow, match="999,999"):
        check(999_999)


def test_a_digit_too_many_is_refused_with_what_could_be() -> None:
    with pytest.raises(FinalReadingTooHigh) as refused:
        check(4_000_001)
    assert refused.value.facts["most_wh"] == 4_000_000


def test_a_report_from_the_future_gives_no_room_below_that_of_a_fresh_one() -> None:
    check(2_000_000, silent_for=-HOUR)
    with pytest.raises(FinalReadingTooHigh):
        check(2_000_001, silent_for=-HOUR)


@pytest.mark.parametrize("new_start_wh", [0, 500, 12_000_000, 90_000_000])
def test_what_remains_is_the_same_in_both_counters(new_start_wh: int) -> None:
    moved = rebase(
        opening_supplied_wh=1_000,
        posted_supplied_wh=12_000_000,
        paid_until_wh=20_000_000,
        old_final_wh=12_000_000,
        new_start_wh=new_start_wh,
    )
    assert (moved.posted_supplied_wh, moved.paid_until_wh - new_start_wh) == (new_start_wh, 8_000_000)
    assert moved.paid_until_wh - moved.opening_supplied_wh == 20_000_000 - 1_000
