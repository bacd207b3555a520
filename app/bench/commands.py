"""Measures: credits a second to `executed` and to `verified`, and how long a region that was away waits for them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text

from app.bench.figures import Figure
from app.bench.ground import QOS_OF_THOUSANDS, REPORT_INTERVAL_S, Ground
from app.bench.programs import BenchFailed, Program
from app.clock import Clock, monotonic_s, sleep
from app.database import first_id_of, transaction
from app.embedded.broker import SERVICE_USER
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK
from app.load_control.service import Pace
from app.mqtt import topics
from app.purchases import service as purchases
from app.staff.models import StaffMember

_PAID_FEN = 100_000 * 100
_CASHIER = "cashier"
_WITHIN_S = 240
_POLL_S = 0.05
_BARE_ROUNDS = 3
#: One row that each sale changes grows slow within a transaction of thousands of them.
_BOOKED_TOGETHER = 100

_ANSWERING = "SELECT count(*) FROM terminal_live WHERE online AND commandable"
_AWAY = "SELECT -count(*) FROM terminal_live WHERE online"
_KNOWN = text("""
    SELECT terminal.id AS terminal_id, allowance.paid_until_wh, terminal.last_order_no AS order_no,
           coalesce(live.supplied_wh, 0) AS supplied_wh
      FROM terminals AS terminal JOIN allowances AS allowance USING (supply_point_id)
      JOIN terminal_live AS live ON live.terminal_id = terminal.id
""")
_COME = text("SELECT count(executed_at) AS executed, count(verified_at) AS verified FROM commands WHERE id >= :first")

_DUE = text("UPDATE commands SET due_at = CAST(:due_at AS timestamptz) WHERE id >= :first AND state = 'waiting'")


class _Reached(NamedTuple):
    """The moments at which every credit was executed and verified."""

    executed_s: float
    verified_s: float


def measure(ground: Ground, *, short: bool, tell: Callable[[str], None]) -> dict[str, Figure]:
    """Give every terminal a credit at once, and again after all were away; then give the broker alone the payloads.

    The sales are booked before: what they cost, the measure of purchases says.
    """
    del short  # the ground is smaller then
    count = len(ground.customers)
    with _terminals(ground) as terminals:
        with ground.worker(subscribe_qos=QOS_OF_THOUSANDS) as worker:
            tell(f"{count:,} terminals connect")
            terminals.ask("live", within_s=_WITHIN_S)
            ground.wait_for(_ANSWERING, count, worker, within_s=_WITHIN_S)
            ground.wait_quiet(worker)
            tell(f"{count:,} credits to their terminals")
            first = _book(ground)
            ground.wait_quiet(worker)
            due_s = _let_go(ground, first)
            reached = _reached(ground, worker, first=first, wanted=count)
            tokens = _tokens(ground, terminals)
            tell(f"{count:,} terminals are away, and credits are booked")
            restore_s = _restored(ground, terminals, worker)
        tell(f"{count:,} terminals connect to the broker alone")
        terminals.ask("drop", within_s=_WITHIN_S)
        bare_connect_s = _took(terminals.ask("connect", within_s=_WITHIN_S))
        tell(f"{count:,} credits by the broker alone")
        bare_per_s = count / _mean([_fanned_out_s(ground, terminals, tokens) for _ in range(_BARE_ROUNDS)])
    return {
        **_rates(reached, due_s=due_s, count=count, bare_per_s=bare_per_s, tokens=tokens),
        "restore_5000": Figure(
            value=restore_s,
            unit="s",
            ratio=restore_s / bare_connect_s,
            against=f"{bare_connect_s:,.1f} s for the same {count:,} to connect and subscribe, with nobody behind the"
            " broker; from the first connect until each of them has shown the credit booked while it was away",
        ),
    }


def _rates(
    reached: _Reached, *, due_s: float, count: int, bare_per_s: float, tokens: dict[str, str]
) -> dict[str, Figure]:
    size = sum(map(len, tokens.values())) // len(tokens)
    against = (
        f"{bare_per_s:,.0f} of the same payloads/s by the broker alone to {count:,} sockets; {size} bytes each,"
        f" subscriptions of QoS {QOS_OF_THOUSANDS}; for each command come back two answers and a heartbeat"
    )
    found = {}
    for fact in ("executed", "verified"):
        per_s = count / (getattr(reached, f"{fact}_s") - due_s)
        found[f"commands_to_{fact}_per_s"] = Figure(
            value=per_s, unit="commands/s", ratio=per_s / bare_per_s, against=against
        )
    return found


@contextmanager
def _terminals(ground: Ground) -> Iterator[Program]:
    with transaction(ground.engine) as session:
        known = {row["terminal_id"]: dict(row) for row in session.execute(_KNOWN).mappings()}
    task = {
        **_broker(ground),
        "subscribe_qos": QOS_OF_THOUSANDS,
        "terminals": [{**known[one.terminal_id], "password": ground.credential(one)} for one in ground.customers],
    }
    with Program("obeying", task, folder=ground.folder) as terminals:
        terminals.wait_ready(within_s=60)
        yield terminals
    ground.renew_broker()


def _book(ground: Ground) -> UUID:
    """Book a purchase for everybody; none of the credits is due before all are there. Returns an id below theirs."""
    first = first_id_of(Clock().now())
    with transaction(ground.engine) as session:
        cashier_id = session.scalars(select(StaffMember.id).where(StaffMember.sign_in_name == _CASHIER)).one()
    pace = Pace(clock=Clock(), report_interval_s=REPORT_INTERVAL_S)
    for start in range(0, len(ground.customers), _BOOKED_TOGETHER):
        with transaction(ground.engine) as session:
            for one in ground.customers[start : start + _BOOKED_TOGETHER]:
                sale = purchases.Sale(contract_no=one.contract_no, paid_fen=_PAID_FEN, cashier_id=cashier_id)
                purchases.sell_energy(session, sale, pace=pace, now=Clock().now())
            session.execute(_DUE, {"first": first, "due_at": "infinity"})
    return first


def _let_go(ground: Ground, first: UUID) -> float:
    """Make all credits due at once; returns when they were, in seconds that never go back."""
    with transaction(ground.engine) as session:
        session.execute(_DUE, {"first": first, "due_at": "now"})
    return monotonic_s()


def _reached(ground: Ground, worker: Child, *, first: UUID, wanted: int) -> _Reached:
    deadline_s, executed_s = monotonic_s() + _WITHIN_S, 0.0
    while True:
        with transaction(ground.engine) as session:
            come = session.execute(_COME, {"first": first}).one()
        now_s = monotonic_s()
        if come.executed >= wanted:
            executed_s = executed_s or now_s
        if come.verified >= wanted:
            return _Reached(executed_s, now_s)
        if worker.ended or now_s > deadline_s:
            raise BenchFailed(f"{come} of {wanted} after {_WITHIN_S} s; the log says:\n{worker.log_tail()}")
        sleep(_POLL_S)


def _restored(ground: Ground, terminals: Program, worker: Child) -> float:
    """Cut all off, book for all, let all come back; returns the seconds from the first connect to the last proof."""
    terminals.ask("drop", within_s=_WITHIN_S)
    ground.wait_for(_AWAY, 0, worker, within_s=_WITHIN_S)
    first = _book(ground)
    _let_go(ground, first)
    ground.wait_quiet(worker)
    back = terminals.ask("live", within_s=_WITHIN_S)
    reached = _reached(ground, worker, first=first, wanted=len(ground.customers))
    return float(reached.verified_s - back["began_s"])


def _tokens(ground: Ground, terminals: Program) -> dict[str, str]:
    path = ground.folder / "tokens.json"
    terminals.ask(f"tokens {path}", within_s=60)
    tokens: dict[str, str] = json.loads(path.read_text())
    return tokens


def _fanned_out_s(ground: Ground, terminals: Program, tokens: dict[str, str]) -> float:
    path = ground.folder / "messages.json"
    path.write_text(json.dumps([(topics.down(name, "command"), token) for name, token in tokens.items()]))
    service = {**_broker(ground), "user": SERVICE_USER, "password": ground.broker.service_password}
    terminals.ask("count", within_s=60)
    with Program("publisher", {**service, "messages": str(path)}, folder=ground.folder) as publisher:
        publisher.wait_ready(within_s=60)
        publisher.begin()
        began_s = publisher.result(within_s=_WITHIN_S)["began_s"]
        return float(terminals.result(within_s=_WITHIN_S)["ended_s"] - began_s)


def _broker(ground: Ground) -> dict[str, Any]:
    return {"host": LOOPBACK, "port": ground.broker.port}


def _took(connected: dict[str, Any]) -> float:
    return float(connected["ended_s"] - connected["began_s"])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
