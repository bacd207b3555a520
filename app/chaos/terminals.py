"""What the simulated terminals hold afterwards: their spools, what they have receipts for, and their allowance."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from simulators.memory import FileMemory, Kept
from simulators.spool import Spool

_ENDING = ".receipted"


@dataclass(kw_only=True)
class Held:
    """One terminal after it has stopped in order."""

    terminal_id: str
    kept: Kept
    spool_id: UUID
    made: int
    without_receipt: int
    receipted: dict[UUID, set[int]] = field(default_factory=dict)


def receipted(folder: Path) -> dict[str, dict[UUID, set[int]]]:
    """Return the numbers that receipts let each terminal forget, by spool; readable while the terminals live."""
    found: dict[str, dict[UUID, set[int]]] = {}
    for path in sorted(folder.glob(f"*{_ENDING}")):
        of_terminal: dict[UUID, set[int]] = defaultdict(set)
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        for line in map(json.loads, whole.splitlines()):
            of_terminal[UUID(line["spool_id"])].update(line["receipted"])
        found[path.stem] = of_terminal
    return found


def held(folder: Path) -> list[Held]:
    """Read the memories of terminals that have stopped.

    Raises:
        ValueError: a terminal has written none.
    """
    found = []
    for terminal_id, numbers in receipted(folder).items():
        memory = FileMemory(folder, terminal_id=terminal_id)
        kept = memory.load()
        if kept is None:
            raise ValueError(f"the terminal {terminal_id} has no memory in {folder}")
        spool = Spool(memory, capacity=100_000)
        memory.close()
        found.append(
            Held(
                terminal_id=terminal_id,
                kept=kept,
                spool_id=spool.id,
                made=spool.last,
                without_receipt=len(spool),
                receipted=numbers,
            )
        )
    return found
