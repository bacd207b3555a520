"""How the load of a site runs over the week: pure functions of the time, the shape and a seed."""

import zlib
from datetime import datetime, timedelta, timezone
from enum import StrEnum

#: Load is constant within one block; blocks start at full quarters of the hour.
BLOCK_S = 900
#: The hours of work and of the rates are those of the sites.
SITE_ZONE = timezone(timedelta(hours=8))

_NOISE_PERMILLE = 30
_SATURDAY = 5


class Shape(StrEnum):
    STEADY = "steady"
    TWO_SHIFT = "two_shift"
    THREE_SHIFT = "three_shift"
    MALL = "mall"
    HOSPITAL = "hospital"
    OFFICE = "office"
    NIGHT_FURNACE = "night_furnace"


_Day = tuple[int, ...]
#: Percent of the rated power for each hour of a working day.
_WORKING_DAY: dict[Shape, _Day] = {
    Shape.STEADY: (80,) * 24,
    Shape.TWO_SHIFT: (12,) * 6 + (45, 78, 82, 85, 85, 70, 72, 84, 85, 86, 84, 80, 76, 80, 82, 78, 50, 18),
    Shape.THREE_SHIFT: (84,) * 6 + (70, 82, 90, 92, 92, 85, 86, 92, 92, 90, 74, 86, 90, 90, 88, 86, 72, 84),
    Shape.MALL: (10,) * 7 + (15, 25, 50, 75, 82, 85, 86, 85, 84, 84, 86, 90, 90, 84, 65, 25, 12),
    Shape.HOSPITAL: (48,) * 6 + (55, 66, 80, 86, 88, 85, 80, 84, 86, 84, 78, 70, 65, 62, 58, 55, 52, 50),
    Shape.OFFICE: (8,) * 7 + (20, 55, 78, 82, 80, 70, 78, 82, 80, 76, 60, 35, 22, 16, 12, 10, 8),
    Shape.NIGHT_FURNACE: (95,) * 7 + (60, 25, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 25, 40, 85, 95),
}
#: Percent of the working day's load that stays on Saturday and on Sunday.
_WEEKEND_PERCENT: dict[Shape, tuple[int, int]] = {
    Shape.STEADY: (100, 100),
    Shape.TWO_SHIFT: (80, 25),
    Shape.THREE_SHIFT: (100, 95),
    Shape.MALL: (112, 110),
    Shape.HOSPITAL: (85, 75),
    Shape.OFFICE: (35, 20),
    Shape.NIGHT_FURNACE: (100, 60),
}


def block_of(at: datetime) -> int:
    """Return the number of the block that holds ``at``, counted from 1970."""
    return int(at.timestamp()) // BLOCK_S


def next_block_at(at: datetime) -> datetime:
    return datetime.fromtimestamp((block_of(at) + 1) * BLOCK_S, tz=at.tzinfo)


def load_permille(shape: Shape, *, at: datetime, seed: int) -> int:
    """Return the load in thousandths of the rated power: the same for the same block and seed, always."""
    local = at.astimezone(SITE_ZONE)
    permille = _WORKING_DAY[shape][local.hour] * 10
    if local.weekday() >= _SATURDAY:
        permille = permille * _WEEKEND_PERCENT[shape][local.weekday() - _SATURDAY] // 100
    draw = zlib.crc32(f"{seed}:{block_of(at)}".encode()) % (2 * _NOISE_PERMILLE + 1) - _NOISE_PERMILLE
    return permille * (1000 + draw) // 1000
