"""What was heard of the terminal on trial, and what the present case remembers of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.clock import monotonic_s
from app.conformance.known import CaseFailed, Known, spooled
from app.conformance.line import Frame, Line
from app.conformance.spans import Span
from app.conformance.stands import Pace

FINAL = {"executed", "refused"}


@dataclass(kw_only=True)
class Sent:
    """A command of this case: its claims as they were sent last, and from which frame on answers count."""

    claims: dict[str, Any]
    since: int
    nonce: str | None = None
    outcome: dict[str, Any] | None = None


@dataclass(kw_only=True)
class Course:
    """What one case remembers: where it began, where the kit acted last, what it sent."""

    began: int
    acted: int
    paid_until_wh: int
    spool_id: str = ""
    sent: dict[str, Sent] = field(default_factory=dict)
    digits: dict[str, str] = field(default_factory=dict)
    last: str = ""
    seen: set[tuple[str, int]] = field(default_factory=set)
    receipted: set[int] = field(default_factory=set)
    left_out: set[int] = field(default_factory=set)
    retained: bool = False


class Ear:
    """Takes in frames as they come, and waits for those that should."""

    def __init__(self, line: Line, *, pace: Pace) -> None:
        self.line = line
        self.pace = pace
        self.known = Known(machine_factor=pace.machine_factor)
        self.course = Course(began=0, acted=0, paid_until_wh=0)
        self._taken = 0

    @property
    def frames(self) -> list[Frame]:
        """What went to and fro in the present case."""
        return self.line.frames[self.course.began :]

    def begin(self) -> None:
        """Let a new case begin here."""
        self.look()
        here = len(self.line.frames)
        self.course = Course(
            began=here,
            acted=here,
            paid_until_wh=self.known.state["paid_until_wh"],
            spool_id=self.known.spool_id,
            seen=self.places(),
        )

    def act(self) -> None:
        """Remember that the kit acts now: what it expects next comes after this."""
        self.look()
        self.course.acted = len(self.line.frames)
        self.course.seen = self.places()

    def places(self, *, until: int | None = None) -> set[tuple[str, int]]:
        """Return all places of the spool that were heard, up to a frame."""
        return {place for place, _ in spooled(self.line.frames[:until])}

    def look(self) -> None:
        """Take in the frames that are new."""
        while self._taken < len(self.line.frames):
            frame = self.line.frames[self._taken]
            self._taken += 1
            if not frame.ours:
                self.known.take(frame)
                if frame.kind == "ack":
                    self._note_answer(json.loads(frame.payload))

    def _note_answer(self, ack: dict[str, Any]) -> None:
        for sent in self.course.sent.values():
            if ack.get("command_id") != sent.claims["id"]:
                continue
            if ack["step"] == "armed":
                sent.nonce = ack.get("detail", {}).get("nonce")
            if ack["step"] in FINAL and sent.outcome is None:
                sent.outcome = ack

    def heard(self, *kinds: str, since: int) -> list[dict[str, Any]]:
        frames = self.line.frames[since:]
        return [json.loads(frame.payload) for frame in frames if not frame.ours and frame.kind in kinds]

    def until(self, found: Callable[[], Any], *, within: Span, expected: str, came: Callable[[], str]) -> Any:
        until_s = monotonic_s() + self.pace.patience_s(within)

        def looked() -> Any:
            self.look()
            return found()

        what = self.line.wait_for(looked, until_s=until_s)
        if what is None:
            raise CaseFailed(expected=f"{expected} within {shown(within)}", came=came())
        return what

    def new_events(self, kind: str, *, since: int, seen: set[tuple[str, int]]) -> list[dict[str, Any]]:
        found = {
            place: json.loads(frame.payload)
            for place, frame in spooled(self.line.frames[since:])
            if frame.kind == "event" and place not in seen
        }
        return [event for event in found.values() if event["type"] == kind]


def shown(span: Span) -> str:
    return f"{span.clock_s / 60:g} min" if span.clock_s else f"{span.machine_s:g} s"
