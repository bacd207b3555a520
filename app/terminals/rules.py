"""How a broker keeps the credentials of its users."""

import base64
import hashlib
from collections.abc import Mapping

_ITERATIONS = 101
SALT_BYTES = 12


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
