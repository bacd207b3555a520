"""Many simulated terminals, tills that sell, workers as processes, and a witness who counts the orders."""

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
from databases import Database
from factories import a_contract, a_person, a_purchase, a_terminal, an_open_shift, an_ordered_trip
from peers import Peer, eventually
from running import settings_for
from sqlalchemy import text

from app.clock import Clock
from app.customers.queries import contract_by_no
from app.database import transaction
from app.embedded.children import Child
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.roles import Role
from app.verification import HOLDS, INVARIANTS, prove
from simulators.fleet import Fleet
from simulators.profile import BrokerProfile, FleetProfile, many
from simulators.workbench import terminal_profile

LEASE_S = 3
KEY_ID = "wattgate-1"
PAID_FEN = 8_000_000
_WHOLE_LOG = 10_000_000
#: On a busy machine a traced worker needs twenty seconds to start.
_SEEN_WITHIN_S = 60

_STORED = text("""
    SELECT seq FROM terminal_reports WHERE terminal_id = :id
     UNION ALL SELECT seq FROM terminal_events WHERE terminal_id = :id ORDER BY seq
""")
_SHARES = text("""
    SELECT worker.name, count(*) AS shares FROM worker_shares AS share JOIN workers AS worker ON worker.id = worker_id
     WHERE worker.ended_at IS NULL GROUP BY worker.name
""")
_BOOKS = text("""
    SELECT terminal.id, terminal.last_order_no, allowance.paid_until_wh
      FROM terminals AS terminal JOIN allowances AS allowance USING (supply_point_id)
""")
_UNPROVED = text("SELECT count(*) FROM commands WHERE op = 'credit' AND ended_at IS NULL")
_COMMANDABLE = text("SELECT count(*) FROM terminal_live WHERE online AND commandable")
_HEARD = text("SELECT count(*) FROM terminal_live WHERE online AND commandable AND seen_at > :since")


@dataclass(kw_only=True)
class Town:
    """A database with contracts, and a fleet; workers come and go."""

    database: Database
    folder: Path
    terminals: tuple[str, ...]
    points: dict[str, UUID]
    broker: dict[str, str]
    fleet: Fleet
    workers: dict[str, Child] = field(default_factory=dict)
    started: list[Child] = field(default_factory=list)
    sold: int = 0

    def start_worker(self, name: str, **different: str) -> Child:
        self.workers[name] = self.launch(name, **different)
        return self.workers[name]

    def launch(self, name: str, **different: str) -> Child:
        """Start a worker that may not be the one of its name."""
        own = {
            "ENVIRONMENT": "test",
            "DATABASE_URL": self.database.application_url,
            "TOKEN_SECRET": settings_for("").token_secret.get_secret_value(),
            "SIGNING_KEY_FILE": str(self.folder / "signing-key.pem"),
            "SIGNING_KEY_ID": KEY_ID,
            "WORKER_NAME": name,
            "WORKER_LEASE_S": str(LEASE_S),
            "WORKER_METRICS_PORT": "0",
            **self.broker,
            **different,
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WATTGATE_")}
        child = Child(
            [sys.executable, "-m", "app.cli", "worker"],
            log=self.folder / f"{name}-{len(self.started)}.log",
            environment={**inherited, **{f"WATTGATE_{key}": value for key, value in own.items()}},
        )
        self.started.append(child)
        return child

    def said(self, name: str, event: str) -> list[dict[str, Any]]:
        """The lines of a worker's log, of its present life, that tell of an event."""
        lines = self.workers[name].log_tail(_WHOLE_LOG).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and f'"{event}' in line]

    def signal(self, name: str, number: signal.Signals) -> None:
        self.workers[name].signal(number)

    def sees(self, happened: Callable[[], Any], *, within_s: float = _SEEN_WITHIN_S) -> None:
        """Wait for something without keeping the workers from their processor."""
        eventually(happened, within_s=within_s, every_s=0.1)

    def ask(self, question: Any, **values: Any) -> list[Any]:
        with transaction(self.database.engine) as session:
            return list(session.execute(question, values))

    def shares(self) -> dict[str, int]:
        return {row.name: row.shares for row in self.ask(_SHARES)}

    def all_commandable(self) -> bool:
        return bool(self.ask(_COMMANDABLE)[0].count == len(self.terminals))

    def all_heard_since(self, moment: datetime) -> bool:
        return bool(self.ask(_HEARD, since=moment)[0].count == len(self.terminals))

    def stored(self, terminal_id: str) -> list[int]:
        return [row.seq for row in self.ask(_STORED, id=terminal_id)]

    def order_trips(self, *terminal_ids: str) -> list[UUID]:
        with transaction(self.database.engine) as session:
            return [an_ordered_trip(session, supply_point_id=self.points[one]) for one in terminal_ids]

    @contextmanager
    def selling(self, *terminal_ids: str, every_s: float = 0.2) -> Iterator[None]:
        """Sell 100 MWh again and again, to one customer after the other."""
        ended = threading.Event()
        failures: list[Exception] = []
        with transaction(self.database.engine) as session:
            cashier = a_person(session, role=Role.CASHIER)
            an_open_shift(session, cashier=cashier)

        def sell() -> None:
            while not ended.wait(every_s):
                name = terminal_ids[self.sold % len(terminal_ids)]
                try:
                    with transaction(self.database.engine) as session:
                        contract = contract_by_no(session, f"HT-{name}")
                        a_purchase(session, contract=contract, now=Clock().now(), cashier=cashier, paid_fen=PAID_FEN)
                except Exception as error:  # noqa: BLE001 - the test says what a failed sale means
                    failures.append(error)
                    return
                self.sold += 1

        tills = threading.Thread(target=sell)
        tills.start()
        try:
            yield
        finally:
            ended.set()
            tills.join()
        assert failures == []

    def prove_that_nothing_is_lost(self, *, within_s: float = 40) -> int:
        """Wait until all is at rest, then hold terminals against books; returns how many messages were made."""
        self.sees(self.all_commandable, within_s=within_s)
        self.sees(lambda: self.ask(_UNPROVED)[0].count == 0, within_s=within_s)
        self.fleet.stop()
        for one in self.terminals:
            stored = self.stored(one)
            assert len(stored) == len(set(stored)), f"{one} has numbers twice"
            missing = set(range(1, self.fleet.terminal(one).made + 1)) - set(stored)
            spooled = self.fleet.terminal(one).spooled
            assert len(missing) <= spooled, f"{one} lost {sorted(missing)}, and has {spooled} in its spool"
        books = {row.id: (row.last_order_no, row.paid_until_wh) for row in self.ask(_BOOKS)}
        held = {one: self.fleet.terminal(one).state for one in self.terminals}
        assert {one: (state.order_no, state.paid_until_wh) for one, state in held.items()} == books
        proofs = {one.name: prove(self.database.engine, one) for one in INVARIANTS}
        assert {name: proof for name, proof in proofs.items() if proof != HOLDS} == {}
        return sum(self.fleet.terminal(one).made for one in self.terminals)


@contextmanager
def a_town(
    database: Database, folder: Path, *, terminals: dict[str, str], broker: dict[str, str], wire: BrokerProfile
) -> Iterator[Town]:
    """Contracts and a fleet for terminals with these passwords, which the broker knows already."""
    points = {}
    with transaction(database.engine) as session:
        for name in terminals:
            points[name] = a_contract(session, contract_no=f"HT-{name}").supply_point_id
            a_terminal(session, supply_point_id=points[name], terminal_id=name)
    key = folder / "signing-key.pem"
    key.write_bytes(new_private_key_pem())
    like = terminal_profile(
        service_public_key_pem=CommandSigner.from_file(key, key_id=KEY_ID).public_key_pem(),
        service_key_id=KEY_ID,
        report_interval_s=1,
        heartbeat_interval_s=1,
    )
    now = Clock().now()
    fleet = Fleet(
        FleetProfile(
            broker=wire,
            clock={"factor": 1, "started_at": now, "shown_at": now},  # type: ignore[arg-type]
            terminals=many(like, ids=terminals, password=terminals.__getitem__),
        )
    )
    town = Town(
        database=database, folder=folder, terminals=tuple(terminals), points=points, broker=broker, fleet=fleet
    )
    try:
        yield town
    finally:
        fleet.stop()
        for number in (signal.SIGCONT, signal.SIGTERM):
            for worker in town.started:
                worker.signal(number)
        for worker in town.started:
            worker.stop(within_s=10)


class Witness:
    """Reads all orders off the wire."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        assert peer.subscribe("lm/v1/+/dn/command")

    @property
    def tokens(self) -> Counter[str]:
        return Counter(self._peer.payloads)

    def steps(self) -> Counter[tuple[str, str]]:
        """How often each step of each cut was sent."""
        claims = [jwt.decode(one, options={"verify_signature": False}) for one in self._peer.payloads]
        return Counter((one["id"], one["step"]) for one in claims if one.get("op") == "trip")
