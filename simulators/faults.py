"""What can go wrong with a terminal, its site and its line, asked for by name."""

import heapq
import itertools
import random
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.mqtt.messages import RoundNo

_Frame = TypeVar("_Frame")
_Percent = Annotated[int, Field(ge=0, le=100)]
_Seconds = Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)]

#: A frame that is overtaken waits so much longer than the others.
OVERTAKEN_BY_S = 0.2


class _Fault(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PowerCycle(_Fault):
    """The terminal loses power and boots again after so many machine seconds."""

    fault: Literal["power_cycle"] = "power_cycle"
    off_s: _Seconds = 1
    on_next_command: bool = Field(default=False, description="waits for a command, and strikes before it is acted on")
    loses_spool: bool = Field(default=False, description="the storage of reports and events is lost with it")


class Freeze(_Fault):
    """The program stands still for so many machine seconds while its connection stays open."""

    fault: Literal["freeze"] = "freeze"
    seconds: _Seconds


class ClockStep(_Fault):
    """The terminal's clock goes wrong by so many of its seconds, unnoticed."""

    fault: Literal["clock_step"] = "clock_step"
    seconds: Annotated[int, Field(ge=-(10**9), le=10**9)]


class LoseTime(_Fault):
    """The terminal's clock is unset until the service tells the time."""

    fault: Literal["lose_time"] = "lose_time"


class Outage(_Fault):
    """The line is down for so many machine seconds; the terminal goes on measuring."""

    fault: Literal["outage"] = "outage"
    seconds: _Seconds


class RefusingRelay(_Fault):
    """A relay does not move until it is told to again."""

    fault: Literal["refusing_relay"] = "refusing_relay"
    round: RoundNo
    on: bool = True


class LinkFaults(_Fault):
    """What the line does to single frames, in both directions; all zero heals it. A birth is never touched."""

    fault: Literal["link_faults"] = "link_faults"
    drop_percent: _Percent = 0
    duplicate_percent: _Percent = 0
    reorder_percent: _Percent = 0
    delay_s: _Seconds = 0


class SetLoad(_Fault):
    """The site runs at so many percent of what its shape says."""

    fault: Literal["set_load"] = "set_load"
    percent: Annotated[int, Field(ge=0, le=1_000)]


class Busy(_Fault):
    """The terminal refuses commands as BUSY for so many machine seconds."""

    fault: Literal["busy"] = "busy"
    seconds: _Seconds


Fault: TypeAlias = PowerCycle | Freeze | ClockStep | LoseTime | Outage | RefusingRelay | LinkFaults | SetLoad | Busy
_ANY_FAULT: TypeAdapter[Fault] = TypeAdapter(Annotated[Fault, Field(discriminator="fault")])


def parse(members: dict[str, Any]) -> Fault:
    """Read a fault such as ``{"fault": "freeze", "seconds": 5}``.

    Raises:
        pydantic.ValidationError: no such fault, or a member that is wrong.
    """
    return _ANY_FAULT.validate_python(members)


class FaultyWire(Generic[_Frame]):
    """One direction of a line: frames that are put in come out lost, twice, late or overtaken."""

    def __init__(self, faults: LinkFaults, *, seed: int) -> None:
        self._faults = faults
        self._chance = random.Random(seed)
        self._order = itertools.count()
        self._under_way: list[tuple[float, int, _Frame]] = []

    def put(self, frame: _Frame, *, now_s: float) -> None:
        faults = self._faults
        if self._happens(faults.drop_percent):
            return
        due_s = now_s + faults.delay_s
        if self._happens(faults.reorder_percent):
            due_s += OVERTAKEN_BY_S
        for _ in range(2 if self._happens(faults.duplicate_percent) else 1):
            heapq.heappush(self._under_way, (due_s, next(self._order), frame))

    def take(self, now_s: float) -> list[_Frame]:
        arrived = []
        while self._under_way and self._under_way[0][0] <= now_s:
            arrived.append(heapq.heappop(self._under_way)[2])
        return arrived

    def due_s(self) -> float:
        return self._under_way[0][0] if self._under_way else float("inf")

    def clear(self) -> None:
        self._under_way.clear()

    def _happens(self, percent: int) -> bool:
        return percent > 0 and self._chance.randrange(100) < percent
