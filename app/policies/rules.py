"""What the service may cut by itself, how long before a cut it is told, and what a version of that must be."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.customers.rules import NoticePeriods
from app.errors import Conflict, Refused

SHORTEST_WRITTEN = timedelta(days=3)
LONGEST_WRITTEN = timedelta(days=30)
SHORTEST_SECOND = timedelta(minutes=30)
LONGEST_SECOND = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The version in force at a supply point; periods in seconds."""

    version: int
    automatic_limits: bool
    automatic_trips: bool
    written_notice_s: int
    second_notice_s: int


@dataclass(frozen=True, kw_only=True)
class NewPolicy:
    """A version to be approved: where it holds, what it rests on, what it allows.

    ``office`` is a code, None is everywhere; ``jurisdiction`` names whose rules they are, ``source`` where they are
    written; ``valid_from`` None is the moment of approval.
    """

    office: str | None
    jurisdiction: str
    source: str
    automatic_limits: bool
    automatic_trips: bool
    written_notice_s: int = int(SHORTEST_WRITTEN.total_seconds())
    second_notice_s: int = int(SHORTEST_SECOND.total_seconds())
    valid_from: datetime | None = None


class PeriodOutOfRange(Refused):
    """A slip of a digit would cut customers whom nobody has told, or never cut anybody."""

    title = "The notice period is out of range"

    def __init__(self, *, notice: str, period_s: int, shortest_s: int, longest_s: int) -> None:
        super().__init__(
            f"{period_s:,} s is not between {shortest_s:,} s and {longest_s:,} s, which a {notice} notice takes.",
            remedy=f"Choose {notice}_notice_s from {shortest_s} to {longest_s}, as the rules of the place say.",
            notice=notice,
            period_s=period_s,
            shortest_s=shortest_s,
            longest_s=longest_s,
        )


class TripsWithoutLimits(Refused):
    """The stage limited comes before the stage tripped, so without it nothing would ever be tripped."""

    title = "Automatic trips need automatic limits"

    def __init__(self) -> None:
        super().__init__(
            "The service trips only where it has limited before, and this version forbids to limit.",
            remedy="Set automatic_limits to true as well, or automatic_trips to false.",
        )


class BeginsInThePast(Refused):
    title = "The version would begin in the past"

    def __init__(self, *, valid_from: datetime, now: datetime) -> None:
        super().__init__(
            f"It is to be in force from {valid_from.isoformat()}, and it is {now.isoformat()}.",
            remedy="Leave valid_from out, so that it begins when it is approved, or choose a later moment.",
            valid_from=valid_from.isoformat(),
        )


class ApprovedByProposer(Conflict):
    title = "Another person approves this version"

    def __init__(self) -> None:
        super().__init__(
            "Who has proposed a trip policy does not approve it: two people answer for what is cut by itself.",
            remedy="Ask another approver.",
        )


def check_policy(new: NewPolicy, *, now: datetime) -> None:
    """Refuse a version that cannot be meant.

    Written notice takes 3 to 30 days (259 200 to 2 592 000 s), the second one 30 min to 24 h (1 800 to 86 400 s):
    172 800 s of written notice are refused.
    Source: provincial supply rules ask for 3 to 7 days and for 30 min; contracts may promise more, never less.

    Raises:
        PeriodOutOfRange: a period is shorter or longer than that.
        TripsWithoutLimits: it allows trips and forbids limits.
        BeginsInThePast: it would have been in force before it was approved.
    """
    for notice, period_s, shortest, longest in (
        ("written", new.written_notice_s, SHORTEST_WRITTEN, LONGEST_WRITTEN),
        ("second", new.second_notice_s, SHORTEST_SECOND, LONGEST_SECOND),
    ):
        shortest_s, longest_s = int(shortest.total_seconds()), int(longest.total_seconds())
        if not shortest_s <= period_s <= longest_s:
            raise PeriodOutOfRange(notice=notice, period_s=period_s, shortest_s=shortest_s, longest_s=longest_s)
    if new.automatic_trips and not new.automatic_limits:
        raise TripsWithoutLimits
    if new.valid_from is not None and new.valid_from < now:
        raise BeginsInThePast(valid_from=new.valid_from, now=now)


def periods_that_hold(agreed: NoticePeriods, policy: Policy | None) -> NoticePeriods:
    """Return the longer of what the contract promises and what the policy in force asks for, in seconds.

    A contract with 432 000 s and 900 s under a policy of 259 200 s and 1 800 s: 432 000 s and 1 800 s.
    """
    if policy is None:
        return agreed
    return NoticePeriods(
        written_s=max(agreed.written_s, policy.written_notice_s),
        second_s=max(agreed.second_s, policy.second_notice_s),
    )
