"""Thresholds turned into Wh at the load of the moment, and who is below them."""

from dataclasses import dataclass, replace

from app.customers.rules import ControlMode
from app.load_control.facts import Facts, Stage
from app.quantities import SECONDS_PER_HOUR

#: No counter ever gets so far beyond what was paid: a level for a terminal that is to act on none.
UNWATCHED_WH = -(10**15)


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
