"""Amounts as papers write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.papers.rules import LARGEST_IN_CAPITALS_FEN, in_capitals, in_kwh, in_yuan, lasts

_DIGITS = {digit: value for value, digit in enumerate("零壹贰叁肆伍陆柒捌玖")}
_PLACES = {"拾": 10, "佰": 100, "仟": 1000}
_GROUPS = {"万": 10_000, "亿": 100_000_000}


def read_capitals(words: str) -> int:
    """Read capital numerals back as a person does: digit by digit, with places, groups and units."""
    assert words.startswith("人民币")
    total_fen = group = digit = yuan = 0
    for sign in words.removeprefix("人民币"):
        if sign in _DIGITS:
            digit = _DIGITS[sign]
        elif sign in _PLACES:
            group += digit * _PLACES[sign]
            digit = 0
        elif sign in _GROUPS:
            yuan += (group + digit) * _GROUPS[sign]
            group = digit = 0
        elif sign == "元":
            total_fen += (yuan + group + digit) * 100
            digit = 0
        elif sign in "角分":
            total_fen += digit * (10 if sign == "角" else 1)
            digit = 0
        else:
            assert sign == "整"
    return total_fen


@pytest.mark.parametrize(
    ("amount_fen", "words"),
    [
        (0, "人民币零元整"),
        (1, "人民币壹分"),
        (50, "人民币伍角"),
        (100, "人民币壹元整"),
        (1_050, "人民币壹拾元伍角"),
        (140_950, "人民币壹仟肆佰零玖元伍角"),
        (600_714, "人民币陆仟零柒元壹角肆分"),
        (168_032, "人民币壹仟陆佰捌拾元叁角贰分"),
        (10_700_053, "人民币壹拾万柒仟元伍角叁分"),
        (1_640_902, "人民币壹万陆仟肆佰零玖元零贰分"),
        (32_504, "人民币叁佰贰拾伍元零肆分"),
        (5_000_000, "人民币伍万元整"),
        (10_001_0000_00, "人民币壹亿零壹万元整"),
        (1_0000_7000_00, "人民币壹亿零柒仟元整"),
        (1_0000_0007_00, "人民币壹亿零柒元整"),
        (10_000_000_000, "人民币壹亿元整"),
    ],
)
def test_amounts_in_capital_numerals(amount_fen: int, words: str) -> None:
    assert in_capitals(amount_fen) == words


@given(st.integers(0, LARGEST_IN_CAPITALS_FEN))
def test_capital_numerals_say_the_amount_and_nothing_else(amount_fen: int) -> None:
    words = in_capitals(amount_fen)
    assert read_capitals(words) == amount_fen
    assert "零零" not in words
    assert words.endswith("整") == (amount_fen % 100 == 0)


@given(st.integers(0, LARGEST_IN_CAPITALS_FEN), st.integers(0, LARGEST_IN_CAPITALS_FEN))
def test_different_amounts_have_different_words(one_fen: int, other_fen: int) -> None:
    assert (in_capitals(one_fen) == in_capitals(other_fen)) == (one_fen == other_fen)


@pytest.mark.parametrize("amount_fen", [-1, LARGEST_IN_CAPITALS_FEN + 1])
def test_what_has_no_common_way_of_being_written_is_refused(amount_fen: int) -> None:
    with pytest.raises(ValueError, match="capital numerals"):
        in_capitals(amount_fen)


def test_figures_have_separators_and_a_true_minus() -> None:
    assert [in_yuan(each) for each in (5_000_010, 7, -120)] == ["50,000.10", "0.07", "−1.20"]


def test_energy_is_written_to_the_watt_hour() -> None:
    assert [in_kwh(each) for each in (60_024_600, -1_500, 0)] == ["60,024.600 kWh", "−1.500 kWh", "0.000 kWh"]


def test_time_that_energy_lasts_in_both_languages() -> None:
    assert lasts(125) == ("约 5 天 5 小时", "about 5 days 5 hours")
    assert lasts(25) == ("约 1 天 1 小时", "about 1 day 1 hour")
    assert lasts(0) == ("约 0 小时", "about 0 hours")
