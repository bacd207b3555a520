"""What a recorded deed says, in the one form in which it is hashed, and what is told about two states of a thing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

#: The stream of what nobody's office answers for: the service itself, and people unknown to it.
SERVICE_STREAM = UUID(int=0)
FIRST_HASH = bytes(32)


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something that was done to a subject, with what it was before and after; secrets stay out of all of it.

    ``transaction_ids`` are those of the books that the deed made; every one of them needs a deed.
    """

    action: str
    subject_kind: str
    subject: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    transaction_ids: tuple[UUID, ...] = field(default=())


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keep what differs: ``{a: 1, b: 2}`` and ``{a: 1, b: 3}`` → ``{b: 2}`` and ``{b: 3}``."""
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return (
        {name: before[name] for name in differing if name in before},
        {name: after[name] for name in differing if name in after},
    )


def canonical(payload: Mapping[str, Any]) -> str:
    """Write a payload in the one form that is hashed: keys sorted, no blanks, moments and decimals as text.

    ``{"b": Decimal("0.80"), "a": None}`` → ``{"a":null,"b":"0.80"}``.
    """
    return json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)


def next_hash(previous: bytes, *, seq: int, payload: str) -> bytes:
    """Return the hash of event ``seq``: SHA-256 of the hash before it, the number, a line feed and the payload.

    The first event of a chain follows 32 zero bytes. The database computes the same in SQL.
    """
    return hashlib.sha256(previous + f"{seq}\n{payload}".encode()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
