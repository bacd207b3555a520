"""How a simulated terminal takes site codes: once, for itself, in their order, never for a cut that came later."""

from typing import Any

import pytest

from app.mqtt.messages import ControlMode
from app.mqtt.site_codes import SiteCode, write
from simulators.keypad import Typed
from simulators.memory import VolatileMemory
from simulators.workbench import SITE_KEY, Workbench

FOREIGN_KEY = bytes(range(64, 96))
MORE_WH = 5_000_000


@pytest.fixture
def bench() -> Workbench:
    """A terminal in remote mode that has been paid for up to order 7 and is off line."""
    bench = Workbench()
    bench.connect()
    bench.credit(remaining_wh=1_000_000, order_no=7)
    return bench


def code(bench: Workbench, *, order_no: int = 8, **flags: bool) -> SiteCode:
    paid_until_wh = bench.terminal.kept.paid_until_wh + MORE_WH
    return SiteCode(order_no=order_no, paid_until_wh=paid_until_wh, **flags)


def wrong(bench: Workbench) -> str:
    return write(code(bench), FOREIGN_KEY)


def test_a_code_brings_its_order_to_a_terminal_without_a_line_and_the_record_tells_of_it(bench: Workbench) -> None:
    bench.lose()
    assert bench.type_code(code(bench)) is Typed.TAKEN
    assert bench.terminal.state.order_no == 8
    assert bench.terminal.state.remaining_wh == 1_000_000 + MORE_WH
    bench.clear()
    bench.connect()
    assert bench.of("birth")[0].state.order_no == 8
    told = bench.events("credit_applied")[-1].detail
    assert (told.order_no, told.cause) == (8, "site_code")
    assert (told.remaining_before_wh, told.remaining_after_wh) == (1_000_000, 1_000_000 + MORE_WH)


def test_a_code_is_used_once(bench: Workbench) -> None:
    used = code(bench)
    assert bench.type_code(used) is Typed.TAKEN
    paid_until_wh = bench.terminal.kept.paid_until_wh
    assert bench.type_code(used) is Typed.OLD
    assert bench.terminal.kept.paid_until_wh == paid_until_wh


def test_the_credit_that_comes_after_its_code_changes_nothing(bench: Workbench) -> None:
    typed = code(bench)
    bench.type_code(typed)
    terms = {"mode": "append", "value_wh": MORE_WH, "alarm_wh": 0, "trip_wh": 0}
    late = bench.do("credit", order_no=8, paid_until_wh=typed.paid_until_wh, **terms)
    assert [code for _, code in bench.answers(late)] == ["DUPLICATE"]
    assert bench.terminal.kept.paid_until_wh == typed.paid_until_wh


def test_a_code_that_comes_after_its_credit_is_old(bench: Workbench) -> None:
    late = code(bench)
    bench.credit(remaining_wh=1_000_000 + MORE_WH, order_no=8)
    assert bench.type_code(late) is Typed.OLD


def test_a_code_releases_what_was_cut_by_order_and_lifts_the_limit(bench: Workbench) -> None:
    bench.cut("trip", round=1)
    bench.cut("limit", power_w=900_000)
    assert bench.type_code(code(bench, release_rounds=True, lift_limit=True)) is Typed.TAKEN
    assert (bench.terminal.state.rounds, bench.terminal.state.limit_w) == ("11------", None)
    assert bench.events("restore")[0].detail.cause == "site_code"


def test_a_code_without_flags_gives_nothing_back(bench: Workbench) -> None:
    bench.cut("trip", round=1)
    bench.cut("limit", power_w=900_000)
    assert bench.type_code(code(bench)) is Typed.TAKEN
    assert (bench.terminal.state.rounds, bench.terminal.state.limit_w) == ("01------", 900_000)


@pytest.mark.parametrize(("given_out", "rounds"), [(7, "11------"), (8, "01------"), (None, "11------")])
def test_a_code_from_before_a_cut_pays_and_gives_back_nothing_of_it(
    bench: Workbench, given_out: int | None, rounds: str
) -> None:
    bench.cut("trip", round=1, last_order_no=given_out)
    assert bench.type_code(code(bench, release_rounds=True)) is Typed.TAKEN
    assert (bench.terminal.state.order_no, bench.terminal.state.rounds) == (8, rounds)


def test_a_round_that_the_allowance_tripped_closes_by_the_energy_alone() -> None:
    local: dict[str, Any] = {"control_enabled": True, "control_mode": ControlMode.LOCAL}
    bench = Workbench(initial=local)
    bench.connect()
    bench.step()
    bench.live(minutes=3)
    assert bench.terminal.state.rounds == "00------"
    bench.lose()
    assert bench.type_code(code(bench, order_no=1)) is Typed.TAKEN
    assert bench.terminal.state.rounds == "11------"


def test_energy_that_does_not_reach_leaves_local_mode_its_trips() -> None:
    local: dict[str, Any] = {"control_enabled": True, "control_mode": ControlMode.LOCAL, "trip_wh": 2 * MORE_WH}
    bench = Workbench(initial={**local, "alarm_wh": 2 * MORE_WH})
    bench.connect()
    bench.step()
    bench.live(minutes=3)
    assert bench.type_code(code(bench, order_no=1, release_rounds=True)) is Typed.TAKEN
    assert bench.terminal.state.rounds == "00------"


def test_a_slip_of_the_finger_is_told_and_never_counted(bench: Workbench) -> None:
    digits = write(code(bench), SITE_KEY)
    slipped = digits[:-1] + str((int(digits[-1]) + 1) % 10)
    assert [bench.type_code(slipped) for _ in range(20)] == [Typed.MISTYPED] * 20
    assert bench.type_code(digits) is Typed.TAKEN


def test_wrong_codes_make_the_keypad_deaf_for_longer_and_longer(bench: Workbench) -> None:
    right = code(bench)
    assert [bench.type_code(wrong(bench)) for _ in range(5)] == [Typed.WRONG] * 5
    for minutes in (10, 20, 40, 60, 60):
        assert bench.type_code(right) is Typed.DEAF
        bench.live(minutes * 60 - 1)
        assert bench.type_code(right) is Typed.DEAF
        bench.live(1)
        assert bench.type_code(wrong(bench)) is Typed.WRONG
    assert [event.detail.note for event in bench.events("tamper")][:2] == ["5 wrong site codes", "6 wrong site codes"]
    bench.live(minutes=60)
    assert bench.type_code(right) is Typed.TAKEN
    assert bench.type_code(wrong(bench)) is Typed.WRONG
    assert bench.type_code(code(bench, order_no=9)) is Typed.TAKEN


def test_to_switch_off_and_on_shortens_no_wait_and_brings_no_code_back() -> None:
    bench = Workbench(memory=VolatileMemory())
    used = code(bench, order_no=1)
    assert bench.type_code(used) is Typed.TAKEN
    for _ in range(5):
        bench.type_code(wrong(bench))
    bench.live(minutes=9)
    bench.terminal.power_off(bench.now)
    bench.terminal.power_on(bench.now)
    bench.live(minutes=9)
    assert bench.type_code(code(bench, order_no=2)) is Typed.DEAF
    bench.live(minutes=1)
    assert bench.type_code(used) is Typed.OLD
    assert bench.type_code(code(bench, order_no=2)) is Typed.TAKEN


def test_an_old_code_takes_no_wrong_one_back(bench: Workbench) -> None:
    used = code(bench)
    bench.type_code(used)
    said = [bench.type_code(one) for one in [wrong(bench), used] * 5]
    assert said == [Typed.WRONG, Typed.OLD] * 4 + [Typed.WRONG, Typed.DEAF]


def test_a_terminal_without_a_site_key_takes_no_codes() -> None:
    bench = Workbench(site_key=None)
    assert bench.type_code(code(bench, order_no=1)) is Typed.NO_KEY
