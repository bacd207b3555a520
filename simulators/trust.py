"""Which keys a terminal trusts: what it has pinned, and what its anchor has stated since."""

from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.mqtt.keys import BadStatementError, KeyStatement, listed_key, read_statement
from app.mqtt.messages import KeysHeld, Op
from app.mqtt.signing import BadSignatureError, Verified, public_key_of, unverified, verified
from simulators.memory import Kept
from simulators.profile import TerminalProfile


class Trust:
    """The keys of one terminal; a statement replaces them all, and lasts over power loss."""

    def __init__(self, profile: TerminalProfile, kept: Kept) -> None:
        self._profile = profile
        self._kept = kept

    @property
    def has_anchor(self) -> bool:
        return self._profile.anchor_public_key_pem is not None

    @property
    def serial(self) -> int:
        return self._kept.keys_serial if self._kept.keys else self._profile.keys_serial

    def trusts(self, key_id: str) -> bool:
        return key_id in self._keys()

    def held(self) -> KeysHeld:
        return KeysHeld(serial=self.serial, kids=sorted(self._keys()))

    def verify(self, token: bytes) -> Verified:
        """Check a command against the keys that are trusted, and a new key statement against the keys that it lists.

        The second lets a terminal in again that was away for the whole time of a change; only the anchor can open
        that door, and only for a statement that is newer than what the terminal holds.

        Raises:
            BadSignatureError: neither fits.
        """
        keys = self._keys()
        try:
            return verified(token, keys)
        except BadSignatureError:
            stated = self._newly_listed(token)
            if not stated:
                raise
            return verified(token, stated)

    def read(self, statement: str) -> KeyStatement:
        """Return what the anchor states.

        Raises:
            BadStatementError: it is not the anchor that states it, or there is none.
        """
        pem = self._profile.anchor_public_key_pem
        if pem is None:
            raise BadStatementError("no anchor is pinned")
        return read_statement(statement, _public_key(pem))

    def accept(self, statement: KeyStatement) -> None:
        """Trust what is listed and nothing else; what a dropped key has counted up, counts no more.

        Without the last, who has stolen a key could leave the highest of all versions in each slot, and the terminal
        would obey nobody after the theft was noticed.
        """
        kept = self._kept
        kept.keys = {one.kid: one.public_key for one in statement.keys}
        kept.keys_serial = statement.serial
        dropped = [slot for slot, key_id in kept.slot_key_ids.items() if key_id not in kept.keys]
        for slot in dropped:
            del kept.slot_key_ids[slot]
            kept.slots.pop(slot, None)

    def _keys(self) -> dict[str, Ed25519PublicKey]:
        if self._kept.keys:
            return {key_id: _listed_key(key) for key_id, key in self._kept.keys.items()}
        profile = self._profile
        pinned = {**profile.service_keys, profile.service_key_id: profile.service_public_key_pem}
        return {key_id: _public_key(pem) for key_id, pem in pinned.items()}

    def _newly_listed(self, token: bytes) -> dict[str, Ed25519PublicKey]:
        claimed = unverified(token)
        args = claimed.get("args")
        text = args.get("statement") if isinstance(args, dict) else None
        if claimed.get("op") != Op.KEYS or not isinstance(text, str):
            return {}
        try:
            statement = self.read(text)
        except BadStatementError:
            return {}
        return statement.by_id if statement.serial > self.serial else {}


@lru_cache(maxsize=64)
def _public_key(pem: str) -> Ed25519PublicKey:
    return public_key_of(pem)


@lru_cache(maxsize=64)
def _listed_key(key: str) -> Ed25519PublicKey:
    return listed_key(key)
