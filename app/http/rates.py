"""How often one may ask: a bucket for each person and each address, in this process, of bounded memory."""

import math
from collections import OrderedDict
from collections.abc import Hashable
from uuid import UUID

from app.clock import monotonic_s
from app.http.refusals import TooManyRequests

_BUCKETS_KEPT = 10_000


class Buckets:
    """Buckets that fill by ``per_s`` and hold ``burst``; the ones asked least recently are forgotten first.

    A bucket is the moment at which it will be full again (the generic cell rate algorithm): one number each.
    """

    def __init__(self, *, per_s: float, burst: float, most: int = _BUCKETS_KEPT) -> None:
        self._each_s = 1 / per_s
        self._held_s = burst / per_s
        self._most = most
        self._full_at_s: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, key: Hashable) -> float:
        """Take one from the bucket and return 0, or take nothing and return how long to wait."""
        now_s = monotonic_s()
        full_at_s = max(self._full_at_s.pop(key, now_s), now_s)
        wait_s = full_at_s + self._each_s - self._held_s - now_s
        self._full_at_s[key] = full_at_s + self._each_s if wait_s <= 0 else full_at_s
        if len(self._full_at_s) > self._most:
            self._full_at_s.popitem(last=False)
        return max(wait_s, 0.0)


class Rates:
    """The two limits; asked in the event loop only, so nothing is locked."""

    def __init__(self, *, person_per_s: float, address_per_s: float) -> None:
        self._people = Buckets(per_s=person_per_s, burst=2 * person_per_s)
        self._addresses = Buckets(per_s=address_per_s, burst=2 * address_per_s)

    def take_for_person(self, person_id: UUID) -> None:
        """Count one request of a person or client.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        _refuse(self._people.wait_s(person_id))

    def take_for_address(self, address: str, *, counted: bool = False) -> None:
        """Count one request of an address where nobody is signed in, unless the edge has counted it.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        if not counted:
            _refuse(self._addresses.wait_s(address))


def _refuse(wait_s: float) -> None:
    if wait_s > 0:
        seconds = math.ceil(wait_s)
        raise TooManyRequests(
            "more requests than one may send",
            remedy=f"wait {seconds} s and send fewer at a time",
            more_headers={"Retry-After": str(seconds)},
        )
