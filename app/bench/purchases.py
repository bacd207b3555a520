"""Measure: purchases a second over HTTP with 16 clients, against TPC-B by pgbench with as many on that server."""

import re
import subprocess
from collections.abc import Callable

from app.bench.figures import Figure
from app.bench.ground import Ground
from app.bench.programs import BenchFailed, Program
from app.clock import Clock
from app.embedded.ports import LOOPBACK

_CLIENTS = 16
_SECONDS = 15
_SALES = 100_000
_AMOUNT_YUAN = "50000.00"
_SERVICE_PROCESSES = 2
_BARE_DATABASE = "pgbench"
_TPS = re.compile(r"tps = ([0-9.]+)")

_BOOKED = "SELECT count(*) FROM purchases WHERE booked_at >= :since"


def measure(ground: Ground, *, short: bool, tell: Callable[[str], None]) -> dict[str, Figure]:
    """Sell without a worker beside it, as pgbench runs without one: what is measured is the counter."""
    seconds = _SECONDS / (10 if short else 1)
    bare_seconds = max(round(seconds / 3), 1)
    tell("TPC-B by pgbench")
    before_per_s = _bare(ground, seconds=bare_seconds)
    tell(f"purchases by {_CLIENTS} cashiers")
    sold_per_s = _sold(ground, seconds=seconds)
    # Once before and once after, so that what else the machine does weighs on both alike.
    tell("TPC-B by pgbench, again")
    bare_per_s = (before_per_s + _bare(ground, seconds=bare_seconds)) / 2
    return {
        "purchases_per_s": Figure(
            value=sold_per_s,
            unit="purchases/s",
            ratio=sold_per_s / bare_per_s,
            against=f"{bare_per_s:,.0f} TPC-B transactions/s of pgbench; {_CLIENTS} clients each",
        )
    }


def _sold(ground: Ground, *, seconds: float) -> float:
    contracts = [one.contract_no for one in ground.customers]
    since = Clock().now()
    with ground.service(workers=_SERVICE_PROCESSES) as url:
        task = {
            "host": LOOPBACK,
            "port": ground.http_port,
            "tokens": ground.cashier_tokens(url, _CLIENTS),
            "amount_yuan": _AMOUNT_YUAN,
            "contracts": (contracts * (_SALES // len(contracts) + 1))[:_SALES],
            "seconds": seconds,
            "every_s": 0,
        }
        with Program("cashiers", task, folder=ground.folder) as cashiers:
            cashiers.wait_ready(within_s=60)
            cashiers.begin()
            sold = cashiers.result(within_s=seconds + 60)
    booked = ground.scalar(_BOOKED, since=since)
    if sold["refused"] or booked != sold["booked"]:
        raise BenchFailed(f"{sold['booked']} answers were 201, {booked} purchases are booked; {sold['refused']}")
    return float(sold["booked"] / sold["seconds"])


def _bare(ground: Ground, *, seconds: int) -> float:
    """Run pgbench in a database of its own, filled at a scale of one branch for each client."""
    ground.postgres.create_database(_BARE_DATABASE)
    try:
        _pgbench(ground, "--initialize", f"--scale={_CLIENTS}", "--quiet")
        said = _pgbench(ground, f"--client={_CLIENTS}", "--jobs=2", f"--time={seconds}", "--no-vacuum")
    finally:
        ground.postgres.drop_database(_BARE_DATABASE)
    found = _TPS.search(said)
    if found is None:
        raise BenchFailed(f"pgbench told no rate:\n{said}")
    return float(found[1])


def _pgbench(ground: Ground, *options: str) -> str:
    program = str(ground.postgres.bin_folder / "pgbench")
    url = ground.postgres.owner_url(_BARE_DATABASE).replace("postgresql+psycopg:", "postgresql:")
    done = subprocess.run(  # noqa: S603 - the program of our own wheel, options of our own
        [program, *options, url], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise BenchFailed(f"pgbench failed:\n{done.stderr}")
    return done.stdout
