"""Exact counting: power times microseconds in whole numbers, rates by the hour, demand by the quarter."""

from datetime import datetime, timedelta
from math import isqrt

from app.mqtt.messages import MeterReading, RateRegisters
from simulators.load_shapes import BLOCK_S, SITE_ZONE
from simulators.memory import Metered

W_US_PER_WH = 3_600_000_000
_MICROSECOND = timedelta(microseconds=1)
_RATE_NAMES = {"s": "sharp", "p": "peak", "f": "flat", "v": "valley"}


def reactive_ppm(power_factor_percent: int) -> int:
    """Return reactive over active power in millionths: 92 percent → 425998."""
    return isqrt((10_000 - power_factor_percent**2) * 10**12) // power_factor_percent


class Meter:
    """Counts into the registers that it is given; power is taken as constant over each call."""

    def __init__(self, metered: Metered, *, meter_no: str, rate_hours: str, power_factor_percent: int) -> None:
        self._metered = metered
        self._meter_no = meter_no
        self._rate_hours = rate_hours
        self._reactive_ppm = reactive_ppm(power_factor_percent)

    def count(self, power_w: int, *, until: datetime) -> None:
        """Count ``power_w`` from the last moment counted to ``until``, both in the same quarter of the hour."""
        metered = self._metered
        span_us = (until - metered.metered_at) // _MICROSECOND
        work_w_us = power_w * span_us
        supplied_wh, metered.rest_w_us = divmod(metered.rest_w_us + work_w_us, W_US_PER_WH)
        metered.supplied_wh += supplied_wh
        rate = _RATE_NAMES[self._rate_hours[metered.metered_at.astimezone(SITE_ZONE).hour]]
        setattr(metered, rate, getattr(metered, rate) + supplied_wh)
        reactive = work_w_us * self._reactive_ppm // 1_000_000 + metered.reactive_rest_var_us
        reactive_varh, metered.reactive_rest_var_us = divmod(reactive, W_US_PER_WH)
        metered.reactive_varh += reactive_varh
        metered.demand_w_us += work_w_us
        metered.metered_at = until
        self._close_demand_period(until)

    def reading(self) -> MeterReading:
        metered = self._metered
        return MeterReading(
            meter_no=self._meter_no,
            active_import_wh=RateRegisters(
                sharp=metered.sharp,
                peak=metered.peak,
                flat=metered.flat,
                valley=metered.valley,
                total=metered.sharp + metered.peak + metered.flat + metered.valley,
            ),
            reactive_import_varh=metered.reactive_varh,
            reactive_export_varh=0,
            max_demand_w=metered.max_demand_w,
            max_demand_at=metered.max_demand_at,
        )

    def time_to(self, energy_wh: int, *, power_w: int) -> timedelta | None:
        """Return how long it takes at this power until ``energy_wh`` more are counted; None for never."""
        if power_w <= 0 or energy_wh <= 0:
            return None
        missing_w_us = energy_wh * W_US_PER_WH - self._metered.rest_w_us
        span_us = -(-missing_w_us // power_w)
        return timedelta(microseconds=span_us) if span_us < BLOCK_S * 1_000_000 else None

    def _close_demand_period(self, at: datetime) -> None:
        if at.timestamp() % BLOCK_S:
            return
        metered = self._metered
        demand_w = metered.demand_w_us // (BLOCK_S * 1_000_000)
        metered.demand_w_us = 0
        if demand_w > metered.max_demand_w or _month_ended(metered.max_demand_at) != _month_ended(at):
            metered.max_demand_w, metered.max_demand_at = demand_w, at


def _month_ended(at: datetime) -> tuple[int, int]:
    """Return the month at the site in which a demand period ends; midnight belongs to the day before."""
    inside = (at - _MICROSECOND).astimezone(SITE_ZONE)
    return inside.year, inside.month
