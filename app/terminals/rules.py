"""How a broker keeps the credentials of its users, and which keys a new terminal is given to trust."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import Refused

_ITERATIONS = 101
SALT_BYTES = 12


class KeyNotStated(Refused):
    """A new terminal would pin a key that was revoked, or one that no other terminal trusts."""

    title = "The service's key is not in the last key statement"


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What a terminal is given to trust: keys (PEM) by their ids, the statement that lists them, and the anchor."""

    key_id: str
    keys: Mapping[str, str]
    serial: int
    anchor_pem: str | None

    @property
    def kept(self) -> dict[str, object]:
        """What the database keeps of it."""
        return {"serial": self.serial, "kids": sorted(self.keys)}


def to_pin(
    own: Mapping[str, str], *, key_id: str, anchor_pem: str | None, serial: int, stated: frozenset[str] | None
) -> Pinned:
    """Choose what a new terminal pins: the service's own keys, but none that the last statement has dropped.

    Args:
        own: the service's keys (PEM) by their ids.
        key_id: of the one that signs.
        anchor_pem: public half of the anchor, where there is one.
        serial: of the last statement, 0 before the first.
        stated: ids that it lists; None before the first.

    Raises:
        KeyNotStated: the last statement does not list the key that signs.

    Example: own ``old`` and ``new``, ``new`` signs, statement 3 lists ``new``: ``new`` and serial 3.
    """
    if stated is not None and key_id not in stated:
        raise KeyNotStated(
            f"key statement {serial} does not list {key_id!r}, with which commands are signed",
            remedy="ask the people who run the service to set WATTGATE_SIGNING_KEY_FILE and WATTGATE_SIGNING_KEY_ID "
            "to a key of the last statement, or to record one that lists theirs (wattgate rotate-keys)",
        )
    keys = {one: pem for one, pem in own.items() if stated is None or one in stated}
    return Pinned(key_id=key_id, keys=keys, serial=serial, anchor_pem=anchor_pem)


def mosquitto_hash(credential: str, *, salt: bytes) -> str:
    """Return a credential as Mosquitto 2 keeps it: ``$7$iterations$salt$hash``, PBKDF2 with SHA-512.

    The form is that of ``mosquitto_passwd``. Its default of 101 iterations is enough: a credential is 256 random
    bits, which nobody can guess, and a broker that has come back lets in its whole fleet at once.

    Raises:
        ValueError: the salt has not 12 bytes, the only length that Mosquitto reads.

    Example: ``"a"`` with twelve zero bytes gives ``$7$101$AAAAAAAAAAAAAAAA$`` and 88 characters.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt of {len(salt)} bytes; Mosquitto reads {SALT_BYTES}")
    derived = hashlib.pbkdf2_hmac("sha512", credential.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def mosquitto_lines(users: Mapping[str, str]) -> str:
    """Return Mosquitto's file of passwords: a line for each user, in the order of their names.

    Args:
        users: hash by user name, which must not be read as two fields.

    Raises:
        ValueError: a name holds a colon or begins a new line.

    Example: ``{"FK-0201": "$7$101$…"}`` gives ``FK-0201:$7$101$…`` and a line feed.
    """
    for user in users:
        if not user or ":" in user or not user.isprintable():
            raise ValueError(f"{user!r} cannot be a user of Mosquitto; a name has no colon and no line feed")
    return "".join(f"{user}:{users[user]}\n" for user in sorted(users))


def mosquitto_users(written: str) -> dict[str, str]:
    """Read what :func:`mosquitto_lines` or Mosquitto's own tool has written: hash by user name.

    Lines without a colon, and comments, are left out. Raises nothing.

    Example: ``"FK-0201:$7$101$…"`` gives ``{"FK-0201": "$7$101$…"}``.
    """
    lines = (line.partition(":") for line in written.splitlines() if not line.startswith("#"))
    return {user: kept for user, colon, kept in lines if colon}
