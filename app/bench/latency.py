"""Measure: from a purchase to its energy at the terminal, with connected terminals and a moderate rate of sales."""

from collections.abc import Callable

from sqlalchemy import text

from app.bench.figures import Figure, percentile
from app.bench.ground import Ground
from app.bench.programs import BenchFailed, Program
from app.clock import Clock
from app.database import transaction
from app.embedded.ports import LOOPBACK

_TERMINALS = 200
_CASHIERS = 4
_PER_S = 20
_SECONDS = 15
_AMOUNT_YUAN = "200000.00"
_VERIFIED_WITHIN_S = 120

_ANSWERING = "SELECT count(*) FROM terminal_live WHERE online AND commandable"
_VERIFIED = """
    SELECT count(*) FROM purchases JOIN commands ON commands.id = purchases.command_id
     WHERE booked_at >= :since AND verified_at IS NOT NULL
"""
_WAITS = text("""
    SELECT CAST(1000 * extract(epoch FROM executed_at - booked_at) AS double precision) AS executed,
           CAST(1000 * extract(epoch FROM verified_at - booked_at) AS double precision) AS verified
      FROM purchases JOIN commands ON commands.id = purchases.command_id
     WHERE booked_at >= :since
""")


def measure(ground: Ground, *, short: bool, tell: Callable[[str], None]) -> dict[str, Figure]:
    """Read all moments from the database: a sale is booked when its request begins, so the sale itself counts."""
    count = min(_TERMINALS, len(ground.customers)) // (10 if short else 1)
    sales = _PER_S * _SECONDS // (10 if short else 1)
    with (
        ground.worker() as worker,
        ground.service(workers=1) as url,
        ground.fleet(count, connects_per_s=200) as fleet,
    ):
        tell(f"{count} terminals connect")
        ground.wait_for(_ANSWERING, count, fleet, within_s=60)
        ground.wait_quiet(worker)
        tell(f"{sales} purchases, {_PER_S} a second, to their terminals")
        since = Clock().now()
        _sell(ground, url, terminals=count, sales=sales)
        ground.wait_for(_VERIFIED, sales, worker, within_s=_VERIFIED_WITHIN_S, since=since)
    with transaction(ground.engine) as session:
        waits = session.execute(_WAITS, {"since": since}).all()
    together = sum(row.executed == row.verified for row in waits)
    figures = {}
    for fact in ("executed", "verified"):
        waits_ms = sorted(getattr(row, fact) for row in waits)
        against = f"commands.{fact}_at - purchases.booked_at; {sales} purchases, {count} terminals"
        if fact == "verified":
            # A terminal tells its new state right after its answer, so that one batch records both, at one moment.
            against += f"; of {together} the answer and the state that proves it came in one batch"
        for percent in (50, 99):
            value = percentile(waits_ms, percent)
            figures[f"purchase_to_{fact}_p{percent}_ms"] = Figure(value=value, unit="ms", against=against)
    return figures


def _sell(ground: Ground, url: str, *, terminals: int, sales: int) -> None:
    contracts = [one.contract_no for one in ground.customers[:terminals]]
    task = {
        "host": LOOPBACK,
        "port": ground.http_port,
        "tokens": ground.cashier_tokens(url, _CASHIERS),
        "amount_yuan": _AMOUNT_YUAN,
        "contracts": (contracts * (sales // terminals + 1))[:sales],
        "seconds": 10 * _SECONDS,
        "every_s": _CASHIERS / _PER_S,
    }
    with Program("cashiers", task, folder=ground.folder) as cashiers:
        cashiers.wait_ready(within_s=60)
        cashiers.begin()
        sold = cashiers.result(within_s=60)
    if sold["booked"] != sales:
        raise BenchFailed(f"{sold['booked']} of {sales} purchases were booked; {sold['refused']}")
