"""HTTP shapes of the rules that bar cuts."""

from datetime import date, datetime
from typing import Annotated, Self
from uuid import UUID
from zoneinfo import ZoneInfo

import holidays
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.calendars.queries import RuleSeen
from app.calendars.rules import Bar, NoCut, clock_time

Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
ClockTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Day = Annotated[date, Field(ge=date(2000, 1, 1), le=date(2100, 1, 1))]


def _known_country(code: str) -> str:
    if code not in holidays.list_supported_countries():
        raise ValueError(f"no public holidays are known of {code!r}; name a country by its two letters, such as CN")
    return code


class NoCutToSet(BaseModel):
    """When nobody may be cut off, and where that is written."""

    model_config = ConfigDict(extra="forbid")

    office: str | None = Field(default=None, max_length=60, description="code of an office; null: everywhere")
    bar: Bar = Field(examples=["hours"])
    from_time: ClockTime | None = Field(default=None, description="of hours, local time", examples=["18:00"])
    until_time: ClockTime | None = Field(default=None, description="of hours; earlier: next day", examples=["08:00"])
    day: Day | None = Field(default=None, description="of a single day", examples=["2026-06-07"])
    country: Annotated[str, AfterValidator(_known_country)] = Field(default="CN", min_length=2, max_length=2)
    valid_from: Day = Field(examples=["2026-01-01"])
    valid_until: Day | None = None
    source: Words = Field(examples=["provincial supply rules, article 30"])

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.bar is Bar.HOURS) != (self.from_time is not None and self.until_time is not None):
            raise ValueError("hours need from_time and until_time, and nothing else has them")
        if self.bar is not Bar.HOURS and (self.from_time or self.until_time):
            raise ValueError("only hours have from_time and until_time")
        if self.from_time is not None and self.from_time == self.until_time:
            raise ValueError("from_time and until_time are the same; for every hour of a day, choose whole days")
        if (self.bar is Bar.DAY) != (self.day is not None):
            raise ValueError("a single day needs day, and nothing else has it")
        if self.valid_until is not None and self.valid_until < self.valid_from:
            raise ValueError("valid_until lies before valid_from")
        return self

    def rule(self, zone: ZoneInfo) -> NoCut:
        return NoCut(
            bar=self.bar,
            zone=zone.key,
            country=self.country,
            valid_from=self.valid_from,
            valid_until=self.valid_until,
            from_minute=_minute(self.from_time),
            until_minute=_minute(self.until_time),
            day=self.day,
        )


class NoCutToEnd(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Words = Field(examples=["the new provincial rules have no such hours"])


class NoCutShown(BaseModel):
    id: UUID
    office: str | None = Field(description="null: everywhere")
    bar: Bar
    from_time: str | None
    until_time: str | None
    day: date | None
    country: str
    zone: str
    valid_from: date
    valid_until: date | None
    source: str
    set_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, seen: RuleSeen) -> Self:
        rule = seen.rule
        return cls(
            id=rule.id,
            office=seen.office,
            bar=Bar(rule.bar),
            from_time=clock_time(rule.from_minute) if rule.from_minute is not None else None,
            until_time=clock_time(rule.until_minute) if rule.until_minute is not None else None,
            day=rule.day,
            country=rule.country,
            zone=rule.zone,
            valid_from=rule.valid_from,
            valid_until=rule.valid_until,
            source=rule.source,
            set_at=rule.set_at,
            ended_at=rule.ended_at,
        )


class NoCutSpan(BaseModel):
    """From when until when nobody may be cut off, and the rule that says so first."""

    begins_at: datetime
    ends_at: datetime
    rule: str = Field(examples=["18:00 to 08:00"])


class NoCutTimes(BaseModel):
    office: str
    spans: list[NoCutSpan]

    @classmethod
    def of(cls, office: str, found: list[tuple[datetime, datetime, NoCut]]) -> Self:
        shown = [NoCutSpan(begins_at=begin, ends_at=end, rule=rule.words) for begin, end, rule in found]
        return cls(office=office, spans=shown)


def _minute(clock: str | None) -> int | None:
    return int(clock[:2]) * 60 + int(clock[3:]) if clock is not None else None
