"""Spans of time as cases write them: seconds of the machine, minutes of the terminal's own clock."""

import re
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

_WRITTEN = re.compile(r"(-?\d+(?:\.\d+)?) (s|min|h)")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


class Span(NamedTuple):
    """`machine_s` of what machines live through, `clock_s` of what the terminal's clock shows."""

    machine_s: float
    clock_s: float

    @property
    def whole(self) -> timedelta:
        """The span where both run alike, as on a real terminal."""
        return timedelta(seconds=self.machine_s + self.clock_s)


def read(written: Any) -> Span:
    """Read `10 s`, `2 min` or `-1 h`; seconds are the machine's, minutes and hours the terminal's clock's.

    Raises:
        ValueError: it is written otherwise.
    """
    if isinstance(written, Span):
        return written
    found = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        raise ValueError("write a span as a number and a unit: 10 s, 2 min, -1 h")
    amount = float(found[1]) * _SECONDS[found[2]]
    return Span(amount, 0) if found[2] == "s" else Span(0, amount)


WrittenSpan = Annotated[Span, BeforeValidator(read)]
