"""What stands against a cut, each thing by its name; asked before one is decided on, and again at the last moment."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from app.calendars.rules import barred_by, next_allowed
from app.customers.rules import ControlMode
from app.load_control.facts import Cut, Facts, NoticeGiven, Stage
from app.load_control.levels import Levels, levels, threatened
from app.load_control.reasons import Reason

WRITTEN_LAPSES = timedelta(days=30)
SECOND_LAPSES = timedelta(days=1)


def never_cut(facts: Facts) -> tuple[Reason, ...]:
    reasons = []
    if facts.closing:
        reasons.append(Reason("closing"))
    if facts.protected:
        reasons.append(Reason("protected"))
    if facts.guaranteed:
        reasons.append(Reason("guaranteed"))
    return tuple(reasons)


def obstacles(facts: Facts, at: Levels, *, cut: Cut, now: datetime) -> tuple[Reason, ...]:
    """Name everything that stands against an automatic limit or trip now; empty when nothing does."""
    found = list(never_cut(facts))
    if facts.control_mode is ControlMode.LOCAL:
        found.append(Reason("terminal_decides"))
    found += not_permitted(facts, cut=cut)
    found += _unsure(facts, now=now)
    # A limit lowers the load and with it the level in hours of supply; the trip level depends on no load.
    holds_limit = cut is Cut.LIMIT and facts.stage >= Stage.LIMITED
    level_wh = at.trip if cut is Cut.TRIP else at.limited
    if not holds_limit and facts.remaining_wh > level_wh:
        found.append(Reason("threshold_not_reached", remaining_wh=facts.remaining_wh))
    if facts.remaining_wh <= level_wh < facts.remaining_wh + facts.refunding_wh:
        found.append(Reason("refund_unproved", refunding_wh=facts.refunding_wh))
    if cut is Cut.TRIP:
        found += _barred(facts, now=now)
    found += _notice_wanting(facts, cut=cut, now=now)
    return tuple(found)


def not_permitted(facts: Facts, *, cut: Cut) -> tuple[Reason, ...]:
    """Say why the service may not limit or trip by itself here; empty where the policy in force lets it."""
    policy = facts.policy
    if policy is None:
        return (Reason("no_policy"),)
    permitted = policy.automatic_trips if cut is Cut.TRIP else policy.automatic_limits
    return () if permitted else (Reason("policy_forbids", version=policy.version),)


def _unsure(facts: Facts, *, now: datetime) -> list[Reason]:
    found = []
    if facts.estimated:
        found.append(Reason("estimate"))
    if facts.supplied_at is None or now - facts.supplied_at > facts.report_valid_for:
        found.append(Reason("stale_report", reported_at=facts.supplied_at.isoformat() if facts.supplied_at else ""))
    if facts.credit_undelivered:
        found.append(Reason("credit_undelivered"))
    if not facts.reachable:
        found.append(Reason("unreachable"))
    if facts.braked is not None:
        found.append(Reason("brake_on", where=facts.braked))
    return found


def _barred(facts: Facts, *, now: datetime) -> list[Reason]:
    rule = barred_by(facts.no_cut, at=now)
    if rule is None:
        return []
    until = next_allowed(facts.no_cut, at=now)
    return [Reason("no_cut_time", rule=rule.words, until=until.isoformat() if until else "")]


def standing_notices(facts: Facts, *, now: datetime) -> tuple[NoticeGiven | None, NoticeGiven | None]:
    """Return the written and the second notice that still hold.

    A notice lapses when no cut has followed for long after its time, 30 days or 1 day: the customer no longer reckons
    with it. A second notice for Monday 08:00 permits no first trip on Tuesday at 08:01.
    """
    periods = facts.notice_periods
    return (
        _unless_lapsed(facts, facts.written_notice, period_s=periods.written_s, after=WRITTEN_LAPSES, now=now),
        _unless_lapsed(facts, facts.second_notice, period_s=periods.second_s, after=SECOND_LAPSES, now=now),
    )


def _unless_lapsed(
    facts: Facts, given: NoticeGiven | None, *, period_s: int, after: timedelta, now: datetime
) -> NoticeGiven | None:
    cut_from = given.cut_from(period_s=period_s) if given else None
    if cut_from is None:
        return given
    begun = facts.last_trip_at is not None and facts.last_trip_at >= cut_from
    return None if not begun and now - cut_from > after else given


def _notice_wanting(facts: Facts, *, cut: Cut, now: datetime) -> list[Reason]:
    written, second = standing_notices(facts, now=now)
    if written is None:
        return [Reason("no_notice")]
    written_from = written.cut_from(period_s=facts.notice_periods.written_s)
    if written_from is None:
        return [Reason("notice_not_served")]
    if cut is Cut.LIMIT:
        return []
    if now < written_from:
        return [Reason("notice_period", until=written_from.isoformat())]
    second_from = second.cut_from(period_s=facts.notice_periods.second_s) if second else None
    if second_from is None:
        return [Reason("second_notice_not_served" if second else "no_second_notice")]
    if now < second_from:
        return [Reason("second_notice_period", until=second_from.isoformat())]
    return []


def why_not_cut(facts: Facts, *, cut: Cut, automatic: bool, now: datetime) -> tuple[Reason, ...]:
    """Check a cut at the last moment: everything that forbids it now, or nothing.

    An automatic one needs all that the decision needed. One ordered by a person needs no threshold and no forecast,
    but a protected or guaranteed point, an undelivered purchase and unsure facts stop it as well. A trip needs its
    notice served and its periods run out, and so does whatever lets a terminal in local mode trip at once: control
    enabled, or a guarantee taken off, at or below the trip threshold. That terminal must also have taken over what
    the books say: until then it trips by levels of its own. Only taking off the guarantee ignores the guarantee.
    """
    if automatic:
        return obstacles(facts, levels(facts), cut=cut, now=now)
    found = [reason for reason in never_cut(facts) if cut is not Cut.GUARANTEE_OFF or reason.code != "guaranteed"]
    found += _unsure(facts, now=now)
    lets_trip = facts.control_mode is ControlMode.LOCAL and cut in (Cut.CONTROL, Cut.GUARANTEE_OFF)
    if lets_trip and facts.taking_back:
        found.append(Reason("not_taken_over"))
    if cut is Cut.TRIP or (lets_trip and threatened(facts)):
        found += _barred(facts, now=now)
        found += _notice_wanting(facts, cut=Cut.TRIP, now=now)
    return tuple(found)


def power_at_stake(facts: Facts, *, cut: Cut, args: Mapping[str, Any]) -> int:
    """Return the power in W that a trip or a limit takes away, as the brake counts it.

    A trip takes what its round is said to draw, or all that runs if nobody has said; a limit what runs above it.
    At 411 kW running: round 2 of 120 kW takes 120 000, a limit of 300 kW takes 111 000.
    """
    running_w = max(facts.active_power_w or 0, 0)
    if cut is Cut.LIMIT:
        return max(running_w - int(args["power_w"]), 0)
    drawn_w = next((one.load_w for one in facts.rounds if one.round == args["round"]), 0)
    return drawn_w or running_w
