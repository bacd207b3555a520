"""The heads of the chains in a file outside the database, where who can rewrite the database cannot rewrite them."""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from app.audit.queries import Head


class HeadsUnreadable(Exception):
    """A line of the file is not one that this service wrote."""


def export(path: Path, heads: Sequence[Head], *, now: datetime) -> None:
    """Add a line for each head to the end of the file, and have it on the disk before returning."""
    lines = [
        json.dumps(
            {
                "at": now.isoformat(),
                "office": head.office,
                "stream": str(head.stream),
                "seq": head.seq,
                "hash": head.hash.hex(),
            }
        )
        for head in heads
    ]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Head]:
    """Return all heads that were ever exported to the file; none if it is not there yet.

    Raises:
        HeadsUnreadable: names the line.
    """
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            told = json.loads(line)
            stream, hashed = UUID(told["stream"]), bytes.fromhex(told["hash"])
            found.append(Head(office=str(told["office"]), stream=stream, seq=int(told["seq"]), hash=hashed))
        except (ValueError, KeyError, TypeError) as error:
            raise HeadsUnreadable(f"{path}, line {number} is no exported head: {error!r}") from error
    return found
