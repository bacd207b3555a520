"""How many cuts, and how much power, an hour may bring before a person must look, in each place and in all."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from app.errors import Conflict

WINDOW = timedelta(hours=1)


class Scope(StrEnum):
    """Over what the brake counts; a brake that is on holds every cut in its scope."""

    ALL = "all"
    OFFICE = "office"
    FEEDER = "feeder"
    OPERATOR = "operator"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What may go out within an hour in one scope: so many cuts, and so much power in W."""

    scope: Scope
    cuts: int
    power_w: int


@dataclass(frozen=True, kw_only=True)
class LetThrough:
    """What went out in one place within the last hour, since the brake was last released there; power in W."""

    scope: Scope
    place: str
    cuts: int = 0
    power_w: int = 0


def in_words(scope: Scope, place: str) -> str:
    """Say where: ``feeder F17``, and ``all`` where there is no place."""
    return f"{scope} {place}".strip()


class BrakeOn(Conflict):
    title = "The brake is on there already"

    def __init__(self, *, scope: Scope, place: str) -> None:
        super().__init__(
            f"The brake is on already for {in_words(scope, place)}.",
            remedy="Release it first (POST /api/v1/brake/pulls/{pull_id}/release), once somebody has looked.",
            scope=scope.value,
            place=place,
        )


class BrakeReleased(Conflict):
    title = "The brake is off already"

    def __init__(self, *, released_by: str) -> None:
        super().__init__(
            f"{released_by} has released this brake already.",
            remedy="Nothing needs to be done; GET /api/v1/brake shows what is on.",
            released_by=released_by,
        )


class OwnPull(Conflict):
    """Who stops cuts for a doubt does not end the doubt alone."""

    title = "Another person releases this brake"

    def __init__(self) -> None:
        super().__init__(
            "You have pulled this brake, or it holds your own cuts; a second person looks before they go on.",
            remedy="Ask another approver to release it.",
        )


def raises(limit: Limit, *, above: Limit) -> bool:
    """Tell whether an hour would bring more than before: 10 cuts of 6 MW above 10 of 5 MW, or 11 of 4 MW."""
    return limit.cuts > above.cuts or limit.power_w > above.power_w


def exceeded(through: LetThrough, limit: Limit, *, power_w: int) -> bool:
    """Tell whether one more cut of ``power_w`` would be more than an hour may bring.

    With 5 cuts or 5 000 000 W an hour: a sixth cut is too many, and so is a second one of 3 000 000 W. The first cut
    passes whatever its power, or a large works could never be cut at all.
    """
    if through.cuts >= limit.cuts:
        return True
    return through.cuts > 0 and through.power_w + power_w > limit.power_w


def first_exceeded(
    through: Iterable[LetThrough], limits: Iterable[Limit], *, power_w: int
) -> tuple[LetThrough, Limit] | None:
    """Return the place where one more cut would be too many, the narrowest first; None where it may go out."""
    by_scope = {limit.scope: limit for limit in limits}
    widest_last = (Scope.FEEDER, Scope.OPERATOR, Scope.OFFICE, Scope.ALL)
    for one in sorted(through, key=lambda place: widest_last.index(place.scope)):
        limit = by_scope[one.scope]
        if exceeded(one, limit, power_w=power_w):
            return one, limit
    return None
