"""One life of an MQTT connection; the client is thrown away with it, so that nothing is ever sent late."""

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from app.mqtt import topics
from app.mqtt.messages import Death, encode
from simulators.device import Outgoing
from simulators.profile import BrokerProfile

CONNECT_TIMEOUT_S = 5


class Frame(NamedTuple):
    """What came down: the kind that the topic names, and whether the broker had retained it."""

    kind: str
    payload: bytes
    retained: bool


class Connection:
    """A paho client that is driven from outside: its owner watches `socket` and calls `read` and `write`."""

    def __init__(
        self, broker: BrokerProfile, *, node: int, terminal_id: str, password: str, session: str, keepalive_s: int
    ) -> None:
        nodes = (broker, *broker.others)
        self._node = nodes[node % len(nodes)]
        self._subscribe_qos = broker.subscribe_qos
        self._terminal_id = terminal_id
        self._keepalive_s = keepalive_s
        self._frames: list[Frame] = []
        self.subscribed = False
        self.failure: str | None = None
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=terminal_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.username_pw_set(terminal_id, password)
        client.will_set(topics.up(terminal_id, "death"), encode(Death(session=session)), qos=topics.QOS, retain=False)
        if broker.ca_file is not None:
            client.tls_set_context(_tls_context(broker.ca_file))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        self._client = client

    @property
    def socket(self) -> Any:
        """The socket to watch, or None once the connection is over."""
        return self._client.socket()

    @property
    def wants_write(self) -> bool:
        return self._client.want_write()

    def open(self) -> None:
        """Connect and say who this is; the answer is read later.

        Raises:
            OSError: the broker cannot be reached.
        """
        self._client.connect(self._node.host, self._node.port, keepalive=self._keepalive_s)

    def read(self) -> list[Frame]:
        """Read what has arrived, and write what paho wants to answer."""
        sock = self._client.socket()
        self._note(self._client.loop_read())
        while isinstance(sock, ssl.SSLSocket) and self.socket is sock and sock.pending():
            self._note(self._client.loop_read())
        if self.wants_write:
            self.write()
        frames, self._frames = self._frames, []
        return frames

    def write(self) -> None:
        self._note(self._client.loop_write())

    def mind_keepalive(self) -> None:
        self._note(self._client.loop_misc())

    def publish(self, outgoing: Outgoing) -> None:
        topic = topics.up(self._terminal_id, outgoing.kind)
        self._note(self._client.publish(topic, outgoing.payload, qos=topics.QOS, retain=False).rc)

    def disconnect(self) -> None:
        """Say goodbye, so that the broker does not publish the last will."""
        self._client.disconnect()
        self.abandon()

    def abandon(self) -> None:
        """Drop the socket without a word; the broker publishes the last will."""
        sock = self._client.socket()
        self._client.on_disconnect = None
        if sock is not None:
            sock.close()

    def _note(self, code: MQTTErrorCode) -> None:
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS and self.failure is None:
            self.failure = code.name

    def _on_connect(self, client: Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self.failure = str(reason)
        else:
            client.subscribe(topics.all_down(self._terminal_id), qos=self._subscribe_qos)

    def _on_subscribe(
        self, _client: Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self.failure = "the broker does not grant the subscription"
        else:
            self.subscribed = True

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        kind = message.topic.rpartition("/")[2]
        self._frames.append(Frame(kind, bytes(message.payload), message.retain))

    def _on_disconnect(
        self, _client: Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self.failure = self.failure or f"closed: {reason}"


@lru_cache(maxsize=4)
def _tls_context(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.sslsocket_class = _Socket
    return context


class _Socket(ssl.SSLSocket):
    """Closes itself where the handshake comes to nothing, as with a broker that dies meanwhile; paho does not."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as Python has it
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise
