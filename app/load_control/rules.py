"""Which stage a supply point is in and what is done next, from facts alone, with every reason named."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.customers.rules import ControlMode
from app.load_control.facts import Cut, Facts, NoticeGiven, Stage
from app.load_control.reasons import Reason
from app.notices.rules import NoticeKind
from app.quantities import SECONDS_PER_HOUR

ROUND_PAUSE = timedelta(minutes=1)
LOOK_AGAIN = timedelta(hours=1)
WRITTEN_LAPSES = timedelta(days=30)
SECOND_LAPSES = timedelta(days=1)
#: No counter ever gets so far beyond what was paid: a level for a terminal that is to act on none.
UNWATCHED_WH = -(10**15)


@dataclass(frozen=True, kw_only=True)
class NoticeDue:
    kind: NoticeKind
    cut_not_before: datetime


@dataclass(frozen=True, kw_only=True)
class StageDecision:
    """The stage, why, what holds harsher steps back, what is due, and when to look again."""

    stage: Stage
    because: tuple[Reason, ...]
    held: tuple[Reason, ...] = ()
    notice_due: NoticeDue | None = None
    trip_round: int | None = None
    look_again_at: datetime
    look_again_at_wh: int | None = None


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The thresholds in Wh at the recent load, each at least as high as the next harsher one."""

    notice: int
    warning: int
    limited: int
    trip: int

    def of(self, stage: Stage) -> int:
        return (self.notice, self.warning, self.limited, self.trip)[stage - 1]


def levels(facts: Facts) -> Levels:
    """Turn thresholds into Wh, and make sure that the notice comes early enough.

    At 500 kW, a written notice of 72 h and a second one of 30 min need 72.5 h x 500 kW = 36 250 kWh above the trip
    threshold, even where the contract's own notice threshold is lower: no cut comes late for want of a notice.
    While an account is being closed no level is watched, since the energy is taken back and nothing may trip.
    """
    if facts.closing:
        return Levels(notice=UNWATCHED_WH, warning=UNWATCHED_WH, limited=UNWATCHED_WH, trip=UNWATCHED_WH)
    load_w = max(facts.recent_load_w, 0)
    trip = facts.thresholds.trip.level_wh(recent_load_w=load_w)
    limited = max(trip, facts.thresholds.limited.level_wh(recent_load_w=load_w))
    warning = max(limited, facts.thresholds.warning.level_wh(recent_load_w=load_w))
    needed_s = facts.notice_periods.written_s + facts.notice_periods.second_s
    in_time = trip + load_w * needed_s // SECONDS_PER_HOUR
    notice = max(warning, in_time, facts.thresholds.notice.level_wh(recent_load_w=load_w))
    return Levels(notice=notice, warning=warning, limited=limited, trip=trip)


def threatened(facts: Facts) -> bool:
    """Whether the remaining allowance is at or below the trip threshold: 0 Wh left with a threshold of 0 is."""
    return facts.remaining_wh <= levels(facts).trip


def level_that_acts(facts: Facts) -> int:
    """Return the lowest remaining energy in Wh at which the terminal does nothing yet.

    A terminal in local mode trips by itself, so what the notices need must stay, at the load that its rounds can
    draw: a factory that stands still on Sunday has hours of supply for ever. In remote mode with a trip level of 0:
    1 Wh.
    """
    connected_w = max(facts.recent_load_w, sum(fitted.load_w for fitted in facts.rounds))
    local = facts.control_mode is ControlMode.LOCAL
    level_wh = levels(replace(facts, recent_load_w=connected_w)).notice if local else levels(facts).trip
    return level_wh + 1


def forecast_trip_at(facts: Facts, *, now: datetime) -> datetime | None:
    """Return when the allowance will reach the trip threshold at the recent load, or None without load.

    10 000 kWh above the threshold at 500 kW: in 20 h.
    """
    if facts.recent_load_w <= 0 or facts.supplied_wh is None:
        return None
    above_wh = max(facts.remaining_wh - levels(facts).trip, 0)
    seconds = min(above_wh * SECONDS_PER_HOUR // facts.recent_load_w, 10 * 366 * 24 * SECONDS_PER_HOUR)
    return now + timedelta(seconds=seconds)


def decide_stage(facts: Facts, *, now: datetime) -> StageDecision:
    """Decide the stage of a supply point and the next step.

    The remaining allowance names the stage that is due: at or below the level of a stage, that stage. A protected
    or guaranteed point never goes beyond a warning. A limit or trip further waits while anything in
    :func:`obstacles` stands. Without a purchase a stage never softens, or a limit would lift itself by
    lowering the load. Nothing is controlled before the first purchase.
    With 20 000 kWh left and thresholds of 50 000, 30 000, 10 000 and 0: warning. While an account is being closed:
    normal.
    """
    if facts.closing:
        return StageDecision(stage=Stage.NORMAL, because=(Reason("closing"),), look_again_at=now + LOOK_AGAIN)
    if facts.supplied_wh is None or not facts.started:
        reason = Reason("no_report_yet" if facts.started else "not_started")
        return StageDecision(
            stage=facts.stage,
            because=(reason,),
            look_again_at=now + LOOK_AGAIN,
            # After an exchange of the terminal the first report of the new one is news, whatever it says.
            look_again_at_wh=0 if facts.started and facts.supplied_wh is None else None,
        )
    at = levels(facts)
    due, because = _stage_due(facts, at)
    stage, held = _stage_allowed(facts, at, due=due, now=now)
    trip_round, round_held = _next_round(facts, now=now) if stage is Stage.TRIPPED and not held else (None, None)
    if round_held is not None:
        held = (*held, round_held)
    softer_than_tripped = [level for level in Stage if level > due]
    return StageDecision(
        stage=stage,
        because=because,
        held=held,
        notice_due=_notice_due(facts, due=due, now=now),
        trip_round=trip_round,
        look_again_at=_look_again_at(facts, due=due, now=now),
        look_again_at_wh=facts.paid_until_wh - at.of(softer_than_tripped[0]) if softer_than_tripped else None,
    )


def _stage_due(facts: Facts, at: Levels) -> tuple[Stage, tuple[Reason, ...]]:
    remaining_wh = facts.remaining_wh
    due = max(
        (stage for stage in Stage if stage > Stage.NORMAL and remaining_wh <= at.of(stage)), default=Stage.NORMAL
    )
    if due < facts.stage and facts.paid_until_wh <= facts.stage_paid_until_wh:
        return facts.stage, (Reason("held_until_purchase", stage=facts.stage.word, remaining_wh=remaining_wh),)
    if due is Stage.NORMAL:
        return due, (Reason("above_thresholds", remaining_wh=remaining_wh, level_wh=at.notice),)
    return due, (Reason("at_or_below", stage=due.word, remaining_wh=remaining_wh, level_wh=at.of(due)),)


def _stage_allowed(facts: Facts, at: Levels, *, due: Stage, now: datetime) -> tuple[Stage, tuple[Reason, ...]]:
    if due < Stage.LIMITED:
        return due, ()
    barred = _never_cut(facts)
    if barred:
        return Stage.WARNING, barred
    stage = Stage.WARNING
    for cut, harsher in ((Cut.LIMIT, Stage.LIMITED), (Cut.TRIP, Stage.TRIPPED)):
        if due < harsher:
            return stage, ()
        held = obstacles(facts, at, cut=cut, now=now)
        if held:
            return max(stage, min(facts.stage, due)), held
        stage = harsher
    return stage, ()


def _never_cut(facts: Facts) -> tuple[Reason, ...]:
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
    found = list(_never_cut(facts))
    if facts.control_mode is ControlMode.LOCAL:
        found.append(Reason("terminal_decides"))
    found += _unsure(facts, now=now)
    # A limit lowers the load and with it the level in hours of supply; the trip level depends on no load.
    holds_limit = cut is Cut.LIMIT and facts.stage >= Stage.LIMITED
    level_wh = at.trip if cut is Cut.TRIP else at.limited
    if not holds_limit and facts.remaining_wh > level_wh:
        found.append(Reason("threshold_not_reached", remaining_wh=facts.remaining_wh))
    if facts.remaining_wh <= level_wh < facts.remaining_wh + facts.refunding_wh:
        found.append(Reason("refund_unproved", refunding_wh=facts.refunding_wh))
    found += _notice_wanting(facts, cut=cut, now=now)
    return tuple(found)


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


def _standing_notices(facts: Facts, *, now: datetime) -> tuple[NoticeGiven | None, NoticeGiven | None]:
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
    written, second = _standing_notices(facts, now=now)
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


def _notice_due(facts: Facts, *, due: Stage, now: datetime) -> NoticeDue | None:
    if due < Stage.NOTICE or _never_cut(facts):
        return None
    periods = facts.notice_periods
    written, second = _standing_notices(facts, now=now)
    if written is None:
        return NoticeDue(kind=NoticeKind.WRITTEN, cut_not_before=now + timedelta(seconds=periods.written_s))
    written_from = written.cut_from(period_s=periods.written_s)
    if threatened(facts) and second is None and written_from is not None:
        earliest = max(now, written_from - timedelta(seconds=periods.second_s))
        if now >= earliest and facts.control_mode is ControlMode.REMOTE:
            return NoticeDue(kind=NoticeKind.SECOND, cut_not_before=now + timedelta(seconds=periods.second_s))
    return None


def _next_round(facts: Facts, *, now: datetime) -> tuple[int | None, Reason | None]:
    """Choose the least important round that is still closed, while more than the safe load is running.

    Essential load is wired to no round, so it stays whatever is tripped; the safe load stops the series early where
    that little is left. With 411 kW running and a safe load of 40 kW the next round goes; with 38 kW it stays.
    Source: a power trip is considered only while the group's power is at or above the safe load (domain practice).
    """
    if any(one.in_flight for one in facts.rounds):
        return None, Reason("round_in_flight")
    closed = sorted((one for one in facts.rounds if one.relay == "1"), key=lambda one: (one.importance, one.round))
    if not closed:
        return None, None
    # A round that has just refused steps back, so that it does not keep the others from their turn.
    ready = [one for one in closed if not _rests(facts, one.trip_failed_at, now=now)]
    if not ready:
        return None, Reason("retry_pause", until=(now + facts.retry_after).isoformat())
    if facts.last_trip_at is not None and now - facts.last_trip_at < ROUND_PAUSE:
        return None, Reason("round_pause", until=(facts.last_trip_at + ROUND_PAUSE).isoformat())
    power_w = facts.active_power_w or 0
    if power_w <= facts.safe_load_w:
        return None, Reason("safe_load_kept", active_power_w=power_w, safe_load_w=facts.safe_load_w)
    return ready[0].round, None


def _rests(facts: Facts, failed_at: datetime | None, *, now: datetime) -> bool:
    """Whether a command came to nothing so lately that the next try waits."""
    return failed_at is not None and now - failed_at < facts.retry_after


def _look_again_at(facts: Facts, *, due: Stage, now: datetime) -> datetime:
    moments = [now + LOOK_AGAIN]
    of_rounds = (moment for one in facts.rounds for moment in (one.trip_failed_at, one.close_failed_at))
    failures = (facts.credit_failed_at, facts.limit_failed_at, *of_rounds)
    if any(_rests(facts, failed_at, now=now) for failed_at in failures):
        moments.append(now + facts.retry_after)
    if due is Stage.TRIPPED:
        moments.append(now + facts.retry_after)
        periods = facts.notice_periods
        for given, period_s in (
            (facts.written_notice, periods.written_s),
            (facts.written_notice, periods.written_s - periods.second_s),
            (facts.second_notice, periods.second_s),
        ):
            cut_from = given.cut_from(period_s=period_s) if given else None
            if cut_from is not None and cut_from > now:
                moments.append(cut_from)
    return min(moments)


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
    found = [reason for reason in _never_cut(facts) if cut is not Cut.GUARANTEE_OFF or reason.code != "guaranteed"]
    found += _unsure(facts, now=now)
    lets_trip = facts.control_mode is ControlMode.LOCAL and cut in (Cut.CONTROL, Cut.GUARANTEE_OFF)
    if lets_trip and facts.taking_back:
        found.append(Reason("not_taken_over"))
    if cut is Cut.TRIP or (lets_trip and threatened(facts)):
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


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command that the decision asks for; ``op`` and ``args`` as the terminal protocol has them."""

    op: str
    args: dict[str, Any]


def steps(decision: StageDecision, facts: Facts, *, now: datetime) -> tuple[Step, ...]:
    """Name the commands that bring the site to where the decision wants it, and none that is there already.

    Limited at a contract limit of 300 kW, terminal without limit: set 300 kW. Normal with round 2 tripped by the
    service: allow round 2 to close. What a person tripped or limited stays until a person takes it back. A credit
    that came to nothing is sent again as a new command for as long as the terminal holds less than the books.
    """
    wanted = _credit_steps(facts, now=now)
    if facts.control_mode is ControlMode.REMOTE:
        wanted += _limit_steps(decision, facts, now=now)
    if decision.trip_round is not None:
        args = {"round": decision.trip_round, "alarm_delay_min": 0, "limit_min": 0, "safe_load_w": facts.safe_load_w}
        wanted.append(Step(op="trip", args=args))
    if decision.stage < Stage.TRIPPED and facts.control_mode is ControlMode.REMOTE:
        wanted += [
            Step(op="close", args={"round": one.round, "manner": "allow"})
            for one in facts.rounds
            if one.tripped_by_service
            and (one.relay == "0" or one.trip_in_flight)
            and not one.close_in_flight
            and not _rests(facts, one.close_failed_at, now=now)
        ]
    return tuple(wanted)


def _credit_steps(facts: Facts, *, now: datetime) -> list[Step]:
    # A terminal that holds more than the books is lowered for a refund or a closing only: after a restore from
    # yesterday's backup it holds what was paid for today.
    owed = facts.started and (facts.credit_undelivered or facts.taking_back)
    if not owed or facts.credit_in_flight or _rests(facts, facts.credit_failed_at, now=now):
        return []
    at = levels(facts)
    args = {
        "order_no": facts.order_no,
        "mode": "refresh" if facts.taking_back else "append",
        "value_wh": facts.paid_until_wh - facts.terminal_paid_until_wh,
        "paid_until_wh": facts.paid_until_wh,
        "alarm_wh": at.warning,
        "trip_wh": at.trip,
    }
    return [Step(op="credit", args=args)]


def _limit_steps(decision: StageDecision, facts: Facts, *, now: datetime) -> list[Step]:
    if facts.limit_in_flight or _rests(facts, facts.limit_failed_at, now=now):
        return []
    may_limit = not obstacles(facts, levels(facts), cut=Cut.LIMIT, now=now)
    if decision.stage >= Stage.LIMITED and facts.limit_w is None and may_limit:
        args = {"power_w": facts.contract_limit_w, "alarm_delay_min": 0, "safe_load_w": facts.safe_load_w}
        return [Step(op="limit", args=args)]
    if decision.stage < Stage.LIMITED and facts.limit_w is not None and facts.limit_by_service:
        return [Step(op="limit", args={"power_w": None, "alarm_delay_min": 0})]
    return []
