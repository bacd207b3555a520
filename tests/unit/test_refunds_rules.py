"""How much of a purchase can be taken back, and to the fen what it is worth."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.customers.rules import ControlMode, Threshold, Thresholds
from app.load_control.facts import Facts, Round
from app.load_control.levels import level_that_acts
from app.quantities import NANOFEN_PER_FEN, price_nfen_per_wh
from app.refunds.rules import (
    Given,
    NotTakenBackYet,
    OwnRefund,
    RefundKind,
    RefundOver,
    RefundRefused,
    RefundState,
    Standing,
    TakeBack,
    bought_again,
    energy_to_keep,
    left_of,
    take_back,
    why_held,
)

A, B, C = (UUID(int=number) for number in (1, 2, 3))
MWH = 1_000_000
STANDING = Standing(
    granted_wh=20 * MWH,
    left_wh=20 * MWH,
    remaining_wh=21 * MWH,
    keep_wh=MWH // 4,
    emergency_wh=0,
    kept_nfen=20_000_000,
    yuan_per_kwh=Decimal("0.8130"),
    deposited_fen=1_626_000,
    debt_paid_fen=5_000,
    kept_before_nfen=7,
    newest=True,
    refunded=False,
    report_fresh=True,
)


@pytest.mark.parametrize(("purchase", "left_mwh"), [(A, 0), (B, 5), (C, 30)])
def test_what_was_bought_first_burns_first(purchase: UUID, left_mwh: int) -> None:
    given = [Given(A, 10 * MWH), Given(B, 20 * MWH), Given(C, 30 * MWH)]
    assert left_of(purchase, given, remaining_wh=35 * MWH) == left_mwh * MWH


def test_what_was_taken_back_belongs_to_its_purchase() -> None:
    given = [Given(A, 10 * MWH), Given(B, 20 * MWH), Given(A, -4 * MWH)]
    assert left_of(A, given, remaining_wh=26 * MWH) == 6 * MWH
    assert left_of(B, given, remaining_wh=26 * MWH) == 20 * MWH


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(-50, 900))
def test_what_is_left_of_all_is_what_remains(bought: list[int], remaining_wh: int) -> None:
    given = [Given(UUID(int=number), energy) for number, energy in enumerate(bought)]
    left = sum(left_of(one.source, given, remaining_wh=remaining_wh) for one in given)
    assert left == min(max(remaining_wh, 0), sum(bought))


def test_a_purchase_that_gave_nothing_has_nothing_left() -> None:
    assert left_of(B, [Given(A, 5)], remaining_wh=5) == 0


def test_a_reversal_undoes_all_of_it() -> None:
    assert take_back(STANDING, kind=RefundKind.REVERSAL, wanted_wh=None) == TakeBack(
        energy_wh=20 * MWH,
        deposit_back_fen=1_626_000,
        debt_reopened_fen=5_000,
        kept_before_nfen=20_000_000,
        kept_after_nfen=7,
    )


def test_a_refund_is_worth_its_energy_at_its_own_price_and_keeps_the_fraction() -> None:
    taken = take_back(STANDING, kind=RefundKind.REFUND, wanted_wh=MWH)
    assert (taken.money_fen, taken.kept_after_nfen) == (81_300, 20_000_000)


def test_a_refund_of_no_amount_takes_all_that_can_be_spared() -> None:
    scarce = replace(STANDING, remaining_wh=15 * MWH, left_wh=15 * MWH)
    assert take_back(scarce, kind=RefundKind.REFUND, wanted_wh=None).energy_wh == 15 * MWH - MWH // 4


@given(st.integers(1, 20 * MWH), st.integers(0, NANOFEN_PER_FEN - 1))
def test_no_fraction_is_lost(energy_wh: int, kept_nfen: int) -> None:
    standing = replace(STANDING, kept_nfen=kept_nfen)
    price = price_nfen_per_wh(standing.yuan_per_kwh)
    if energy_wh * price + kept_nfen < NANOFEN_PER_FEN:
        with pytest.raises(RefundRefused, match="less than one fen"):
            take_back(standing, kind=RefundKind.REFUND, wanted_wh=energy_wh)
        return
    taken = take_back(standing, kind=RefundKind.REFUND, wanted_wh=energy_wh)
    assert energy_wh * price + kept_nfen == taken.deposit_back_fen * NANOFEN_PER_FEN + taken.kept_after_nfen
    again_wh, kept_again = bought_again(
        deposit_back_fen=taken.deposit_back_fen,
        kept_nfen=taken.kept_after_nfen,
        yuan_per_kwh=standing.yuan_per_kwh,
    )
    assert again_wh * price + kept_again == energy_wh * price + kept_nfen
    assert again_wh >= energy_wh


@pytest.mark.parametrize(
    ("change", "kind", "because"),
    [
        ({"report_fresh": False}, RefundKind.REFUND, "report_stale"),
        ({"closing": True}, RefundKind.REVERSAL, "account_closing"),
        ({"emergency_wh": 1}, RefundKind.REFUND, "emergency_credit"),
        ({"refunded": True}, RefundKind.REFUND, "taken_back_before"),
        ({"newest": False}, RefundKind.REVERSAL, "not_the_newest"),
        ({"left_wh": 20 * MWH - 1}, RefundKind.REVERSAL, "used_already"),
        ({"remaining_wh": 20 * MWH}, RefundKind.REVERSAL, "would_cut"),
        ({"left_wh": 0}, RefundKind.REFUND, "too_little_left"),
        ({"remaining_wh": 0}, RefundKind.REFUND, "too_little_left"),
    ],
)
def test_a_refusal_names_its_reason(change: dict[str, int | bool], kind: RefundKind, because: str) -> None:
    with pytest.raises(RefundRefused) as refused:
        take_back(replace(STANDING, **change), kind=kind, wanted_wh=None)  # type: ignore[arg-type]
    assert refused.value.facts["because"] == because
    assert refused.value.remedy


def test_more_than_is_left_is_refused_with_what_could_be_taken() -> None:
    with pytest.raises(RefundRefused) as refused:
        take_back(STANDING, kind=RefundKind.REFUND, wanted_wh=20 * MWH + 1)
    assert refused.value.facts["most_wh"] == 20 * MWH


@pytest.mark.parametrize(("load_w", "kept_wh"), [(480_000, 240_000), (0, 0), (-5, 0)])
def test_what_is_used_before_the_terminal_hears_stays_there(load_w: int, kept_wh: int) -> None:
    assert energy_to_keep(level_wh=0, recent_load_w=load_w, report_valid_s=1800) == kept_wh


def test_refusals_say_what_would_be_right() -> None:
    for refusal in (
        NotTakenBackYet(terminal_order_no=1, order_no=2),
        OwnRefund(),
        RefundOver(state=RefundState.PAID_OUT, ended_at=None),
    ):
        assert refusal.remedy


NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LOWERED = Facts(
    paid_until_wh=10 * MWH,
    supplied_wh=9 * MWH,
    supplied_at=NOW - timedelta(minutes=10),
    recent_load_w=480_000,
    active_power_w=300_000,
    thresholds=Thresholds(
        notice=Threshold(energy_wh=3 * MWH),
        warning=Threshold(energy_wh=2 * MWH),
        limited=Threshold(energy_wh=MWH),
        trip=Threshold(energy_wh=0),
    ),
    rounds=(Round(round=1, importance=1, load_w=600_000, relay="1"),),
    lowering=True,
    retry_after=timedelta(seconds=20),
)


def test_a_terminal_in_local_mode_keeps_what_notices_need_at_the_load_of_its_rounds() -> None:
    assert level_that_acts(LOWERED) == 1
    # 72 h for the written notice and 30 min for the second one, at 600 kW.
    local = replace(LOWERED, control_mode=ControlMode.LOCAL)
    assert level_that_acts(local) == 600_000 * 145 // 2 + 1


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({"lowering": False, "supplied_at": None}, []),
        ({"supplied_at": None}, ["stale_report"]),
        ({"supplied_at": NOW - timedelta(minutes=36)}, ["stale_report"]),
        ({"estimated": True}, ["estimate"]),
        ({"order_unknown": True}, ["order_unknown"]),
        ({}, []),
        ({"control_mode": ControlMode.LOCAL}, ["must_stay"]),
        ({"supplied_wh": 10 * MWH - 82_667}, []),
        ({"supplied_wh": 10 * MWH - 82_666}, ["must_stay"]),
        ({"supplied_wh": 10 * MWH - 82_667, "active_power_w": 900_000}, ["must_stay"]),
        ({"supplied_wh": 10 * MWH - 1, "recent_load_w": 0, "active_power_w": 0}, []),
        ({"supplied_wh": 10 * MWH, "recent_load_w": 0, "active_power_w": None}, ["must_stay"]),
        ({"supplied_wh": None, "recent_load_w": 0}, []),
        ({"closing": True, "supplied_wh": 10 * MWH, "active_power_w": 0}, []),
        ({"closing": True, "supplied_wh": 10 * MWH, "active_power_w": 1_000}, ["load_running"]),
        ({"closing": True, "supplied_wh": 10 * MWH, "active_power_w": None}, ["power_unknown"]),
        ({"closing": True, "supplied_wh": 10 * MWH + 1, "active_power_w": 0}, ["used_while_closing"]),
    ],
)
def test_a_credit_is_held_for_what_could_cut_a_customer_who_was_not_warned(
    change: dict[str, Any], codes: list[str]
) -> None:
    found = why_held(replace(LOWERED, **change), paid_until_wh=10 * MWH, now=NOW)
    assert [reason.code for reason in found] == codes
