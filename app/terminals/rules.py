"""How a broker keeps a terminal's credential."""

import base64
import hashlib

_ITERATIONS = 101
_SALT_BYTES = 12


def mosquitto_hash(credential: str, *, salt: bytes) -> str:
    """Return a credential as Mosquitto 2 keeps it: ``$7$iterations$salt$hash``, PBKDF2 with SHA-512.

    The form is that of ``mosquitto_passwd``. Its default of 101 iterations is enough: a credential is 256 random
    bits, which nobody can guess, and a broker that has come back lets in its whole fleet at once.

    Raises:
        ValueError: the salt has not 12 bytes, the only length that Mosquitto reads.

    Example: ``"a"`` with twelve zero bytes gives ``$7$101$AAAAAAAAAAAAAAAA$`` and 88 characters.
    """
    if len(salt) != _SALT_BYTES:
        raise ValueError(f"a salt of {len(salt)} bytes; Mosquitto reads {_SALT_BYTES}")
    derived = hashlib.pbkdf2_hmac("sha512", credential.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
