"""A door for a fleet's connects: only so many wait for the broker's answer at once, the others queue up.

Brokers take thousands of connections but not thousands of connects: their answers come too late, every client
gives up and begins anew, and in the end none is in.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

_Guest = TypeVar("_Guest")


class Door(Generic[_Guest]):
    """Guests enter, or wait and are called in the order in which they came."""

    def __init__(self, *, places: int) -> None:
        self._free = places
        self._inside: set[_Guest] = set()
        self._waiting: OrderedDict[_Guest, None] = OrderedDict()

    def enter(self, guest: _Guest) -> bool:
        """Take a place, or begin to wait for one; harmless for a guest that has or awaits one."""
        if guest in self._inside:
            return True
        if self._free == 0:
            self._waiting[guest] = None
            return False
        self._waiting.pop(guest, None)
        self._free -= 1
        self._inside.add(guest)
        return True

    def leave(self, guest: _Guest) -> None:
        """Give the place back, or stop waiting."""
        self._waiting.pop(guest, None)
        if guest in self._inside:
            self._inside.remove(guest)
            self._free += 1

    def called(self) -> _Guest | None:
        """Give the next free place to the guest that has waited longest, and return it."""
        if self._free == 0 or not self._waiting:
            return None
        guest, _ = self._waiting.popitem(last=False)
        self.enter(guest)
        return guest
