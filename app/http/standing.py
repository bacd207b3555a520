"""Who is still in good standing: read every second by one thread, so that no request asks the database for it."""

import asyncio
import hashlib
import hmac
import ipaddress
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from fastapi import Depends, Request

from app.clock import Clock, monotonic_s
from app.http.policies import KEY_PREFIX, Person
from app.http.refusals import NotSignedIn, StandingUnknown

_READ_EVERY_S = 1.0
_GOOD_FOR_S = 10.0
_NOTE_EVERY_S = 60.0
_STOP_WITHIN_S = 5.0
_ID_CHARACTERS = 32

_machine = Clock()
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class LiveKey:
    """An API key that was good when it was read; ``networks`` empty is from everywhere."""

    client: Person
    digest: bytes = field(repr=False)
    expires_at: datetime | None
    networks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the database said: sign-ins that ended before their tokens expire, and keys by their ids."""

    ended: frozenset[UUID] = frozenset()
    keys: Mapping[UUID, LiveKey] = field(default_factory=dict)


class WatchedStanding:
    """Keeps the last reading, and refuses everybody when it is too old to be relied on.

    Args:
        read: asks the database.
        note_used: writes down which keys were used, about once a minute.
        good_for_s: how long a reading may be relied on.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Reading],
        note_used: Callable[[Collection[UUID]], None],
        good_for_s: float = _GOOD_FOR_S,
    ) -> None:
        self._good_for_s = good_for_s
        self._read = read
        self._note_used = note_used
        self._reading = Reading()
        self._good_until_s = 0.0
        self._used: set[UUID] = set()
        self._noted_at_s = monotonic_s()
        self._one_reader = threading.Lock()
        self._lost = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="standing", daemon=True)

    def start(self) -> None:
        """Read once if the database answers, then go on reading."""
        self.read_again()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(_STOP_WITHIN_S)
        self._note()

    def read_again(self) -> None:
        """Read now; when it fails the last reading stays, for some seconds."""
        with self._one_reader:
            began_s = monotonic_s()
            try:
                self._reading = self._read()
            except Exception as error:  # noqa: BLE001 - whatever it was, the thread must live to read again
                if not self._lost:
                    _log.warning("cannot read who is in good standing", error=type(error).__name__)
                self._lost = True
                return
            self._good_until_s = began_s + self._good_for_s
            self._lost = False

    def refuse_ended(self, sign_in_id: UUID | None) -> None:
        """Refuse a sign-in that has ended.

        Raises:
            NotSignedIn: it has.
            StandingUnknown: the last reading is too old.
        """
        if sign_in_id in self._good_reading().ended:
            raise NotSignedIn("this sign-in has ended", remedy="sign in again")

    def person_of_key(self, key: str, *, address: str) -> Person:
        """Return the client whose key it is.

        Raises:
            NotSignedIn: the key is none, is over, or may not be used from this address; which one is not told.
            StandingUnknown: the last reading is too old.
        """
        key_id = _id_in(key)
        live = None if key_id is None else self._good_reading().keys.get(key_id)
        digest = hashlib.sha256(key.encode()).digest()
        if (
            key_id is None
            or live is None
            or not hmac.compare_digest(digest, live.digest)
            or (live.expires_at is not None and _machine.now() >= live.expires_at)
            or (live.networks and not _is_inside(address, networks=live.networks))
        ):
            raise NotSignedIn(
                "the API key is not known, is over, or may not be used from this address",
                remedy="ask an administrator for the state of the key, or for another",
            )
        self._used.add(key_id)
        return live.client

    def _good_reading(self) -> Reading:
        if monotonic_s() > self._good_until_s:
            raise StandingUnknown(
                "the service cannot tell at present who is still signed in",
                remedy="send the same request again in some seconds",
            )
        return self._reading

    def _run(self) -> None:
        while not self._stopping.wait(_READ_EVERY_S):
            self.read_again()
            if monotonic_s() - self._noted_at_s >= _NOTE_EVERY_S:
                self._note()

    def _note(self) -> None:
        self._noted_at_s = monotonic_s()
        used = frozenset(self._used)  # one step, while requests go on adding
        self._used = set()
        if not used:
            return
        try:
            self._note_used(used)
        except Exception as error:  # noqa: BLE001 - as above
            _log.warning("cannot note which keys were used", error=type(error).__name__)


async def _read_again_after(request: Request) -> Any:
    yield
    # In a thread of the loop's own pool: the answer waits for it, so that what was ended is refused from then on.
    await asyncio.to_thread(request.app.state.standing.read_again)


#: For a route that ends sign-ins or keys: after its transaction, and before its answer, this process knows of it.
READ_AGAIN_AFTER: Any = Depends(_read_again_after, scope="function")


def _id_in(key: str) -> UUID | None:
    identity, underscore, _ = key.removeprefix(KEY_PREFIX).partition("_")
    if len(identity) != _ID_CHARACTERS or not underscore:
        return None
    try:
        return UUID(hex=identity)
    except ValueError:
        return None


def _is_inside(address: str, *, networks: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(network) for network in networks)
