"""How terminals are dealt out to the workers that are alive."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

#: Enough that workers of any likely number get nearly equal parts, and few enough to be asked for in one small query.
SHARES = 64


class Alive(NamedTuple):
    """A worker that has told that it lives, and whether it hears the broker."""

    id: UUID
    hears: bool


def share_of(terminal_id: str) -> int:
    """Return the share that a terminal belongs to, 0 to 63; the same in every process and version.

    Raises nothing.

    Example: ``"SH-0001"`` belongs to share 24.
    """
    return crc32(terminal_id.encode(errors="surrogatepass")) % SHARES


def shares_wanted(own: UUID, alive: Sequence[Alive]) -> int:
    """Return how many shares a worker should hold beside the others; the sum over all of them is 64.

    A worker that does not hear the broker holds none while another one does. Raises nothing.

    Args:
        own: the worker that asks.
        alive: all that live, itself included, in an order on which all agree.

    Example: of three that hear, the first should hold 22 and the others 21; of two of which one is deaf, 64 and 0.
    """
    able = [one.id for one in alive if one.hears] or [one.id for one in alive]
    if own not in able:
        return 0
    each, left = divmod(SHARES, len(able))
    return each + (able.index(own) < left)
