"""Energy is lent where it was agreed, is needed, and within its limit."""

import pytest

from app.emergency.rules import EmergencyCreditRefused, check_lending


@pytest.mark.parametrize("wanted_wh", [1, 3_000_000])
def test_within_the_limit_it_is_lent(wanted_wh: int) -> None:
    check_lending(wanted_wh=wanted_wh, limit_wh=5_000_000, lent_wh=2_000_000, remaining_wh=10, notice_wh=10)


@pytest.mark.parametrize(
    ("limit_wh", "lent_wh", "remaining_wh", "because", "most_wh"),
    [
        (0, 0, 0, "not_agreed", 0),
        (5, 0, 11, "not_needed", 5),
        (5, 0, None, "not_needed", 5),
        (5, 5, 0, "above_the_limit", 0),
        (5, 3, 0, "above_the_limit", 2),
        (5, 9, 0, "above_the_limit", 0),
    ],
)
def test_a_refusal_names_its_reason_and_what_could_be_lent(
    limit_wh: int, lent_wh: int, remaining_wh: int | None, because: str, most_wh: int
) -> None:
    with pytest.raises(EmergencyCreditRefused) as refused:
        check_lending(wanted_wh=3, limit_wh=limit_wh, lent_wh=lent_wh, remaining_wh=remaining_wh, notice_wh=10)
    assert (refused.value.facts["because"], refused.value.facts["most_wh"]) == (because, most_wh)
    assert refused.value.remedy
