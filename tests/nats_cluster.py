"""Three NATS servers that are one broker, started with the configuration that is deployed."""

import secrets
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import bcrypt
from mosquitto import DEPLOYED, Authority, certify
from peers import V311, Peer, eventually

from app.embedded.broker import SERVICE_USER, nats_program
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.users import authorization
from app.mqtt.topics import ALL_UP

NODES = ("nats-1", "nats-2", "nats-3")
WITNESS = "WITNESS"
#: Two of three servers must agree who leads; that takes seconds at a first start and when one is lost.
ELECTED_WITHIN_S = 60.0


class NatsCluster:
    """Three nodes on the loopback address, TLS inside and outside, with a certificate of the tests' own authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.service_password = secrets.token_urlsafe(24)
        self.authority = folder / "authority.pem"
        self.ports = {node: free_port() for node in NODES}
        self._routes = {node: free_port() for node in NODES}
        self._running: dict[str, Child] = {}
        folder.mkdir(parents=True, exist_ok=True)
        certify(folder, Authority("Wattgate test authority"))
        for node in NODES:
            (folder / node).mkdir(exist_ok=True)
            self._write_configuration(node)
        self.set_users({})

    def __enter__(self) -> Self:
        for node in NODES:
            self.start(node)
        return self

    def __exit__(self, *_: object) -> None:
        for node in list(self._running):
            self.kill(node)

    @property
    def hosts(self) -> str:
        """What a worker is told of the broker."""
        return ",".join(f"{LOOPBACK}:{self.ports[node]}" for node in NODES)

    def start(self, node: str) -> None:
        configuration = self._folder / node / "nats.conf"
        command = [nats_program(), "--config", str(configuration)]
        self._running[node] = Child(command, log=self._folder / f"{node}.log", environment={"NODE": node})

    def kill(self, node: str) -> None:
        """End a node at once, as a power cut would."""
        self._running.pop(node).kill()

    def set_users(self, terminals: Mapping[str, str]) -> None:
        """Let in these terminals with these passwords in clear, and a witness that may read everything."""
        services = {SERVICE_USER: hashed(self.service_password)}
        lines = authorization(services=services, terminals={name: hashed(word) for name, word in terminals.items()})
        witness = (
            f'  {{"user": "{WITNESS}", "password": "{hashed(WITNESS)}", "permissions": {{"subscribe": "lm.>"}}}}'
        )
        self.read(lines.replace("\n] }", f"\n{witness}\n] }}") + "\n")

    def read(self, lines: str) -> None:
        """Take in a list of users as ``wattgate broker-users`` writes it."""
        for node in NODES:
            (self._folder / node / "users.conf").write_text(lines)
        for child in self._running.values():
            child.signal(signal.SIGHUP)

    def enter(self, node: str, user: str, password: str, **how: object) -> Peer:
        return Peer(
            self.ports[node],
            user,
            password,
            authority=self.authority,
            **({"protocol": V311} | how),  # type: ignore[arg-type]
        )

    def wait_until_it_serves(self, node: str = NODES[0]) -> None:
        """Wait until a node grants a subscription, which needs two nodes that have agreed who leads."""
        eventually(lambda: self._serves(node), within_s=ELECTED_WITHIN_S)

    def _serves(self, node: str) -> bool:
        try:
            with self.enter(node, WITNESS, WITNESS, client_id=f"probe-{secrets.token_hex(4)}") as probe:
                return probe.welcome == "Success" and probe.subscribe(ALL_UP)
        except OSError:
            return False

    def _write_configuration(self, node: str) -> None:
        own = {
            "listen: 127.0.0.1:4222": f'listen: "{LOOPBACK}:-1"',
            "http: 127.0.0.1:8222": f'http: "{LOOPBACK}:-1"',
            "listen: 0.0.0.0:6222": f'listen: "{LOOPBACK}:{self._routes[node]}"',
            **{f"nats-route://{one}:6222": f'"nats-route://{LOOPBACK}:{self._routes[one]}"' for one in NODES},
            "listen: 0.0.0.0:8883": f'listen: "{LOOPBACK}:{self.ports[node]}"',
            "/data/jetstream": f'"{self._folder / node / "jetstream"}"',
            "/run/secrets/broker_certificate": f'"{self._folder / "certificate.pem"}"',
            "/run/secrets/broker_key": f'"{self._folder / "key.pem"}"',
            "/run/secrets/cluster_authority": f'"{self.authority}"',
        }
        written = (DEPLOYED / "nats-cluster.conf").read_text()
        for deployed, put_in in own.items():
            assert deployed in written, deployed
            written = written.replace(deployed, put_in)
        (self._folder / node / "nats.conf").write_text(written)


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
