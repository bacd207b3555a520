"""Measure: memory of the worker with thousands of connected terminals, and how long they take to connect."""

from collections.abc import Callable
from pathlib import Path

from app.bench.figures import Figure
from app.bench.ground import Ground
from app.clock import monotonic_s, sleep

_CONNECTS_PER_S = 1000
_WITHIN_S = 120.0
_HOLD_S = 15.0
_KIB_A_MIB = 1024

_CONNECTED = "SELECT count(*) FROM terminal_live WHERE online AND commandable"


def measure(ground: Ground, *, short: bool, tell: Callable[[str], None]) -> dict[str, Figure]:
    """Connect every terminal of the ground, let heartbeats come for a while, and look."""
    count = len(ground.customers)
    with ground.worker() as worker:
        alone_mib = _resident_mib(worker.pid)
        tell(f"{count:,} terminals connect")
        with ground.fleet(count, connects_per_s=_CONNECTS_PER_S) as fleet:
            began_s = monotonic_s()
            connected_s = ground.wait_for(_CONNECTED, count, fleet, within_s=_WITHIN_S) - began_s
            tell("heartbeats")
            sleep(_HOLD_S / (10 if short else 1))
            resident_mib = _resident_mib(worker.pid)
    return {
        "worker_memory_5000": Figure(
            value=resident_mib,
            unit="MiB",
            ratio=resident_mib / alone_mib,
            against=f"{alone_mib:,.0f} MiB of a worker without terminals; {count:,} connected",
        ),
        "connect_5000": Figure(
            value=connected_s,
            unit="s",
            against=f"until the last of {count:,} has proved its downlink; fleet starts included",
        ),
    }


def _resident_mib(pid: int) -> float:
    """Read the resident memory that Linux counts for a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / _KIB_A_MIB
    raise LookupError(f"process {pid} has no VmRSS")
