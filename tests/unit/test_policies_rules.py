"""What a version of the trip policy must be, and which notice periods hold under it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.customers.rules import NoticePeriods
from app.errors import DomainError
from app.policies.rules import (
    ApprovedByProposer,
    BeginsInThePast,
    NewPolicy,
    PeriodOutOfRange,
    Policy,
    TripsWithoutLimits,
    check_policy,
    periods_that_hold,
)

NOW = datetime(2026, 3, 9, 8, 0, tzinfo=UTC)
NEW = NewPolicy(
    office=None, jurisdiction="上海 Shanghai", source="article 30", automatic_limits=True, automatic_trips=True
)
DAY_S = 86_400


def test_the_usual_periods_are_three_days_and_half_an_hour() -> None:
    assert (NEW.written_notice_s, NEW.second_notice_s) == (3 * DAY_S, 1_800)


@pytest.mark.parametrize(
    "fits",
    [
        {},
        {"written_notice_s": 30 * DAY_S},
        {"second_notice_s": DAY_S},
        {"automatic_trips": False},
        {"automatic_limits": False, "automatic_trips": False},
        {"valid_from": NOW},
        {"valid_from": NOW + timedelta(days=400)},
    ],
)
def test_a_version_that_can_be_meant_passes(fits: dict[str, Any]) -> None:
    new = replace(NEW, **fits)
    check_policy(new, now=NOW)
    assert new.valid_from is None or new.valid_from >= NOW


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"written_notice_s": 3 * DAY_S - 1}, PeriodOutOfRange),
        ({"written_notice_s": 30 * DAY_S + 1}, PeriodOutOfRange),
        ({"written_notice_s": 0}, PeriodOutOfRange),
        ({"second_notice_s": 1_799}, PeriodOutOfRange),
        ({"second_notice_s": DAY_S + 1}, PeriodOutOfRange),
        ({"second_notice_s": -1}, PeriodOutOfRange),
        ({"automatic_limits": False}, TripsWithoutLimits),
        ({"valid_from": NOW - timedelta(microseconds=1)}, BeginsInThePast),
    ],
)
def test_a_version_that_cannot_be_meant_is_refused(wrong: dict[str, Any], refusal: type[DomainError]) -> None:
    with pytest.raises(refusal) as caught:
        check_policy(replace(NEW, **wrong), now=NOW)
    assert caught.value.remedy


def test_a_refused_period_names_what_would_be_right() -> None:
    with pytest.raises(PeriodOutOfRange) as caught:
        check_policy(replace(NEW, written_notice_s=172_800), now=NOW)
    assert caught.value.remedy.startswith("Choose written_notice_s from 259200 to 2592000")
    assert caught.value.facts == {
        "notice": "written",
        "period_s": 172_800,
        "shortest_s": 259_200,
        "longest_s": 2_592_000,
    }


def test_who_proposes_is_told_to_ask_another() -> None:
    assert ApprovedByProposer().remedy == "Ask another approver."


@pytest.mark.parametrize(
    ("agreed", "asked", "holds"),
    [
        ((432_000, 900), (259_200, 1_800), (432_000, 1_800)),
        ((0, 7_200), (259_200, 1_800), (259_200, 7_200)),
        ((259_200, 1_800), (259_200, 1_800), (259_200, 1_800)),
    ],
)
def test_the_longer_of_contract_and_policy_holds(
    agreed: tuple[int, int], asked: tuple[int, int], holds: tuple[int, int]
) -> None:
    policy = Policy(
        version=1, automatic_limits=True, automatic_trips=True, written_notice_s=asked[0], second_notice_s=asked[1]
    )
    found = periods_that_hold(NoticePeriods(written_s=agreed[0], second_s=agreed[1]), policy)
    assert (found.written_s, found.second_s) == holds


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_without_a_policy_the_contract_holds(written_s: int, second_s: int) -> None:
    agreed = NoticePeriods(written_s=written_s, second_s=second_s)
    assert periods_that_hold(agreed, None) == agreed
