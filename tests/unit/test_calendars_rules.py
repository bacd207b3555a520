"""When nobody may be cut off, in the local time of the place."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.calendars.rules import Bar, NoCut, barred_by, next_allowed, spans

SHANGHAI = ZoneInfo("Asia/Shanghai")
NIGHT = NoCut(
    bar=Bar.HOURS, zone="Asia/Shanghai", country="CN", valid_from=date(2026, 1, 1), from_minute=1080, until_minute=480
)
NOON = replace(NIGHT, from_minute=720, until_minute=780)
WEEKENDS = NoCut(bar=Bar.WEEKENDS, zone="Asia/Shanghai", country="CN", valid_from=date(2026, 1, 1))
HOLIDAYS = replace(WEEKENDS, bar=Bar.HOLIDAYS)
EVES = replace(WEEKENDS, bar=Bar.HOLIDAY_EVES)
EXAMINATION = replace(WEEKENDS, bar=Bar.DAY, day=date(2026, 6, 8))


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).astimezone(UTC)


@pytest.mark.parametrize(
    ("rule", "at", "barred"),
    [
        (NIGHT, "2026-03-04 17:59:59", False),
        (NIGHT, "2026-03-04 18:00", True),
        (NIGHT, "2026-03-05 07:59:59", True),
        (NIGHT, "2026-03-05 08:00", False),
        (NOON, "2026-03-04 11:59", False),
        (NOON, "2026-03-04 12:00", True),
        (NOON, "2026-03-04 13:00", False),
        (WEEKENDS, "2026-03-06 23:59", False),
        (WEEKENDS, "2026-03-07 00:00", True),
        (WEEKENDS, "2026-03-08 23:59", True),
        # 14 February 2026 is a Saturday on which people work, to make up for the Spring Festival.
        (WEEKENDS, "2026-02-14 12:00", False),
        (WEEKENDS, "2026-02-15 12:00", True),
        (HOLIDAYS, "2026-02-17 12:00", True),
        (HOLIDAYS, "2026-10-01 12:00", True),
        (HOLIDAYS, "2026-03-04 12:00", False),
        (EVES, "2026-09-30 12:00", True),
        (EVES, "2026-10-01 12:00", False),
        (EXAMINATION, "2026-06-08 12:00", True),
        (EXAMINATION, "2026-06-09 00:00", False),
        (replace(NIGHT, valid_from=date(2026, 3, 5)), "2026-03-05 07:00", False),
        (replace(NIGHT, valid_from=date(2026, 3, 5)), "2026-03-05 19:00", True),
        # The night that begins on the last day runs until its morning.
        (replace(NIGHT, valid_until=date(2026, 3, 5)), "2026-03-06 07:00", True),
        (replace(NIGHT, valid_until=date(2026, 3, 5)), "2026-03-06 19:00", False),
        (replace(WEEKENDS, valid_until=date(2026, 3, 7)), "2026-03-08 12:00", False),
    ],
)
def test_a_rule_bars_its_own_times(rule: NoCut, at: str, *, barred: bool) -> None:
    assert (barred_by([rule], at=local(at)) is rule) is barred


@pytest.mark.parametrize(
    ("rules", "at", "allowed"),
    [
        ([], "2026-03-04 19:30", "2026-03-04 19:30"),
        ([NIGHT], "2026-03-04 12:00", "2026-03-04 12:00"),
        ([NIGHT], "2026-03-04 19:30", "2026-03-05 08:00"),
        ([NIGHT, WEEKENDS], "2026-03-06 19:30", "2026-03-09 08:00"),
        # National Day of 2026 is free from 1 to 7 October, and its eve is a Wednesday.
        ([NIGHT, WEEKENDS, HOLIDAYS, EVES], "2026-09-29 19:00", "2026-10-08 08:00"),
    ],
)
def test_the_next_moment_is_the_first_that_no_rule_bars(rules: list[NoCut], at: str, allowed: str) -> None:
    assert next_allowed(rules, at=local(at)) == local(allowed)


def test_what_never_ends_has_no_next_moment() -> None:
    all_day = [replace(NIGHT, from_minute=0, until_minute=720), replace(NIGHT, from_minute=720, until_minute=1440)]
    assert next_allowed(all_day, at=local("2026-03-04 12:00")) is None


def test_spans_join_what_touches() -> None:
    found = spans([NIGHT, WEEKENDS], since=local("2026-03-06 12:00"), until=local("2026-03-09 20:00"))
    assert [(begin, end, rule.words) for begin, end, rule in found] == [
        (local("2026-03-06 18:00"), local("2026-03-09 08:00"), "18:00 to 08:00"),
        (local("2026-03-09 18:00"), local("2026-03-09 20:00"), "18:00 to 08:00"),
    ]


RULES = [NIGHT, NOON, WEEKENDS, HOLIDAYS, EVES, EXAMINATION]


# The first question about a year makes its holidays, which takes a while.
@settings(deadline=None)
@given(
    st.lists(st.sampled_from(RULES), unique=True),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001 - a zone is given to it
)
def test_the_next_moment_is_allowed_and_none_before_it_is(rules: list[NoCut], naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    allowed = next_allowed(rules, at=at)
    assert allowed is not None
    assert barred_by(rules, at=allowed) is None
    for part in (0, 1, 2, 5, 9):
        before = at + (allowed - at) * part // 10
        if before < allowed:
            assert barred_by(rules, at=before) is not None


@pytest.mark.parametrize(
    ("rule", "words"), [(NIGHT, "18:00 to 08:00"), (EVES, "holiday eves"), (EXAMINATION, "2026-06-08")]
)
def test_a_rule_says_what_it_bars(rule: NoCut, words: str) -> None:
    assert rule.words == words


def test_other_countries_have_holidays_of_their_own() -> None:
    assert barred_by([replace(HOLIDAYS, country="DE")], at=local("2026-10-03 12:00")) is not None
    assert barred_by([replace(HOLIDAYS, country="DE")], at=local("2026-10-02 12:00")) is None
    assert local("2026-03-04 12:00") + timedelta(hours=8) == local("2026-03-04 20:00")
