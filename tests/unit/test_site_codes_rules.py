"""When a credit may leave as a site code, what the code gives back, and when it needs a new order."""

import pytest

from app.commands.rules import CommandState, Op
from app.errors import DomainError
from app.mqtt import site_codes
from app.site_codes.rules import (
    ENERGY_AHEAD_BELOW_WH,
    ORDERS_AHEAD_AT_MOST,
    CodeWouldLower,
    Credit,
    GivenBack,
    Holding,
    RoundStanding,
    TooFarAhead,
    check_carries,
    given_back,
    needs_new_order,
)

TOLD = Holding(order_no=300, paid_until_wh=5_000_000, may_hold_wh=5_000_000)
NOTHING, ROUNDS = GivenBack(rounds=False, limit=False), GivenBack(rounds=True, limit=False)
CLOSING = RoundStanding(told_tripped=True, op=Op.CLOSE, state=CommandState.WAITING)
UNTOUCHED = RoundStanding(told_tripped=False)
TRIPPED_BY_ITSELF = RoundStanding(told_tripped=True)
IN_DOUBT = RoundStanding(told_tripped=False, op=Op.TRIP, state=CommandState.UNKNOWN)
CALLED_BACK = RoundStanding(told_tripped=False, op=Op.TRIP, state=CommandState.CANCELLED)
CLOSE_REFUSED = RoundStanding(told_tripped=True, op=Op.CLOSE, state=CommandState.REFUSED)


def test_both_sides_complete_short_numbers_within_the_same_window() -> None:
    assert ORDERS_AHEAD_AT_MOST + 1 == site_codes.ORDERS_AHEAD_BELOW
    assert ENERGY_AHEAD_BELOW_WH == site_codes.ENERGY_AHEAD_BELOW_WH


@pytest.mark.parametrize(
    ("order_no", "more_wh"), [(301, 1_000_000), (301, 0), (427, 1), (301, ENERGY_AHEAD_BELOW_WH - 1)]
)
def test_a_code_reaches_as_far_as_the_terminal_can_tell(order_no: int, more_wh: int) -> None:
    check_carries(Credit(order_no=order_no, paid_until_wh=5_000_000 + more_wh), TOLD, terminal_id="T")


@pytest.mark.parametrize(
    ("order_no", "paid_until_wh", "refusal"),
    [
        (301, 4_999_999, CodeWouldLower),
        (428, 6_000_000, TooFarAhead),
        (300, 6_000_000, TooFarAhead),
        (301, 5_000_000 + ENERGY_AHEAD_BELOW_WH, TooFarAhead),
    ],
)
def test_what_a_code_cannot_bring_is_refused(order_no: int, paid_until_wh: int, refusal: type[DomainError]) -> None:
    with pytest.raises(refusal) as refused:
        check_carries(Credit(order_no=order_no, paid_until_wh=paid_until_wh), TOLD, terminal_id="T")
    assert refused.value.remedy


def test_less_than_what_may_have_arrived_is_no_gift() -> None:
    holding = Holding(order_no=300, paid_until_wh=5_000_000, may_hold_wh=9_000_000)
    with pytest.raises(CodeWouldLower, match="9,000,000 Wh"):
        check_carries(Credit(order_no=302, paid_until_wh=8_000_000), holding, terminal_id="T")


@pytest.mark.parametrize(
    ("rounds", "released"),
    [
        ([CLOSING], True),
        ([CLOSING, UNTOUCHED, CALLED_BACK], True),
        ([UNTOUCHED], False),
        ([], False),
        ([TRIPPED_BY_ITSELF], False),
        ([CLOSING, TRIPPED_BY_ITSELF], False),
        ([CLOSING, IN_DOUBT], False),
        ([CLOSING, CLOSE_REFUSED], False),
    ],
)
def test_rounds_are_released_where_a_close_is_on_its_way_for_each_that_may_be_tripped(
    rounds: list[RoundStanding], *, released: bool
) -> None:
    assert given_back(rounds, limit_lifted=False) == GivenBack(rounds=released, limit=False)


def test_a_limit_is_lifted_where_the_command_that_lifts_it_is_on_its_way() -> None:
    assert given_back([UNTOUCHED], limit_lifted=True) == GivenBack(rounds=False, limit=True)


@pytest.mark.parametrize(
    ("before", "now", "cut_since", "needed"),
    [
        (None, NOTHING, False, False),
        (None, ROUNDS, False, False),
        (None, NOTHING, True, False),
        (None, ROUNDS, True, True),
        (ROUNDS, ROUNDS, False, False),
        (ROUNDS, ROUNDS, True, True),
        (NOTHING, ROUNDS, False, True),
        (ROUNDS, NOTHING, False, True),
    ],
)
def test_a_code_that_says_something_else_goes_under_a_new_order(
    before: GivenBack | None, now: GivenBack, *, cut_since: bool, needed: bool
) -> None:
    assert needs_new_order(before, now, cut_since=cut_since) is needed
