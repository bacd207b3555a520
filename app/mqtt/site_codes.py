"""Site codes: a paid order in 25 digits, typed at the keypad of a terminal that stays off line.

A code is 24 digits and a Damm check digit, in five groups. The 24 digits are a number of 79 bits, highest first:

    lift limit (1) | release rounds (1) | order_no mod 2^7 (7) | paid_until_wh mod 2^34 (34) | MAC (36)

The MAC is the first 36 bits of HMAC-SHA-256 under the terminal's own key over ``lm-site-code-1``, the flags (1 byte),
``order_no`` in full (4 bytes) and ``paid_until_wh`` in full (8 bytes, two's complement), big-endian. The terminal
completes the short numbers upwards from what it holds; a MAC over the full ones makes a wrong completion fail.

**Odds.** A guess is right once in 2^36 = 6.9 * 10^10. After five wrong codes a keypad is deaf (:func:`deaf_s`) and
soon takes one an hour, 8 800 a year: 1.3 * 10^-7 a year at one terminal that somebody types at day and night, one
success in 7.8 million years. A key is of 256 bits and another at each terminal, so a code for one says nothing of
another.
Source: the form of prepayment tokens (IEC 62055-41, STS), with a keyed hash instead of its cipher.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DIGITS = 25
WRONG_CODES_AT_MOST = 5
_DEAF_S, _DEAF_AT_MOST_S = 600, 3600
ORDERS_AHEAD_BELOW = 2**7
ENERGY_AHEAD_BELOW_WH = 2**34
KEY_BYTES = 32
_LABEL = b"lm-site-code-1"
_MAC_BITS, _PAID_BITS, _ORDER_BITS = 36, 34, 7
_PAYLOAD_BITS = 2 + _ORDER_BITS + _PAID_BITS + _MAC_BITS
_LARGEST_ORDER_NO = 2**32 - 1
#: The quasigroup of order 10 of Damm's thesis (2004): it finds each wrong digit and each exchange of neighbours.
_DAMM = tuple(
    tuple(map(int, row))
    for row in (
        "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
        "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
    )
)  # fmt: skip


class MistypedError(ValueError):
    """Not 25 digits, or a check digit that does not fit: no code was ever written so."""


class WrongCodeError(ValueError):
    """Well written, but not for this terminal, or not for what it holds."""


@dataclass(frozen=True, kw_only=True)
class SiteCode:
    """What a code carries: the two numbers of a credit, and what is given back with it."""

    order_no: int
    paid_until_wh: int
    release_rounds: bool = False
    lift_limit: bool = False

    @property
    def flags(self) -> int:
        return self.lift_limit << 1 | self.release_rounds


class SiteSecret:
    """The service's secret, of which the key of each terminal is made."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < KEY_BYTES:
            raise ValueError(f"a site secret has {KEY_BYTES} bytes or more, not {len(secret)}")
        self._secret = secret

    @classmethod
    def from_file(cls, path: Path) -> "SiteSecret":
        """Read hexadecimal digits, 64 or more.

        Raises:
            OSError, ValueError: the file cannot be read or holds something else.
        """
        try:
            return cls(bytes.fromhex(path.read_text(encoding="ascii")))
        except ValueError:
            # Without the cause: it could show a part of the secret in a log.
            message = f"{path} must hold 64 hexadecimal digits; make them with `openssl rand -hex 32`"
            raise ValueError(message) from None

    @property
    def id(self) -> str:
        """A name of the secret that tells nothing of it."""
        return self._derived(b"id")[:8].hex()

    def key_of(self, terminal_id: str) -> bytes:
        return self._derived(b"terminal " + terminal_id.encode())

    def _derived(self, info: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=_LABEL, info=info).derive(self._secret)


def key_text(key: bytes) -> str:
    """Write a key as a terminal is given it: base64url without padding, 43 characters."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def key_from(text: str) -> bytes:
    """Read what :func:`key_text` wrote.

    Raises:
        ValueError: it is something else.
    """
    key = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    if len(key) != KEY_BYTES:
        raise ValueError(f"a site key has {KEY_BYTES} bytes, not {len(key)}")
    return key


def write(code: SiteCode, key: bytes) -> str:
    """Return the digits of a code in five groups; the same code under the same key is always the same digits.

    Raises:
        ValueError: an order number beyond 32 bits or energy beyond 64.
    """
    if not 0 <= code.order_no <= _LARGEST_ORDER_NO or not -(2**63) <= code.paid_until_wh < 2**63:
        raise ValueError("a code carries an order number of 32 bits and energy of 64")
    number = code.flags
    number = number << _ORDER_BITS | code.order_no % ORDERS_AHEAD_BELOW
    number = number << _PAID_BITS | code.paid_until_wh % ENERGY_AHEAD_BELOW_WH
    number = number << _MAC_BITS | _mac(code, key)
    digits = f"{number:0{DIGITS - 1}d}"
    digits += str(_check(digits))
    return " ".join(digits[start : start + 5] for start in range(0, DIGITS, 5))


def read(typed: str, key: bytes, *, order_no: int, paid_until_wh: int) -> SiteCode:
    """Complete a code from what the terminal holds, its last order number and paid-until, and check the MAC.

    A new order is up to 127 above the last and pays for less than 2^34 Wh (17.1 GWh) more, never for less than is
    held. An order of the past is looked for as well, up to 128 below, only to be told as such; the caller applies a
    code whose ``order_no`` is above the last one and no other.

    Raises:
        MistypedError: no 25 digits, or the check digit does not fit. Spaces and hyphens are skipped.
        WrongCodeError: the MAC does not fit.

    Example: at order 300 and 5 000 000 Wh, the low bits 45 and 6 000 000 give order 301 and 6 000 000 Wh.
    """
    digits = typed.replace(" ", "").replace("-", "")
    if len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()) or _check(digits):
        raise MistypedError("25 digits with a check digit that fits are wanted")
    number = int(digits[:-1])
    if number >> _PAYLOAD_BITS:
        raise WrongCodeError("no code is as high as this")
    mac = number % 2**_MAC_BITS
    paid_low = (number >> _MAC_BITS) % ENERGY_AHEAD_BELOW_WH
    order_low = (number >> _MAC_BITS + _PAID_BITS) % ORDERS_AHEAD_BELOW
    flags = number >> _MAC_BITS + _PAID_BITS + _ORDER_BITS
    order = order_no + (order_low - order_no) % ORDERS_AHEAD_BELOW
    paid_wh = paid_until_wh + (paid_low - paid_until_wh) % ENERGY_AHEAD_BELOW_WH
    before = order - ORDERS_AHEAD_BELOW
    for order_then, paid_then_wh in (
        (order, paid_wh), (before, paid_wh), (before, paid_wh - ENERGY_AHEAD_BELOW_WH)
    ):  # fmt: skip
        if not 0 <= order_then <= _LARGEST_ORDER_NO or not -(2**63) <= paid_then_wh < 2**63:
            continue
        code = SiteCode(
            order_no=order_then,
            paid_until_wh=paid_then_wh,
            release_rounds=bool(flags & 1),
            lift_limit=bool(flags & 2),
        )
        if _mac(code, key) == mac:
            return code
    raise WrongCodeError("not a code for this terminal as it stands")


def deaf_s(wrong: int) -> int:
    """Return for how long a keypad takes no code after so many wrong ones since the last that was applied.

    None after the fourth, 10 min after the fifth, then 20 and 40 min, and never more than an hour: who stands in the
    dark with a right code must not be kept from it for longer by whoever typed before.
    """
    beyond = wrong - WRONG_CODES_AT_MOST
    return min(_DEAF_S << min(beyond, 8), _DEAF_AT_MOST_S) if beyond >= 0 else 0


def _mac(code: SiteCode, key: bytes) -> int:
    said = _LABEL + code.flags.to_bytes(1) + code.order_no.to_bytes(4) + code.paid_until_wh.to_bytes(8, signed=True)
    return int.from_bytes(hmac.digest(key, said, hashlib.sha256)[:8]) >> 64 - _MAC_BITS


def _check(digits: str) -> int:
    """Return Damm's check digit; 0 for digits that end with theirs."""
    return reduce(lambda interim, digit: _DAMM[interim][int(digit)], digits, 0)
