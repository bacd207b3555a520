"""Waves, turns by feeder, and when a campaign stops by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.campaigns.rules import Counts, by_feeder, list_digest, wave_numbers, wave_sizes, why_abort


@pytest.mark.parametrize(
    ("targets", "sizes"),
    [
        (0, []),
        (1, [1]),
        (11, [1, 10]),
        (12, [1, 10, 1]),
        (61, [1, 10, 50]),
        (200, [1, 10, 50, 100, 39]),
        (461, [1, 10, 50, 100, 200, 100]),
    ],
)
def test_waves_are_one_ten_fifty_and_then_double(targets: int, sizes: list[int]) -> None:
    assert wave_sizes(targets) == sizes


@given(st.integers(0, 20_000))
def test_every_target_has_one_wave_and_waves_never_go_back(targets: int) -> None:
    numbers = wave_numbers(targets)
    assert len(numbers) == targets
    assert numbers == sorted(numbers)
    assert sum(wave_sizes(targets)) == targets


def test_on_each_feeder_one_comes_after_the_other() -> None:
    assert by_feeder(["F1", "F1", "F2", "F1", "F2"]) == [0, 5, 0, 10, 5]


@pytest.mark.parametrize(
    ("counts", "stops"),
    [
        (Counts(), False),
        (Counts(refused=1), True),
        (Counts(refused=1, done=48), True),
        (Counts(refused=1, done=49), True),
        (Counts(refused=1, done=50), False),
        (Counts(unknown=1, under_way=19), True),
        (Counts(unknown=1, done=20), False),
        (Counts(called_back=1, done=19), True),
        (Counts(called_back=1, done=20, waiting=5, left_out=5), False),
    ],
)
def test_two_percent_refused_or_five_percent_unknown_are_too_many(counts: Counts, *, stops: bool) -> None:
    assert (why_abort(counts) is not None) is stops


def test_what_somebody_has_looked_at_stops_it_no_second_time() -> None:
    then = Counts(done=9, refused=1, unknown=1)
    looked_at = {**vars(then)}
    assert why_abort(then) is not None
    assert why_abort(then.since(looked_at)) is None
    assert why_abort(Counts(done=9, refused=2, unknown=1).since(looked_at)) is not None
    later = Counts(done=59, refused=2, unknown=1).since(looked_at)
    assert (later.ordered, why_abort(later)) == (51, None)
    assert then.since({}) == Counts(done=9, refused=1, unknown=1)


def test_another_order_of_the_same_targets_is_another_list() -> None:
    one, other = {"supply_point_id": "1"}, {"supply_point_id": "2"}
    assert list_digest([one, other]) != list_digest([other, one])
    assert list_digest([one]) == list_digest([dict(one)])
