"""The ground that everything is measured on: one durable database server, one broker, one seeded utility."""

import json
import os
import resource
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import httpx
from sqlalchemy import Engine, text

from app import migrations
from app.bench.programs import BenchFailed
from app.clock import Clock, monotonic_s, sleep
from app.database import connect, transaction
from app.demo import seed
from app.demo.people_and_places import PASSWORD, STORY_CUSTOMERS, DemoCustomer
from app.embedded.broker import SERVICE_USER, EmbeddedBroker
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.postgres import EmbeddedPostgres
from app.load_control.service import Pace
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.mqtt.topics import QOS
from app.roles import Role
from app.staff import queries as staff_queries
from app.staff import service as staff
from app.terminals import queries as terminals

DATABASE = "wattgate"
REPORT_INTERVAL_S = 900
HEARTBEAT_INTERVAL_S = 60
#: With which thousands subscribe, and the worker for them, as the contract has it on NATS. With 1 the embedded broker
#: looks through all their consumers for each message: at 5,000 of them it threw even a bare publisher out.
QOS_OF_THOUSANDS = 0

_KEY_ID = "wattgate-1"
_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 30.0
_POLL_S = 0.05
_FILES_A_TERMINAL = 2

_FILLED = """
    SELECT format('%I', relname) FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
"""


class Ground:
    """Starts the servers and a utility of so many customers; lends processes of the service for a while."""

    def __init__(self, folder: Path, *, customers: int) -> None:
        self.folder = folder
        self.customers = [replace(STORY_CUSTOMERS[0], number=number) for number in range(1, customers + 1)]
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.broker = EmbeddedBroker(folder / "broker")
        self.http_port = free_port()
        self.engine: Engine
        self._token_secret = secrets.token_urlsafe(32)
        self._signing_key = folder / "signing-key.pem"
        self._devices: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.stop()
        if hasattr(self, "engine"):
            self.engine.dispose()
        self.postgres.stop()

    @contextmanager
    def worker(self, *, subscribe_qos: int = QOS) -> Iterator[Child]:
        """Run the worker until it has nothing left to decide, and for as long as the caller needs it."""
        own = {"WATTGATE_BROKER_SUBSCRIBE_QOS": str(subscribe_qos)}
        with self._child("worker", ["-m", "app.cli", "worker"], own=own) as child:
            self._wait(lambda: "connected to the broker" in child.log_tail(100_000), "the worker to connect", child)
            self.wait_quiet(child)
            yield child

    @contextmanager
    def service(self, *, workers: int) -> Iterator[str]:
        """Run the HTTP service; lends its address."""
        url = f"http://{LOOPBACK}:{self.http_port}"
        own = {"WATTGATE_HTTP_WORKERS": str(workers)}
        with self._child("service", ["-m", "app.cli", "serve"], own=own) as child:
            self._wait(lambda: _is_ready(url), "the service to be ready", child)
            yield url

    @contextmanager
    def fleet(self, count: int, *, connects_per_s: int, subscribe_qos: int = QOS) -> Iterator[Child]:
        """Run simulated terminals that forget all when they end."""
        path = self.folder / "fleet.json"
        fleet = {
            "broker": {"host": LOOPBACK, "port": self.broker.port, "subscribe_qos": subscribe_qos},
            "connects_per_s": connects_per_s,
            "terminals": self._devices[:count],
        }
        path.write_text(json.dumps(fleet))
        with self._child("fleet", ["-m", "simulators", str(path), "--quiet"]) as child:
            yield child
        self.renew_broker()

    def renew_broker(self) -> None:
        """Take a fresh one: for each of thousands of subscriptions that end the broker looks through the others."""
        self.broker.kill()
        self.broker.start()

    def credential(self, customer: DemoCustomer) -> str:
        """Return the password of the customer's terminal."""
        return str(self._devices[customer.number - 1]["password"])

    def cashier_tokens(self, url: str, count: int) -> list[str]:
        """Hire so many cashiers, open each a shift and sign them in: who sell at once are not the same person."""
        names = [f"till-{secrets.token_hex(4)}" for _ in range(count)]
        with transaction(self.engine) as session:
            (office, *_) = staff_queries.list_offices(session, limit=1)
            for name in names:
                now = Clock().now()
                cashier = staff.hire(session, _cashier(name), office=office, now=now)
                seed.open_till_and_shift(session, cashier, till_no=name.upper(), now=now)
        return [_signed_in(url, name) for name in names]

    def scalar(self, statement: str, **values: Any) -> Any:
        with transaction(self.engine) as session:
            return session.execute(text(statement), values).scalar_one()

    def wait_for(self, statement: str, wanted: int, child: Child, *, within_s: float, **values: Any) -> float:
        """Ask the database until it gives the wanted number; returns the moment, in seconds that never go back.

        Raises:
            BenchFailed: the child ended, or it took too long.
        """
        self._wait(lambda: self.scalar(statement, **values) >= wanted, f"{wanted} by {statement}", child, within_s)
        return monotonic_s()

    def wait_quiet(self, child: Child) -> None:
        """Wait until every decision that is due is made, so that the figure is not mixed with what came before."""
        due = "SELECT -count(*) FROM control_states WHERE look_again_at <= now()"
        self.wait_for(due, 0, child, within_s=_READY_WITHIN_S)

    def _start(self) -> None:
        _allow_open_files(_FILES_A_TERMINAL * len(self.customers) + 1024)
        self.postgres.start()
        self.postgres.create_database(DATABASE)
        migrations.upgrade(self.postgres.owner_url(DATABASE))
        self.engine = connect(self.postgres.application_url(DATABASE), pool_size=4)
        self._signing_key.touch(mode=0o600)
        self._signing_key.write_bytes(new_private_key_pem())
        self._seed()
        with transaction(self.engine) as session:
            self.broker.set_users(self.broker.service_password, terminals.broker_credentials(session))
        self.broker.start()

    def _seed(self) -> None:
        pace = Pace(clock=Clock(), report_interval_s=REPORT_INTERVAL_S)
        signed = seed.seed(self.engine, self.customers, pace=pace, now=Clock().now())
        self._analyze()
        public_key_pem = CommandSigner.from_file(self._signing_key, key_id=_KEY_ID).public_key_pem()
        self._devices = [
            seed.device(
                one,
                public_key_pem=public_key_pem,
                key_id=_KEY_ID,
                report_interval_s=REPORT_INTERVAL_S,
                heartbeat_interval_s=HEARTBEAT_INTERVAL_S,
            )
            for one in signed
        ]

    def _analyze(self) -> None:
        """Do at once what autovacuum does in the first minutes of a site's life.

        It leaves empty tables alone: known to be empty, one would be read from end to end by every plan made so far.
        """
        owner = connect(self.postgres.owner_url(DATABASE), pool_size=1)
        with transaction(owner) as session:
            filled = session.scalars(text(_FILLED)).all()
            session.execute(text(f"ANALYZE {', '.join(filled)}"))
        owner.dispose()

    @contextmanager
    def _child(self, name: str, arguments: Iterable[str], *, own: dict[str, str] | None = None) -> Iterator[Child]:
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        environment = {**_inherited(), **self._settings(), **(own or {})}
        child = Child([sys.executable, *arguments], log=log, environment=environment)
        try:
            yield child
        finally:
            child.stop(within_s=_STOP_WITHIN_S)

    def _settings(self) -> dict[str, str]:
        return {
            "WATTGATE_ENVIRONMENT": "test",
            "WATTGATE_DATABASE_URL": self.postgres.application_url(DATABASE),
            "WATTGATE_TOKEN_SECRET": self._token_secret,
            "WATTGATE_SIGNING_KEY_FILE": str(self._signing_key),
            "WATTGATE_SIGNING_KEY_ID": _KEY_ID,
            "WATTGATE_BROKER_HOST": LOOPBACK,
            "WATTGATE_BROKER_PORT": str(self.broker.port),
            "WATTGATE_BROKER_USER": SERVICE_USER,
            "WATTGATE_BROKER_PASSWORD": self.broker.service_password,
            "WATTGATE_HTTP_HOST": LOOPBACK,
            "WATTGATE_HTTP_PORT": str(self.http_port),
            "WATTGATE_WORKER_METRICS_PORT": "0",
            "WATTGATE_REPORT_INTERVAL_S": str(REPORT_INTERVAL_S),
        }

    def _wait(self, happened: Callable[[], bool], what: str, child: Child, within_s: float = _READY_WITHIN_S) -> None:
        deadline_s = monotonic_s() + within_s
        while not happened():
            if child.ended or monotonic_s() > deadline_s:
                raise BenchFailed(f"waited in vain for {what}; the log says:\n{child.log_tail()}")
            sleep(_POLL_S)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).is_success
    except httpx.TransportError:
        return False


def _inherited() -> dict[str, str]:
    """Return our environment less settings that belong to another utility."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}


def _allow_open_files(wanted: int) -> None:
    """Raise the limit of this process, which its children inherit: each terminal is a socket at both of its ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _cashier(name: str) -> staff.NewStaffMember:
    return staff.NewStaffMember(
        sign_in_name=name, name_zh="收费员", name_en="Cashier", password=PASSWORD, roles=[Role.CASHIER]
    )


def _signed_in(url: str, name: str) -> str:
    signed_in = httpx.post(f"{url}/api/v1/auth/token", data={"username": name, "password": PASSWORD}, timeout=30)
    return str(signed_in.raise_for_status().json()["access_token"])
