"""Starts and stops the whole utility in one folder: database, broker, service, worker and simulated terminals."""

import json
import os
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import yaml
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from app import migrations
from app.clock import Clock, monotonic_s, sleep
from app.database import connect, transaction
from app.demo import seed
from app.demo.people_and_places import DemoCustomer
from app.embedded.broker import EmbeddedBroker
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.postgres import EmbeddedPostgres
from app.load_control.service import Pace
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.mqtt.site_codes import KEY_BYTES, SiteSecret, key_text
from app.settings import Settings
from app.terminals import queries as terminals
from app.terminals.service import note_site_keys

DATABASE = "wattgate"
_READY_WITHIN_S = 30.0
_STOP_WITHIN_S = 20.0
_SAVE_CLOCK_EVERY_S = 1.0
_KEY_ID = "wattgate-1"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What kind of utility: who lives in it and how fast its clock runs."""

    customers: Sequence[DemoCustomer]
    clock_factor: int
    report_interval_s: int = 900
    heartbeat_interval_s: int = 60
    http_port: int = 0
    http_workers: int = 1
    workers: int = 1
    keep_receipted: bool = False
    keep_witnessed: bool = False
    postgres: Mapping[str, str] = field(default_factory=dict)


class NotReady(RuntimeError):
    """A part did not come up; the message ends with the tail of its log."""


class Utility:
    """A running utility in a folder. A second start in the same folder continues where the first stopped."""

    def __init__(self, folder: Path, wanted: Wanted, *, tell: Callable[[str], None] = lambda _line: None) -> None:
        self.folder = folder.resolve()
        self.wanted = wanted
        self._tell = tell
        self.folder.mkdir(parents=True, exist_ok=True)
        self._secrets = _kept_secrets(self.folder / "secrets.json")
        self.postgres = EmbeddedPostgres(self.folder / "postgres", more=wanted.postgres)
        self.broker = EmbeddedBroker(self.folder / "broker")
        self.http_port = wanted.http_port or free_port()
        self.clock = _continued_clock(self.folder / "clock.json", factor=wanted.clock_factor)
        self.engine: Engine
        self.children: dict[str, Child] = {}
        #: Settings of single children beside those that all share.
        self.more: dict[str, dict[str, str]] = {name: {"WATTGATE_WORKER_NAME": name} for name in self.workers}
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="demo-keeper", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def workers(self) -> list[str]:
        return ["worker", *(f"worker-{number}" for number in range(2, self.wanted.workers + 1))]

    @property
    def http_url(self) -> str:
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def settings(self) -> Settings:
        return Settings.model_validate({name.removeprefix("WATTGATE_").lower(): v for name, v in self._own().items()})

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of this utility."""
        return {**_inherited(), **self._own()}

    def start(self) -> None:
        self._tell("starting PostgreSQL")
        self.postgres.start()
        if not self.postgres.has_database(DATABASE):
            self.postgres.create_database(DATABASE)
        self._tell("migrating")
        migrations.upgrade(self.postgres.owner_url(DATABASE))
        self.engine = connect(self.postgres.application_url(DATABASE), pool_size=4)
        self._seed()
        self._tell("starting the broker, the service, the worker and the terminals")
        self._give_users()
        self.broker.start()
        self.start_service()
        for name in self.workers:
            self.start_worker(name)
        self.start_fleet()
        self._wait_ready()
        self._keeper.start()

    def stop(self) -> None:
        """Stop in order: terminals, worker, service, broker, database; and keep the clock's reading."""
        self._stopping.set()
        for name in ("fleet", *self.workers, "service"):
            self.stop_child(name)
        self._save_clock()
        self.broker.stop()
        if hasattr(self, "engine"):
            self.engine.dispose()
        self.postgres.stop()

    def start_service(self) -> None:
        self._start_child("service", ["-m", "app.cli", "serve"])

    def start_worker(self, name: str = "worker") -> None:
        self._start_child(name, ["-m", "app.cli", "worker"])

    def start_fleet(self) -> None:
        self._start_child("fleet", ["-m", "simulators", str(self._write_fleet())])

    def stop_child(self, name: str) -> None:
        child = self.children.pop(name, None)
        if child is not None:
            child.stop(within_s=_STOP_WITHIN_S)

    def suffer(self, terminal_id: str, fault: str, **members: Any) -> None:
        """Let a simulated terminal suffer a fault, such as ``freeze`` for some ``seconds``."""
        self.children["fleet"].tell(json.dumps({"terminal_id": terminal_id, "fault": fault, **members}))

    def wait_service(self) -> None:
        """Wait until the HTTP service answers and its database is migrated.

        Raises:
            NotReady: a process ended, or nothing answered in time.
        """
        self._wait_ready()

    def check_children(self) -> None:
        """Raise :class:`NotReady` when a process has ended by itself."""
        for name, child in self.children.items():
            if child.ended:
                raise NotReady(f"the {name} ended by itself; its log says:\n{child.log_tail()}")

    def _start_child(self, name: str, arguments: list[str]) -> None:
        self.children[name] = Child(
            [sys.executable, *arguments],
            log=self.folder / "logs" / f"{name}.log",
            environment=self.environment | self.more.get(name, {}),
        )

    def _own(self) -> Mapping[str, str]:
        return {
            "WATTGATE_ENVIRONMENT": "demo",
            "WATTGATE_DATABASE_URL": self.postgres.application_url(DATABASE),
            "WATTGATE_TOKEN_SECRET": self._secrets["token_secret"],
            "WATTGATE_SIGNING_KEY_FILE": str(self._signing_key()),
            "WATTGATE_SIGNING_KEY_ID": _KEY_ID,
            "WATTGATE_SITE_SECRET_FILE": str(self._site_secret()),
            "WATTGATE_BROKER_HOST": LOOPBACK,
            "WATTGATE_BROKER_PORT": str(self.broker.port),
            "WATTGATE_BROKER_USER": "wattgate",
            "WATTGATE_BROKER_PASSWORD": self._secrets["broker_password"],
            "WATTGATE_HTTP_HOST": LOOPBACK,
            "WATTGATE_HTTP_PORT": str(self.http_port),
            "WATTGATE_HTTP_WORKERS": str(self.wanted.http_workers),
            "WATTGATE_WORKER_METRICS_PORT": "0",
            "WATTGATE_REPORT_INTERVAL_S": str(self.wanted.report_interval_s),
            "WATTGATE_CLOCK_FACTOR": str(self.clock.factor),
            "WATTGATE_CLOCK_STARTED_AT": self.clock.started_at.isoformat(),
            "WATTGATE_CLOCK_SHOWN_AT": self.clock.shown_at.isoformat(),
        }

    def _signing_key(self) -> Path:
        path = self.folder / "signing-key.pem"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_bytes(new_private_key_pem())
        return path

    def _site_secret(self) -> Path:
        path = self.folder / "site-secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(KEY_BYTES))
        return path

    def _seed(self) -> None:
        if not seed.is_empty(self.engine):
            return
        self._tell("seeding a small utility")
        pace = Pace(clock=self.clock, report_interval_s=self.wanted.report_interval_s)
        signed = seed.seed(self.engine, self.wanted.customers, pace=pace, now=self.clock.now())
        signer = CommandSigner.from_file(self._signing_key(), key_id=_KEY_ID)
        secret = SiteSecret.from_file(self._site_secret())
        devices = [
            {
                **seed.device(
                    one,
                    public_key_pem=signer.public_key_pem(),
                    key_id=_KEY_ID,
                    report_interval_s=self.wanted.report_interval_s,
                    heartbeat_interval_s=self.wanted.heartbeat_interval_s,
                ),
                "site_key": key_text(secret.key_of(one.customer.terminal_id)),
            }
            for one in signed
        ]
        with transaction(self.engine) as session:
            note_site_keys(session, [one.customer.terminal_id for one in signed], key_id=secret.id)
        (self.folder / "devices.json").write_text(json.dumps(devices, ensure_ascii=False, indent=1))

    def _write_fleet(self) -> Path:
        path = self.folder / "fleet.yaml"
        fleet = {
            "broker": {"host": LOOPBACK, "port": self.broker.port},
            "clock": {
                "factor": self.clock.factor,
                "started_at": self.clock.started_at.isoformat(),
                "shown_at": self.clock.shown_at.isoformat(),
            },
            "memory_dir": str(self.folder / "terminals"),
            "keep_receipted": self.wanted.keep_receipted,
            "keep_witnessed": self.wanted.keep_witnessed,
            "tick_ms": 25,
            "terminals": json.loads((self.folder / "devices.json").read_text()),
        }
        path.write_text(yaml.safe_dump(fleet, allow_unicode=True))
        return path

    def _give_users(self) -> None:
        with transaction(self.engine) as session:
            users = terminals.broker_credentials(session)
        if users != getattr(self, "_users", None):
            self._users = users
            self.broker.set_users(self._secrets["broker_password"], users)

    def _wait_ready(self) -> None:
        deadline_s = monotonic_s() + _READY_WITHIN_S
        while True:
            self.check_children()
            try:
                if httpx.get(f"{self.http_url}/readyz", timeout=2).is_success:
                    return
            except httpx.TransportError:
                pass
            if monotonic_s() > deadline_s:
                raise NotReady(f"the service is not ready after {_READY_WITHIN_S:.0f} s; see {self.folder}/logs")
            sleep(0.05)

    def _keep(self) -> None:
        """Keep the clock's reading for the next start, and let newly registered terminals into the broker."""
        while not self._stopping.wait(_SAVE_CLOCK_EVERY_S):
            self._save_clock()
            # The database may be away for a while; the next turn finds everything where it was.
            with suppress(DBAPIError):
                self._give_users()

    def _save_clock(self) -> None:
        kept = self.folder / "clock.json"
        fresh = kept.with_suffix(".new")
        fresh.write_text(json.dumps({"shown_at": self.clock.now().isoformat()}))
        fresh.replace(kept)


def _kept_secrets(path: Path) -> dict[str, str]:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(
            json.dumps({"token_secret": secrets.token_urlsafe(32), "broker_password": secrets.token_urlsafe(24)})
        )
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def _continued_clock(path: Path, *, factor: int) -> Clock:
    """Go on from the reading that was kept; a little later, since a killed utility kept it up to a second ago."""
    now = datetime.now(UTC)
    if not path.exists():
        return Clock(factor=factor, started_at=now, shown_at=now)
    shown_at = datetime.fromisoformat(json.loads(path.read_text())["shown_at"])
    return Clock(
        factor=factor, started_at=now, shown_at=shown_at + timedelta(seconds=2 * _SAVE_CLOCK_EVERY_S) * factor
    )


def _inherited() -> dict[str, str]:
    """The environment of a child: ours, less settings that belong to another utility."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}
