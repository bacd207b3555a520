"""How a campaign goes: in which waves, when it stops by itself, and what must not change once its list is made."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.audit.rules import canonical
from app.errors import Conflict, Forbidden, NotFound, Refused
from app.orders.rules import Action

#: One supply point shows whether it works at all, ten whether it works, fifty whether people call; then it doubles.
FIRST_WAVES = (1, 10, 50)
#: A stopped campaign of cuts is another matter the next day. Seconds of a machine's life.
RESUMED_WITHIN_S = 24 * 60 * 60
#: A list that an approver is shown is of today.
DRAFT_LASTS_S = 24 * 60 * 60
#: Each wave begins at a random moment within so many seconds, and its targets follow at random within as many.
STARTS_WITHIN_S = 20
#: What a wave still owes after so many seconds keeps the next one waiting no longer.
WAVE_LASTS_S = 150
#: Loads that come back at once start motors at once: on each feeder one supply point after the other.
FEEDER_PAUSE_S = 5

_ABORT_REFUSED_PERCENT = 2
_ABORT_UNKNOWN_PERCENT = 5
_ABORT_CALLED_BACK_PERCENT = 5

#: A target that cannot be asked for a moment is looked at again after so many seconds, until its wave has lasted.
POSTPONED_S = 15

#: What needs a second person, and what gives supply back.
CUTS = frozenset({Action.LIMIT, Action.TRIP})
RESTORES = frozenset({Action.LIFT_LIMIT, Action.ALLOW_CLOSE})


class CampaignState(StrEnum):
    """``stopped``: by a person, by itself, or by the brake; it can go on."""

    DRAFT = "draft"
    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"
    WITHDRAWN = "withdrawn"


class Progress(StrEnum):
    """How far one target is: what its command shows, or why there is none."""

    WAITING = "waiting"
    LEFT_OUT = "left_out"
    UNDER_WAY = "under_way"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CALLED_BACK = "called_back"


#: What each state of a command means for its target. A cut that was not armed in time may not have been heard.
PROGRESS = {
    "executed": Progress.DONE,
    "verified": Progress.DONE,
    "refused": Progress.REFUSED,
    "failed": Progress.REFUSED,
    "unknown": Progress.UNKNOWN,
    "expired": Progress.UNKNOWN,
    "cancelled": Progress.CALLED_BACK,
    "superseded": Progress.CALLED_BACK,
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many targets are how far."""

    waiting: int = 0
    left_out: int = 0
    under_way: int = 0
    done: int = 0
    refused: int = 0
    unknown: int = 0
    called_back: int = 0

    @property
    def ordered(self) -> int:
        return self.under_way + self.done + self.refused + self.unknown + self.called_back

    def since(self, looked_at: Mapping[str, int]) -> "Counts":
        """Leave out what somebody has looked at: 3 refused of 60, of which 2 of 40 were looked at: 1 of 20."""
        seen = Counts(**looked_at)
        refused, unknown = max(self.refused - seen.refused, 0), max(self.unknown - seen.unknown, 0)
        called_back = max(self.called_back - seen.called_back, 0)
        ordered = max(self.ordered - seen.ordered, refused + unknown + called_back)
        done = ordered - refused - unknown - called_back
        return Counts(refused=refused, unknown=unknown, called_back=called_back, done=done)


class NoSuchCampaign(NotFound):
    title = "There is no such campaign"

    def __init__(self, *, campaign_id: UUID) -> None:
        super().__init__(
            f"No campaign has the id {campaign_id}.",
            remedy="Take the id from GET /api/v1/campaigns.",
            campaign_id=str(campaign_id),
        )


class NobodyToReach(Refused):
    title = "The campaign would reach nobody"

    def __init__(self, *, looked_at: int, left_out_because: Mapping[str, int]) -> None:
        super().__init__(
            f"Of {looked_at} supply points looked at, the order would be given at none.",
            remedy="Choose other supply points; `left_out_because` counts the reasons.",
            looked_at=looked_at,
            left_out_because=dict(left_out_because),
        )


class NotInThatState(Conflict):
    title = "The campaign is not in the state for that"

    def __init__(self, *, state: CampaignState, needed: Iterable[CampaignState]) -> None:
        wanted = " or ".join(one.value for one in needed)
        super().__init__(
            f"It is {state.value}; it would have to be {wanted}.",
            remedy="Read GET /api/v1/campaigns/{id}; make a new one where this one is over.",
            state=state.value,
        )


class ListChanged(Conflict):
    """The list that was approved is not the list that is there."""

    title = "The list of targets is not the one that was made"

    def __init__(self, *, campaign_id: UUID) -> None:
        super().__init__(
            "The digest of its targets is another than when it was made.",
            remedy="Have the record looked at, withdraw the campaign, and make a new one.",
            campaign_id=str(campaign_id),
        )


class TooLateToResume(Conflict):
    title = "The campaign began too long ago"

    def __init__(self, *, started_at: datetime) -> None:
        super().__init__(
            f"It began at {started_at.isoformat()}; what was to be cut then is another matter now.",
            remedy="Make a new campaign for those that are left.",
            started_at=started_at.isoformat(),
        )


class DraftTooOld(Conflict):
    """What the dry run saw is no longer what an approver would see."""

    title = "The campaign was made too long ago"

    def __init__(self, *, made_at: datetime) -> None:
        super().__init__(
            f"Its list is of {made_at.isoformat()}.",
            remedy="Withdraw it, and make a new one for the supply points that are meant now.",
            made_at=made_at.isoformat(),
        )


class AskedByItsMaker(Forbidden):
    title = "Who made the campaign asks for it"

    def __init__(self, *, made_by: str) -> None:
        super().__init__(
            f"{made_by} has made it, and its orders go out in that name.",
            remedy="Have them ask, or make a campaign of your own.",
            made_by=made_by,
        )


class OrderedAlready(Conflict):
    title = "The same is on its way there already"

    def __init__(self, *, command_id: UUID) -> None:
        super().__init__(
            "Somebody else, or the service, has ordered the same there a moment ago.",
            remedy="Nothing needs to be done there.",
            command_id=str(command_id),
        )


class GivenBackAlready(Conflict):
    title = "It is being given back already"

    def __init__(self, *, campaign_id: UUID) -> None:
        super().__init__(
            "A campaign that gives the same back is running.",
            remedy="Watch it at GET /api/v1/campaigns/{id}.",
            campaign_id=str(campaign_id),
        )


class AnotherResumes(Forbidden):
    title = "Another person lets cuts go on"

    def __init__(self) -> None:
        super().__init__(
            "It cuts, so an approver who has not made it looks before it goes on.",
            remedy="Ask another approver to look at it and to resume it.",
        )


class WentOnSince(Conflict):
    """Whoever lets it go on has looked at something else."""

    title = "That is not how the campaign stands"

    def __init__(self, *, standing: str) -> None:
        super().__init__(
            "It was stopped for another reason, or some of its targets are further than when you looked.",
            remedy="Read GET /api/v1/campaigns/{id}, and send the `standing` that it shows.",
            standing=standing,
        )


class NothingToGiveBack(Refused):
    title = "There is nothing to give back"

    def __init__(self) -> None:
        super().__init__(
            "The campaign has limited and tripped nobody, or is itself a restore.",
            remedy="Nothing needs to be done.",
        )


def wave_sizes(targets: int) -> list[int]:
    """Return how many targets each wave has: 200 go in waves of 1, 10, 50, 100 and 39."""
    sizes: list[int] = []
    left = targets
    while left > 0:
        size = FIRST_WAVES[len(sizes)] if len(sizes) < len(FIRST_WAVES) else 2 * sizes[-1]
        sizes.append(min(size, left))
        left -= sizes[-1]
    return sizes


def wave_numbers(targets: int) -> list[int]:
    """Return the wave of each target in its order: of 13 the first is in wave 1, ten in wave 2, two in wave 3."""
    return [number for number, size in enumerate(wave_sizes(targets), start=1) for _ in range(size)]


def by_feeder(feeders: Sequence[str]) -> list[int]:
    """Return after how many seconds each target's turn comes, so that a feeder's load comes back bit by bit.

    ``["F1", "F1", "F2"]`` → ``[0, 5, 0]``: one after the other on each feeder, feeders side by side.
    """
    before: dict[str, int] = {}
    after = []
    for feeder in feeders:
        after.append(before.get(feeder, 0) * FEEDER_PAUSE_S)
        before[feeder] = before.get(feeder, 0) + 1
    return after


def why_abort(counts: Counts) -> str | None:
    """Return why no more may be ordered, or None: 2 % refused, 5 % unknown or 5 % taken back are too many.

    1 of 11 refused stops it, and so does 1 of 50; 1 of 51 does not. 1 unknown of 20 stops it, 1 of 21 does not.
    """
    if counts.refused and counts.refused * 100 >= _ABORT_REFUSED_PERCENT * counts.ordered:
        return f"{counts.refused} of {counts.ordered} terminals refused or failed, {_ABORT_REFUSED_PERCENT} % or more"
    if counts.unknown and counts.unknown * 100 >= _ABORT_UNKNOWN_PERCENT * counts.ordered:
        return f"{counts.unknown} of {counts.ordered} did not say what they did, {_ABORT_UNKNOWN_PERCENT} % or more"
    if counts.called_back and counts.called_back * 100 >= _ABORT_CALLED_BACK_PERCENT * counts.ordered:
        return f"{counts.called_back} of {counts.ordered} were taken back, {_ABORT_CALLED_BACK_PERCENT} % or more"
    return None


def standing_digest(*, list_digest: str, stopped_because: str | None, wave: int, counts: Counts) -> str:
    """Return what the resumption of a campaign is bound to: SHA-256, in hex, of where and why it stands.

    One more that refused, or another reason to stop, gives another digest.
    """
    said = {"list_digest": list_digest, "because": stopped_because, "wave": wave, "counts": asdict(counts)}
    return hashlib.sha256(canonical(said).encode()).hexdigest()


def list_digest(targets: Iterable[Mapping[str, Any]]) -> str:
    """Return SHA-256, in hex, of the canonical text of the targets: which, in which order, told what.

    ``[]`` has that of ``{"targets":[]}``; another order of the same targets is another list.
    """
    return hashlib.sha256(canonical({"targets": list(targets)}).encode()).hexdigest()
