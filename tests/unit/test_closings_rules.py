"""What an account comes to when it is closed, to the fen, and when it cannot be."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.closings.rules import (
    Account,
    AccountMoved,
    AccountNotSettled,
    ClosingOver,
    ClosingRefused,
    ClosingReleasedBefore,
    ClosingState,
    NotGivenUpYet,
    Outcome,
    OwnClosing,
    Part,
    Readiness,
    Settlement,
    Source,
    UsedSinceFinalReading,
    check_ready,
    parts_left,
    settle,
)
from app.quantities import NANOFEN_PER_FEN, price_nfen_per_wh

MWH = 1_000_000
PRICE = Decimal("0.8130")


def bought(name: str, energy_wh: int, yuan_per_kwh: Decimal = PRICE) -> Source:
    return Source(name, energy_wh, energy_wh * price_nfen_per_wh(yuan_per_kwh))


ACCOUNT = Account(
    reading_wh=30 * MWH - 1_234_567,
    paid_until_wh=30 * MWH,
    lent_wh=200_000,
    deposit_fen=2_422_741,
    debt_fen=10_000,
    kept_nfen=20_000_000,
    sources=(bought("P1", 29_800_000),),
    yuan_per_kwh=PRICE,
)
READY = Readiness(
    report_fresh=True,
    reading_wh=5 * MWH,
    posted_supplied_wh=5 * MWH,
    active_power_w=0,
    supply_cut=False,
    cut_on_its_way=False,
    refund_under_way=False,
    cheque_in_clearing=False,
)


def holds(settled: Settlement) -> bool:
    before_nfen = settled.worth_nfen + settled.kept_before_nfen
    whole_fen = settled.money_fen + settled.debt_fen + settled.overused_fen
    return before_nfen == whole_fen * NANOFEN_PER_FEN + settled.kept_after_nfen


def test_the_example_of_the_rule() -> None:
    settled = settle(ACCOUNT)
    assert settled.parts == (Part("P1", 1_034_567, 84_110_297_100_000),)
    assert (settled.money_fen, settled.kept_after_nfen) == (74_110, 317_100_000)
    assert (settled.outcome, settled.left_wh) == (Outcome.REFUND, 1_034_567)
    assert holds(settled)


def test_energy_used_beyond_what_was_paid_is_owed_at_the_price_in_force_rounded_half_up() -> None:
    settled = settle(replace(ACCOUNT, reading_wh=30 * MWH - 199_000, paid_until_wh=30 * MWH))
    assert (settled.overused_wh, settled.overused_fen, settled.money_fen) == (1_000, 81, -10_081)
    assert (settled.outcome, settled.kept_after_nfen, settled.parts) == (Outcome.PAY_UP, 20_000_000, ())
    assert holds(settled)


@pytest.mark.parametrize(("price", "owed_fen"), [("0.005", 1), ("0.00499999", 0), ("0.015", 2), ("0.025", 3)])
def test_half_a_fen_is_rounded_up(price: str, owed_fen: int) -> None:
    account = replace(ACCOUNT, reading_wh=1_000, paid_until_wh=0, lent_wh=0, yuan_per_kwh=Decimal(price))
    assert settle(account).overused_fen == owed_fen


def test_nothing_left_and_nothing_owed_comes_to_nothing() -> None:
    settled = settle(replace(ACCOUNT, reading_wh=30 * MWH, lent_wh=0, debt_fen=0, yuan_per_kwh=None))
    assert (settled.outcome, settled.money_fen, settled.supplied_fen) == (Outcome.NOTHING, 0, 2_422_741)
    assert settled.yuan_per_kwh is None


def test_energy_is_worth_less_than_the_debt_so_the_customer_pays_the_rest() -> None:
    settled = settle(replace(ACCOUNT, debt_fen=90_000))
    assert (settled.money_fen, settled.supplied_fen) == (-5_890, 2_422_741 - 84_110)


def test_energy_beyond_what_was_paid_needs_a_price() -> None:
    with pytest.raises(ClosingRefused) as refused:
        settle(replace(ACCOUNT, reading_wh=31 * MWH, yuan_per_kwh=None))
    assert refused.value.facts["because"] == "no_price"


def test_more_than_lies_in_the_deposit_is_never_paid() -> None:
    with pytest.raises(ClosingRefused) as refused:
        settle(replace(ACCOUNT, deposit_fen=84_109))
    assert refused.value.facts["because"] == "worth_more_than_paid"


def test_what_was_paid_for_first_burns_first_each_at_its_own_price() -> None:
    sources = (bought("P1", 10 * MWH, Decimal("0.80")), bought("P2", 0), bought("P3", 20 * MWH, Decimal("0.90")))
    assert parts_left(sources, left_wh=25 * MWH) == (
        Part("P1", 5 * MWH, 400_000 * NANOFEN_PER_FEN),
        Part("P3", 20 * MWH, 1_800_000 * NANOFEN_PER_FEN),
    )
    assert parts_left(sources, left_wh=-1) == ()


def test_an_opening_is_worth_its_share_of_what_was_paid_for_it() -> None:
    opening = Source("opening", 3_000, 100 * NANOFEN_PER_FEN)
    assert parts_left((opening,), left_wh=1_000) == (Part("opening", 1_000, 33_333_333_333),)
    assert parts_left((opening,), left_wh=5_000) == (Part("opening", 3_000, 100 * NANOFEN_PER_FEN),)


PRICES = st.integers(1, 3 * 10**8).map(lambda number: Decimal(number).scaleb(-8))


@given(
    st.lists(st.tuples(st.integers(0, 10**9), PRICES), max_size=6),
    st.integers(0, 10**10),
    st.integers(0, 10**8),
    st.integers(0, 10**10),
    st.integers(0, 10**13),
    PRICES,
)
def test_no_fraction_is_lost_and_no_energy_is_worth_more_than_was_paid(
    purchases: list[tuple[int, Decimal]],
    used_wh: int,
    lent_wh: int,
    debt_fen: int,
    kept_nfen: int,
    price: Decimal,
) -> None:
    sources = tuple(bought(f"P{n}", energy, at) for n, (energy, at) in enumerate(purchases))
    paid_nfen = sum(source.worth_nfen for source in sources) + kept_nfen
    paid_wh = sum(source.energy_wh for source in sources)
    settled = settle(
        Account(
            reading_wh=used_wh,
            paid_until_wh=paid_wh + lent_wh,
            lent_wh=lent_wh,
            deposit_fen=-(-paid_nfen // NANOFEN_PER_FEN),
            debt_fen=debt_fen,
            kept_nfen=kept_nfen,
            sources=sources,
            yuan_per_kwh=price,
        )
    )
    assert holds(settled)
    assert 0 <= settled.kept_after_nfen < NANOFEN_PER_FEN
    assert sum(part.energy_wh for part in settled.parts) == settled.left_wh == max(paid_wh - used_wh, 0)
    assert settled.overused_wh == max(used_wh - paid_wh, 0)
    assert settled.worth_nfen <= paid_nfen
    # All that was paid in is given back, pays debt, or was earned by what was supplied.
    assert settled.deposit_fen == settled.supplied_fen + settled.money_fen + settled.debt_fen
    assert settled.supplied_fen >= 0


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"report_fresh": False}, "report_stale"),
        ({"reading_wh": None}, "report_stale"),
        ({"posted_supplied_wh": 5 * MWH + 1}, "counter_behind"),
        ({"active_power_w": 1}, "load_running"),
        ({"active_power_w": -1}, "load_running"),
        ({"active_power_w": None}, "load_running"),
        ({"supply_cut": True}, "supply_cut"),
        ({"cut_on_its_way": True}, "cut_pending"),
        ({"refund_under_way": True}, "refund_under_way"),
        ({"cheque_in_clearing": True}, "cheque_in_clearing"),
    ],
)
def test_a_closing_never_races_with_load_cut_or_refund(change: dict[str, int | None], because: str) -> None:
    check_ready(READY)
    with pytest.raises(ClosingRefused) as refused:
        check_ready(replace(READY, **change))  # type: ignore[arg-type]
    assert refused.value.facts["because"] == because
    assert refused.value.remedy


def test_refusals_say_what_would_be_right() -> None:
    for refusal in (
        AccountMoved(),
        AccountNotSettled(contract_no="HT-1", standing={"debt_fen": 1}),
        ClosingOver(state=ClosingState.FINISHED, ended_at=None),
        NotGivenUpYet(terminal_order_no=1, order_no=2),
        OwnClosing(),
        ClosingReleasedBefore(by="approver.one", because="burnt down"),
        UsedSinceFinalReading(reading_wh=1, counter_wh=2),
    ):
        assert refusal.remedy
