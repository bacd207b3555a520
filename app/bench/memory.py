"""Measure: memory of the worker with thousands of connected terminals, and how long they take to connect."""

from collections.abc import Callable
from pathlib import Path

from app.bench.figures import Figure
from app.bench.ground import QOS_OF_THOUSANDS, Ground
from app.bench.programs import BenchFailed
from app.clock import monotonic_s, sleep

# More at once than the broker takes would be refused and come again later.
_CONNECTS_PER_S = 100
_WITHIN_S = 240.0
_POLL_S = 0.2
_HOLD_S = 15.0
_KIB_A_MIB = 1024

_ONLINE = "SELECT count(*) FROM terminal_live WHERE online"


def measure(ground: Ground, *, short: bool, tell: Callable[[str], None]) -> dict[str, Figure]:
    """Connect every terminal of the ground, let heartbeats come for a while, and look."""
    count = len(ground.customers)
    with ground.worker(subscribe_qos=QOS_OF_THOUSANDS) as worker:
        alone_mib = _resident_mib(worker.pid)
        tell(f"{count:,} terminals connect")
        with ground.fleet(count, connects_per_s=_CONNECTS_PER_S, subscribe_qos=QOS_OF_THOUSANDS):
            after_s = _connected(ground, count)
            tell("heartbeats")
            sleep(_HOLD_S / (10 if short else 1))
            resident_mib = _resident_mib(worker.pid)
    return {
        "worker_memory_5000": Figure(
            value=resident_mib,
            unit="MiB",
            ratio=resident_mib / alone_mib,
            against=f"{alone_mib:,.0f} MiB of a worker without terminals; {count:,} are online",
        ),
        "connect_5000": Figure(
            value=after_s,
            unit="s",
            against=f"until the birth of {count:,} was recorded; the fleet connects {_CONNECTS_PER_S} a second",
        ),
    }


def _connected(ground: Ground, count: int) -> float:
    """Wait until all are online; returns after how many seconds."""
    began_s = monotonic_s()
    while (online := int(ground.scalar(_ONLINE))) < count:
        if monotonic_s() - began_s > _WITHIN_S:
            raise BenchFailed(f"{online} of {count} terminals are online after {_WITHIN_S:.0f} s")
        sleep(_POLL_S)
    return monotonic_s() - began_s


def _resident_mib(pid: int) -> float:
    """Read the resident memory that Linux counts for a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / _KIB_A_MIB
    raise LookupError(f"process {pid} has no VmRSS")
