"""The clock runs fast on demand, and keeps contract time and machine time apart."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import Clock, monotonic_s, sleep

STARTED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SHOWN = datetime(2030, 1, 1, tzinfo=UTC)
FAST = Clock(factor=60, started_at=STARTED, shown_at=SHOWN)


def test_a_clock_of_factor_one_shows_the_machines_time() -> None:
    before = datetime.now(UTC)
    shown = Clock().now()
    assert before <= shown <= datetime.now(UTC)


def test_a_fast_clock_runs_from_the_moment_at_which_it_started() -> None:
    assert FAST.at(STARTED) == SHOWN
    assert FAST.at(STARTED + timedelta(seconds=10)) == SHOWN + timedelta(minutes=10)


def test_a_fast_clock_shows_now_by_the_same_measure() -> None:
    before = FAST.at(datetime.now(UTC))
    assert before <= FAST.now() <= FAST.at(datetime.now(UTC))


def test_ten_seconds_of_a_machine_at_factor_sixty_are_ten_minutes() -> None:
    assert FAST.lived(10) == timedelta(minutes=10)
    assert FAST.real_seconds(timedelta(minutes=10)) == 10


@pytest.mark.parametrize("factor", [1, 60, 100_000])
def test_what_a_machine_lives_is_how_far_its_clock_moves(factor: int) -> None:
    clock = Clock(factor=factor, started_at=STARTED, shown_at=SHOWN)
    assert clock.at(STARTED + timedelta(seconds=2.5)) - clock.at(STARTED) == clock.lived(2.5)


@given(st.integers(1, 100_000), st.integers(0, 10**6))
def test_waiting_and_living_are_each_others_inverse(factor: int, seconds: int) -> None:
    clock = Clock(factor=factor)
    assert clock.real_seconds(clock.lived(seconds)) == seconds


@given(st.integers(1, 100_000), st.integers(0, 10**5), st.integers(1, 10**5))
def test_no_clock_goes_back(factor: int, before_s: int, later_s: int) -> None:
    clock = Clock(factor=factor, started_at=STARTED, shown_at=SHOWN)
    before = STARTED + timedelta(seconds=before_s)
    assert clock.at(before) < clock.at(before + timedelta(seconds=later_s))


def test_the_counter_for_waiting_moves_on_by_what_was_slept() -> None:
    before_s = monotonic_s()
    sleep(0.01)
    assert 0.01 <= monotonic_s() - before_s < 5
