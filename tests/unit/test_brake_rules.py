"""How much an hour may bring before a person must look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.brake.rules import LetThrough, Limit, Scope, exceeded, first_exceeded

LIMIT = Limit(scope=Scope.FEEDER, cuts=5, power_w=5_000_000)


def through(cuts: int, power_w: int, *, scope: Scope = Scope.FEEDER) -> LetThrough:
    return LetThrough(scope=scope, place="", cuts=cuts, power_w=power_w)


@pytest.mark.parametrize(
    ("cuts", "power_w", "more_w", "too_many"),
    [
        (0, 0, 30_000_000, False),  # the first passes, whatever its power
        (1, 2_000_000, 3_000_000, False),
        (1, 2_000_001, 3_000_000, True),
        (4, 0, 0, False),
        (5, 0, 0, True),
    ],
)
def test_one_more_is_too_many_by_count_or_by_power(cuts: int, power_w: int, more_w: int, *, too_many: bool) -> None:
    assert exceeded(through(cuts, power_w), LIMIT, power_w=more_w) is too_many


@given(st.lists(st.integers(0, 10**7), max_size=40), st.integers(1, 10), st.integers(1, 10**7))
def test_no_hour_brings_more_than_its_limit_but_for_a_single_large_cut(
    asked_w: list[int], cuts: int, power_w: int
) -> None:
    limit = Limit(scope=Scope.ALL, cuts=cuts, power_w=power_w)
    let: list[int] = []
    for more_w in asked_w:
        if not exceeded(through(len(let), sum(let)), limit, power_w=more_w):
            let.append(more_w)
    assert len(let) <= cuts
    assert sum(let) <= max(power_w, let[0] if let else 0)


def test_the_narrowest_place_is_named() -> None:
    limits = [Limit(scope=scope, cuts=2, power_w=10) for scope in Scope]
    full = [through(2, 0, scope=scope) for scope in Scope]
    found = first_exceeded(full, limits, power_w=0)
    assert found is not None
    assert (found[0].scope, found[1].scope) == (Scope.FEEDER, Scope.FEEDER)
    found = first_exceeded([*full[:2], through(0, 0), through(0, 0, scope=Scope.OPERATOR)], limits, power_w=0)
    assert found is not None
    assert found[0].scope is Scope.OFFICE
    assert first_exceeded([through(1, 5, scope=scope) for scope in Scope], limits, power_w=5) is None
