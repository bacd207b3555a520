"""What the kit knows of the terminal on trial, learnt from its frames alone; what must hold in every frame."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.clock import monotonic_s
from app.conformance.line import Frame
from app.mqtt.messages import UnreadableError, parse_up
from app.mqtt.topics import QOS


class CaseFailed(Exception):
    """The other side did not do what the contract says."""

    def __init__(self, *, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came
        self.step: int | None = None


@dataclass
class _At:
    step: int = 0


@contextmanager
def at_its_step() -> Iterator[_At]:
    """Let a failure say at which step of its case it came."""
    at = _At()
    try:
        yield at
    except CaseFailed as failure:
        failure.step = at.step
        raise


def read(frame: Frame) -> dict[str, Any]:
    """Return a frame's members, after all that holds for every frame of a terminal has been looked at.

    Raises:
        CaseFailed: it is no message of the contract.
    """
    if frame.qos != QOS or frame.retained:
        how = f"QoS {frame.qos}" + (", retained" if frame.retained else "")
        raise CaseFailed(expected="every message with QoS 1, never retained (section 2)", came=f"{frame.kind} {how}")
    try:
        parse_up(frame.kind, frame.payload)
    except (UnreadableError, KeyError) as error:
        raise CaseFailed(
            expected=f"a {frame.kind} that can be read (sections 3 and 4)", came=f"{error}: {frame.shown}"
        ) from error
    members: dict[str, Any] = json.loads(frame.payload)
    _consistent(members)
    return members


def _consistent(members: dict[str, Any]) -> None:
    state = members.get("state")
    if state is None:
        return
    stage = _stage(state)
    if stage is not None and state["stage"] != stage:
        raise CaseFailed(expected=f"stage {stage} (section 4, state)", came=json.dumps(state))
    if "supplied_wh" in members and members["supplied_wh"] + state["remaining_wh"] != state["paid_until_wh"]:
        raise CaseFailed(expected="remaining_wh = paid_until_wh - supplied_wh (section 4)", came=json.dumps(members))


def _stage(state: dict[str, Any]) -> str | None:
    """Return the stage that the rest of the state leaves no doubt about."""
    if "0" in state["rounds"]:
        return "tripped"
    if state.get("limit_w") is not None:
        return "limited"
    if state["control_enabled"] and state["remaining_wh"] <= state["alarm_wh"]:
        return "alarm"
    return None


class Known:
    """Session, uptime, state and spool, as they were told last."""

    def __init__(self, *, machine_factor: int) -> None:
        self._machine_factor = machine_factor
        self._uptime = (0, 0.0)
        self.session: str | None = None
        self.previous_session = "0" * 32
        self.state: dict[str, Any] = {}
        self.power_w = 0
        self.spool_id = ""
        self.last_seq = 0
        self.order_no = 0
        self.version = 0

    def take(self, frame: Frame) -> None:
        members = read(frame)
        self.state = members.get("state", self.state)
        self.order_no = max(self.order_no, self.state.get("order_no", 0))
        self.power_w = members.get("active_power_w", self.power_w)
        if "uptime_s" in members and frame.kind in {"birth", "heartbeat", "ack"}:
            self._uptime = (members["uptime_s"], frame.at_s)
        if frame.kind == "birth":
            self._born(members)
        elif "seq" in members:
            self.spool_id = members["spool_id"]
            self.last_seq = max(self.last_seq, members["seq"])

    def _born(self, members: dict[str, Any]) -> None:
        self.previous_session, self.session = self.session or self.previous_session, members["session"]
        self.version = max([self.version, *members["slots"].values()])
        if members["spool"]["id"] != self.spool_id:
            self.last_seq = 0
        self.spool_id = members["spool"]["id"]
        self.last_seq = max(self.last_seq, members["spool"]["last"])

    @property
    def uptime_s(self) -> int:
        told_s, at_s = self._uptime
        return told_s + int((monotonic_s() - at_s) * self._machine_factor)

    @property
    def supplied_wh(self) -> int:
        """The counter, as far as the last state tells."""
        return int(self.state["paid_until_wh"] - self.state["remaining_wh"])

    @property
    def fitted(self) -> list[int]:
        return [number for number, position in enumerate(self.state["rounds"], start=1) if position != "-"]

    def position(self, nth: int) -> str:
        """Return `closed` or `tripped` of the first, second … fitted round."""
        return "closed" if self.state["rounds"][self.fitted[nth] - 1] == "1" else "tripped"


def spooled(frames: list[Frame]) -> Iterator[tuple[tuple[str, int], Frame]]:
    """Yield reports and events with their places in the spool."""
    for frame in frames:
        if not frame.ours and frame.kind in {"report", "backfill", "event"}:
            members = json.loads(frame.payload)
            yield (members["spool_id"], members["seq"]), frame
