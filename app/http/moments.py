"""Moments in requests: written out with their time zone, never a number of seconds since 1970."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def _written_out(value: Any) -> Any:
    # Pydantic would also take a number, or one written as text, which the document does not say.
    if isinstance(value, datetime) or (isinstance(value, str) and value[10:11] in ("T", "t", " ")):
        return value
    raise ValueError("a moment is a text like 2026-03-01T00:00:00Z")


def _of_our_time(moment: datetime) -> datetime:
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("a moment lies between 2000-01-01 and 2200-01-01")
    return moment.astimezone(UTC)


WrittenMoment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
#: One at which something can be agreed or ordered; shown in UTC.
Moment = Annotated[WrittenMoment, AfterValidator(_of_our_time)]
