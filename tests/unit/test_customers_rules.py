"""What a contract promises: thresholds, a limit that limits, and refusals that name what would be right."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.customers.rules import (
    ContractClosed,
    LimitAboveCapacity,
    NoPriceInForce,
    NoticePeriods,
    PriceEndsBeforeItBegins,
    Threshold,
    capacity_w,
    check_limit,
)

AT = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)


def test_hours_of_supply_are_an_energy_at_the_recent_load() -> None:
    assert Threshold(supply_hours=72).level_wh(recent_load_w=458_333) == 32_999_976


@given(st.integers(-(2**40), 2**40))
def test_a_threshold_in_energy_stands_whatever_the_load(recent_load_w: int) -> None:
    assert Threshold(energy_wh=0).level_wh(recent_load_w=recent_load_w) == 0
    assert Threshold(energy_wh=-5_000).level_wh(recent_load_w=recent_load_w) == -5_000


@pytest.mark.parametrize("recent_load_w", [0, -1, -458_333])
def test_a_site_that_feeds_in_needs_no_hours_of_supply(recent_load_w: int) -> None:
    assert Threshold(supply_hours=72).level_wh(recent_load_w=recent_load_w) == 0


def test_zero_hours_of_supply_are_a_threshold_of_zero() -> None:
    assert Threshold(supply_hours=0).level_wh(recent_load_w=458_333) == 0


@pytest.mark.parametrize(("energy_wh", "supply_hours"), [(None, None), (1, 1), (0, 0)])
def test_a_threshold_is_either_an_energy_or_hours(energy_wh: int | None, supply_hours: int | None) -> None:
    with pytest.raises(ValueError, match="either an energy in Wh or hours"):
        Threshold(energy_wh=energy_wh, supply_hours=supply_hours)


def test_a_thousand_kva_are_a_million_watts() -> None:
    assert capacity_w(1_000) == 1_000_000


@pytest.mark.parametrize("limit_w", [0, 300_000, 1_000_000])
def test_a_limit_up_to_the_capacity_passes(limit_w: int) -> None:
    check_limit(limit_w=limit_w, capacity_kva=1_000)


@pytest.mark.parametrize("limit_w", [1_000_001, 1_200_000])
def test_a_limit_above_the_capacity_is_refused(limit_w: int) -> None:
    with pytest.raises(LimitAboveCapacity, match=f"{limit_w:,} W is above the capacity of 1,000 kVA") as refused:
        check_limit(limit_w=limit_w, capacity_kva=1_000)
    assert refused.value.remedy == "Choose a limit of at most 1,000,000 W."
    assert refused.value.facts == {"limit_w": limit_w, "capacity_kva": 1_000}


def test_a_closed_contract_says_since_when() -> None:
    refusal = ContractClosed(contract_no="C-1", closed_at=AT)
    assert refusal.detail == "Contract C-1 was closed at 2026-03-01 08:30 UTC, so nothing can be sold on it."
    assert refusal.facts == {"contract_no": "C-1"}


def test_a_missing_price_says_when_the_last_one_expired() -> None:
    never = NoPriceInForce(contract_no="C-1", at=AT, expired_at=None)
    assert never.detail == "Contract C-1 has no purchase price in force at 2026-03-01 08:30 UTC."
    expired = NoPriceInForce(contract_no="C-1", at=AT, expired_at=datetime(2026, 2, 28, 16, tzinfo=UTC))
    assert expired.detail == (
        "Contract C-1 has no purchase price in force at 2026-03-01 08:30 UTC; "
        "the last one expired at 2026-02-28 16:00 UTC."
    )


def test_a_price_that_is_never_in_force_says_why() -> None:
    refusal = PriceEndsBeforeItBegins(valid_from=AT, valid_until=AT)
    assert "2026-03-01T08:30:00+00:00 until 2026-03-01T08:30:00+00:00 is never in force" in refusal.detail
    assert refusal.facts == {"valid_from": AT.isoformat(), "valid_until": AT.isoformat()}


def test_a_cut_is_announced_three_days_and_again_half_an_hour_before_unless_the_contract_says_otherwise() -> None:
    assert NoticePeriods() == NoticePeriods(written_s=3 * 86_400, second_s=1_800)
