"""Every reason has its words in both languages, whatever numbers stand behind it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.load_control.facts import Stage
from app.load_control.reasons import CODES, STAGE_ZH, Reason, in_thousands

FACTS: dict[str, dict[str, int | str]] = {
    "above_thresholds": {"remaining_wh": 60_024_600, "level_wh": 50_000_000},
    "at_or_below": {"stage": "warning", "remaining_wh": 20_000_000, "level_wh": 30_000_000},
    "held_until_purchase": {"stage": "limited", "remaining_wh": 20_000_000},
    "stale_report": {"reported_at": "2026-03-01T08:00:00+00:00"},
    "threshold_not_reached": {"remaining_wh": 20_000_000},
    "notice_period": {"until": "2026-03-04T08:00:00+00:00"},
    "second_notice_period": {"until": "2026-03-04T08:30:00+00:00"},
    "retry_pause": {"until": "2026-03-04T08:32:00+00:00"},
    "round_pause": {"until": "2026-03-04T08:31:00+00:00"},
    "must_stay": {"remaining_wh": 40_000_000, "must_stay_wh": 50_000_000},
    "brake_on": {"where": "feeder F17"},
    "no_cut_time": {"rule": "18:00 to 08:00", "until": "2026-03-05T00:00:00+00:00"},
    "policy_forbids": {"version": 3},
    "load_running": {"active_power_w": 300_000},
    "refund_unproved": {"refunding_wh": 100_000_000},
    "safe_load_kept": {"active_power_w": 38_000, "safe_load_w": 40_000},
}


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("code", sorted(CODES))
def test_every_reason_has_its_words(code: str, language: str) -> None:
    text = Reason(code, **FACTS.get(code, {})).text(language)
    assert not set("{}") & set(text)
    assert len(text) > 5
    assert text.endswith("。" if language == "zh" else ".")


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_languages_are_told_apart(code: str) -> None:
    reason = Reason(code, **FACTS.get(code, {}))
    assert reason.text("en").isascii()
    assert any("\u4e00" <= character <= "\u9fff" for character in reason.text("zh"))


@pytest.mark.parametrize("code", sorted(FACTS))
def test_the_numbers_behind_a_reason_are_told(code: str) -> None:
    fewer = dict(FACTS[code])
    while fewer:
        fewer.popitem()
        with pytest.raises(KeyError):
            Reason(code, **fewer).text("en")


@given(st.sampled_from(sorted(FACTS)), st.integers(-(2**62), 2**62), st.sampled_from(list(Stage)))
def test_any_number_behind_a_reason_can_be_told(code: str, number: int, stage: Stage) -> None:
    facts = {name: number if isinstance(value, int) else value for name, value in FACTS[code].items()}
    if "stage" in facts:
        facts["stage"] = stage.word
    told = Reason(code, **facts).as_json()
    assert "{" not in f"{told['zh']}{told['en']}"
    assert told == {"code": code, "facts": facts, "zh": told["zh"], "en": told["en"]}


def test_energy_is_told_in_kwh_and_power_in_kw() -> None:
    reason = Reason("at_or_below", **FACTS["at_or_below"])
    assert reason.text("en") == "20,000 kWh left, at or below the warning threshold of 30,000 kWh."
    assert reason.text("zh") == "剩余电量 20,000 千瓦时，已到告警门限 30,000 千瓦时。"
    safe = Reason("safe_load_kept", **FACTS["safe_load_kept"])
    assert safe.text("en") == "Only 38 kW is running, at or below the safe load of 40 kW: no more trips."


def test_a_stage_that_is_held_is_named_in_both_languages() -> None:
    held = Reason("held_until_purchase", **FACTS["held_until_purchase"])
    assert held.text("en") == "No new purchase, so the stage stays limited (20,000 kWh left)."
    assert held.text("zh") == "未新购电，保持限电阶段（剩余电量 20,000 千瓦时）。"


def test_every_stage_has_a_chinese_name() -> None:
    assert set(STAGE_ZH) == {stage.word for stage in Stage}
    assert len(set(STAGE_ZH.values())) == len(Stage)


def test_a_reason_without_words_is_a_bug_and_says_so() -> None:
    with pytest.raises(ValueError, match="'because' has no words"):
        Reason("because")


def test_equal_reasons_are_equal() -> None:
    assert Reason("threshold_not_reached", remaining_wh=1) == Reason("threshold_not_reached", remaining_wh=1)
    assert Reason("threshold_not_reached", remaining_wh=1) != Reason("threshold_not_reached", remaining_wh=2)


def test_the_examples_name_every_number_that_a_text_uses() -> None:
    for code in CODES:
        told = Reason(code, **FACTS.get(code, {}))
        for name, value in told.facts.items():
            shown = f"{value // 1000:,}" if name.endswith(("_wh", "_w")) else str(value)
            assert shown in told.text("en"), (code, name)


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (400, "0.4"), (82_400, "82.4"), (82_667, "82.667"), (60_024_000, "60,024"), (-1_050, "-1.05")],
)
def test_what_is_less_than_a_thousand_is_told_as_well(value: int, told: str) -> None:
    assert in_thousands(value) == told
