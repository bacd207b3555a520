"""Which stage a supply point is in and what is done next, from facts alone, with every reason named."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.calendars.rules import next_allowed
from app.customers.rules import ControlMode
from app.load_control.facts import Cut, Facts, Stage
from app.load_control.interlocks import never_cut, not_permitted, obstacles, standing_notices
from app.load_control.levels import Levels, levels, threatened
from app.load_control.reasons import Reason
from app.notices.rules import NoticeKind
from app.quantities import SECONDS_PER_HOUR

ROUND_PAUSE = timedelta(minutes=1)
LOOK_AGAIN = timedelta(hours=1)


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
    barred = never_cut(facts)
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


def _notice_due(facts: Facts, *, due: Stage, now: datetime) -> NoticeDue | None:
    if due < Stage.NOTICE or never_cut(facts):
        return None
    remote = facts.control_mode is ControlMode.REMOTE
    # A terminal in local mode trips whatever the policy says; elsewhere a notice would tell of what cannot come.
    if remote and not_permitted(facts, cut=Cut.LIMIT):
        return None
    periods = facts.notice_periods
    written, second = standing_notices(facts, now=now)
    if written is None:
        return _announced(facts, NoticeKind.WRITTEN, now + timedelta(seconds=periods.written_s))
    written_from = written.cut_from(period_s=periods.written_s)
    if threatened(facts) and second is None and written_from is not None:
        earliest = max(now, written_from - timedelta(seconds=periods.second_s))
        if now >= earliest and remote and not not_permitted(facts, cut=Cut.TRIP):
            return _announced(facts, NoticeKind.SECOND, now + timedelta(seconds=periods.second_s))
    return None


def _announced(facts: Facts, kind: NoticeKind, earliest: datetime) -> NoticeDue:
    """Announce a cut for the first moment at which it may come: the customer prepares for that time.

    With a second notice of 30 min, given at 17:45 where nobody is cut off from 18:00 to 08:00: for 08:00.
    """
    return NoticeDue(kind=kind, cut_not_before=next_allowed(facts.no_cut, at=earliest) or earliest)


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
