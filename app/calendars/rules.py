"""Whether a moment is one at which nobody may be cut off, and when the next one comes at which it is allowed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import holidays

from app.errors import Conflict

#: No jurisdiction bars cuts for longer in one piece; who looks further has written a rule that never ends.
LOOKED_AHEAD = timedelta(days=60)
_DAY = timedelta(days=1)
_FIRST_DAY_OF_WEEKEND = 5


class Bar(StrEnum):
    """What bars cuts: hours of every day, or whole days of a kind."""

    HOURS = "hours"
    WEEKENDS = "weekends"
    HOLIDAYS = "holidays"
    HOLIDAY_EVES = "holiday_eves"
    DAY = "day"


@dataclass(frozen=True, kw_only=True)
class NoCut:
    """One rule that bars cuts, in the local time of its zone; ``from_minute`` after ``until_minute`` spans midnight.

    Hours of 18:00 to 08:00 are minutes 1080 to 480; a whole day has none.
    """

    bar: Bar
    zone: str
    country: str
    valid_from: date
    valid_until: date | None = None
    from_minute: int | None = None
    until_minute: int | None = None
    day: date | None = None

    @property
    def words(self) -> str:
        match self.bar:
            case Bar.HOURS:
                return f"{clock_time(self.from_minute or 0)} to {clock_time(self.until_minute or 0)}"
            case Bar.DAY:
                return str(self.day)
            case _:
                return self.bar.value.replace("_", " ")


class RuleEnded(Conflict):
    title = "The rule has ended already"

    def __init__(self, *, ended_at: datetime) -> None:
        super().__init__(
            f"It was ended at {ended_at.isoformat()}.",
            remedy="Nothing needs to be done; GET /api/v1/no-cut-rules lists those in force.",
            ended_at=ended_at.isoformat(),
        )


def clock_time(minute: int) -> str:
    """Say a minute of the day as a clock does: 1080 is ``18:00``."""
    return f"{minute // 60:02}:{minute % 60:02}"


def barred_by(rules: Iterable[NoCut], *, at: datetime) -> NoCut | None:
    """Return the rule that bars a cut at a moment, or None.

    18:00 to 08:00 bars 2026-03-04 19:30 in Shanghai. 2026-02-14, a Saturday, is a working day that makes up for the
    Spring Festival, so weekends do not bar it; 2026-02-17 is a public holiday.
    """
    return next((rule for rule in rules if _bars(rule, at)), None)


def next_allowed(rules: Iterable[NoCut], *, at: datetime) -> datetime | None:
    """Return the first moment from ``at`` on at which no rule bars a cut; None where none comes within 60 days.

    18:00 to 08:00, asked at 19:30: 08:00 of the next day; asked at 12:00: 12:00.
    """
    known = tuple(rules)
    if barred_by(known, at=at) is None:
        return at
    edges = sorted(edge for edge in _edges(known, at=at) if at < edge <= at + LOOKED_AHEAD)
    return next((edge for edge in edges if barred_by(known, at=edge) is None), None)


def spans(rules: Iterable[NoCut], *, since: datetime, until: datetime) -> list[tuple[datetime, datetime, NoCut]]:
    """Return when nobody may be cut off between two moments, each span with the rule that comes first in it."""
    known = tuple(rules)
    found: list[tuple[datetime, datetime, NoCut]] = []
    edges = [since, *sorted(edge for edge in _edges(known, at=since) if since < edge < until), until]
    for begin, end in pairwise(edges):
        rule = barred_by(known, at=begin)
        if rule is None:
            continue
        if found and found[-1][1] == begin:
            found[-1] = (found[-1][0], end, found[-1][2])
        else:
            found.append((begin, end, rule))
    return found


def _bars(rule: NoCut, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(rule.zone))
    today = local.date()
    if rule.bar is Bar.HOURS:
        return _in_hours(rule, local)
    if not _in_force(rule, today):
        return False
    match rule.bar:
        case Bar.WEEKENDS:
            return today.weekday() >= _FIRST_DAY_OF_WEEKEND and not _makes_up(rule.country, today)
        case Bar.HOLIDAYS:
            return _is_holiday(rule.country, today)
        case Bar.HOLIDAY_EVES:
            return not _is_holiday(rule.country, today) and _is_holiday(rule.country, today + _DAY)
        case _:
            return today == rule.day


def _in_hours(rule: NoCut, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    first, last = rule.from_minute or 0, rule.until_minute or 0
    if first < last:
        return first <= minute < last and _in_force(rule, local.date())
    if minute >= first:
        return _in_force(rule, local.date())
    return minute < last and _in_force(rule, local.date() - _DAY)


def _in_force(rule: NoCut, day: date) -> bool:
    return rule.valid_from <= day and (rule.valid_until is None or day <= rule.valid_until)


def _edges(rules: tuple[NoCut, ...], *, at: datetime) -> Iterator[datetime]:
    """Name every moment at which a rule may begin or end to bar."""
    for rule in rules:
        zone = ZoneInfo(rule.zone)
        first = at.astimezone(zone).date()
        minutes = [rule.from_minute, rule.until_minute] if rule.bar is Bar.HOURS else [0]
        for number in range(LOOKED_AHEAD.days + 2):
            day = first + number * _DAY
            for minute in minutes:
                local = datetime.combine(day, time(), tzinfo=zone) + timedelta(minutes=minute or 0)
                yield local.astimezone(UTC)


@cache
def _days_of(country: str) -> holidays.HolidayBase:
    return holidays.country_holidays(country)


def _is_holiday(country: str, day: date) -> bool:
    return day in _days_of(country)


def _makes_up(country: str, day: date) -> bool:
    """Whether a day of a weekend is a working day that makes up for a holiday."""
    known = _days_of(country)
    _ = day in known  # so that its year is known
    return day in known.weekend_workdays
