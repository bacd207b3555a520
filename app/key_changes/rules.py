"""What refuses a key statement before it is recorded: whatever would lock the service out, or change nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.errors import Refused


class AnchorUnknown(Refused):
    title = "The service has no anchor"

    def __init__(self) -> None:
        super().__init__(
            "Key statements are checked against the anchor, and its public key is not set.",
            remedy="Set WATTGATE_ANCHOR_PUBLIC_KEY_FILE to the public key that terminals have pinned.",
        )


class StatementUnread(Refused):
    title = "That is no key statement of this anchor"

    def __init__(self, *, because: str) -> None:
        super().__init__(
            f"The file holds no key statement that terminals would take: {because}.",
            remedy="Make it with `wattgate key-statement`, signed by the anchor that terminals have pinned.",
        )


class SerialNotHigher(Refused):
    title = "The serial is not higher"

    def __init__(self, *, serial: int, newest: int) -> None:
        super().__init__(
            f"Statement {newest} is recorded already, so terminals would refuse a statement {serial}.",
            remedy=f"Sign one with the serial {newest + 1} or more.",
            serial=serial,
            newest=newest,
        )


class LockedOut(Refused):
    """After it terminals would refuse what the service signs."""

    title = "The statement would lock the service out"

    def __init__(self, *, key_id: str, listed: list[str], has_any: bool) -> None:
        of_these = "The key that signs commands" if has_any else "None of the service's own keys"
        super().__init__(
            f"{of_these} {'is not' if has_any else 'is'} listed: the service signs with {key_id!r}, "
            f"the statement lists {', '.join(map(repr, listed))}.",
            remedy="Set WATTGATE_SIGNING_KEY_FILE and WATTGATE_SIGNING_KEY_ID to a listed key and start service and "
            "worker anew, or sign a statement that lists theirs.",
            key_id=key_id,
            listed=listed,
        )


class KeyDiffers(Refused):
    title = "The statement lists another key under the same id"

    def __init__(self, *, key_id: str) -> None:
        super().__init__(
            f"The statement's key {key_id!r} is not the public half of the service's key of that id.",
            remedy="Give each key an id of its own, or list the public half of the service's key.",
            key_id=key_id,
        )


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A statement whose signature holds: public keys by their ids, and the text that terminals are sent."""

    serial: int
    issued_at: datetime
    keys: Mapping[str, str]
    text: str


@dataclass(frozen=True, kw_only=True)
class Last:
    """The newest statement that is recorded."""

    serial: int
    text: str


def check(stated: Stated, *, last: Last | None, own: Mapping[str, str], key_id: str) -> bool:
    """Tell whether a statement is new; the last one again is none, and carries on what it has begun.

    Args:
        stated: the statement.
        last: the newest one that is recorded.
        own: the service's public keys by their ids.
        key_id: of the one that signs commands.

    Raises:
        SerialNotHigher: it is neither newer than the last nor the same.
        LockedOut: the key that signs is not listed.
        KeyDiffers: a key of the service is listed under its id with another public half.

    Example: last serial 2, own ``new``, statement 3 lists ``new``: True.
    """
    if last is not None and stated.serial <= last.serial and stated.text != last.text:
        raise SerialNotHigher(serial=stated.serial, newest=last.serial)
    for one, public in own.items():
        if stated.keys.get(one, public) != public:
            raise KeyDiffers(key_id=one)
    if key_id not in stated.keys:
        raise LockedOut(key_id=key_id, listed=sorted(stated.keys), has_any=bool(set(own) & set(stated.keys)))
    return last is None or stated.serial > last.serial
