"""The kit's own end of the wire: a bare MQTT peer that keeps every frame, in either direction, in its order."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from app.clock import monotonic_s
from app.mqtt.topics import QOS

_Found = TypeVar("_Found")

_ANSWERED_WITHIN_S = 10.0
_SHOWN_CHARACTERS = 360


@dataclass(frozen=True, kw_only=True)
class Address:
    """A broker, and who the kit is there."""

    host: str
    port: int
    user: str
    password: str | None
    ca_file: Path | None = None


class Frame(NamedTuple):
    """One message; `shown` is what people read, the claims of a command instead of its token."""

    ours: bool
    kind: str
    payload: bytes
    qos: int
    retained: bool
    at_s: float
    shown: str


class CannotRun(Exception):
    """Nothing can be said about anybody: the kit itself has no ground to stand on."""

    def __init__(self, detail: str, *, remedy: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy


class Line:
    """One connection; it does not come back by itself, for a kit that was away has not seen what went by."""

    def __init__(
        self, address: Address, *, client_id: str, listens_to: str, will: tuple[str, bytes] | None = None
    ) -> None:
        self.frames: list[Frame] = []
        self.address = address
        self._listens_to = listens_to
        self._news = threading.Condition()
        self._ready = False
        self._ended: str | None = None
        self._wanted = True
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(address.user, address.password)
        if address.ca_file is not None:
            client.tls_set(ca_certs=str(address.ca_file))
        if will is not None:
            client.will_set(will[0], will[1], qos=QOS, retain=False)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_publish = lambda *_: self._tell()
        self._client = client

    def open(self) -> None:
        """Connect and subscribe.

        Raises:
            CannotRun: the broker is away, or lets nobody of this name in.
        """
        where = f"{self.address.host}:{self.address.port}"
        try:
            self._client.connect(self.address.host, self.address.port, keepalive=30)
        except OSError as error:
            raise CannotRun(
                f"There is no broker at {where}: {error}.", remedy="Name one with --broker HOST:PORT."
            ) from error
        self._client.loop_start()
        self.wait_for(lambda: self._ready or None, until_s=monotonic_s() + _ANSWERED_WITHIN_S)
        if not self._ready:
            self.close()
            raise CannotRun(
                f"The broker at {where} does not answer a CONNECT and SUBSCRIBE as MQTT 3.1.1.",
                remedy="Name its MQTT port, and --ca-file when it wants TLS.",
            )

    def publish(self, topic: str, payload: bytes, *, retained: bool = False, shown: str | None = None) -> None:
        """Hand a message to the broker and wait until it has it.

        Raises:
            CannotRun: the connection is gone.
        """
        kind = topic.rpartition("/")[2]
        with self._news:
            self.frames.append(
                Frame(True, kind, payload, QOS, retained, monotonic_s(), shown or self._readable(payload))
            )
        try:
            info = self._client.publish(topic, payload, qos=QOS, retain=retained)
            self.wait_for(lambda: info.is_published() or None, until_s=monotonic_s() + _ANSWERED_WITHIN_S)
        except (RuntimeError, ValueError) as error:
            raise CannotRun(f"The broker did not take a message: {error}.", remedy="Look at its log.") from error

    def wait_for(self, found: Callable[[], _Found | None], *, until_s: float) -> _Found | None:
        """Return what ``found`` finds, asked anew with each frame that comes, or None when the time is over."""
        with self._news:
            while (what := found()) is None:
                self._alive()
                left_s = until_s - monotonic_s()
                if left_s <= 0:
                    return None
                self._news.wait(min(left_s, 0.5))
            return what

    def close(self) -> None:
        self._wanted = False
        self._client.disconnect()
        self._client.loop_stop()

    def vanish(self) -> None:
        """End without a word, so that the broker publishes the last will."""
        self._wanted = False
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._client.loop_stop()

    def _alive(self) -> None:
        if self._ended is not None and self._wanted:
            raise CannotRun(
                f"The broker ended the connection of {self.address.user!r}: {self._ended}.",
                remedy="Check user and password, and that nobody else connects under the kit's client id.",
            )

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def _on_connect(self, client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._ended = str(reason)
        else:
            client.subscribe(self._listens_to, qos=QOS)
        self._tell()

    def _on_subscribe(self, _client: Client, _userdata: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._ended = f"it does not grant {self._listens_to}"
        else:
            self._ready = True
        self._tell()

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        kind = message.topic.rpartition("/")[2]
        payload = bytes(message.payload)
        frame = Frame(False, kind, payload, message.qos, message.retain, monotonic_s(), self._readable(payload))
        with self._news:
            self.frames.append(frame)
            self._news.notify_all()

    def _on_disconnect(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._ended = self._ended or str(reason)
        self._tell()

    @staticmethod
    def _readable(payload: bytes) -> str:
        text = payload.decode("utf-8", errors="replace")
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
