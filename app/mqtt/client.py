"""The one MQTT client of the service: takes what terminals tell off the network thread, and publishes orders."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from app.clock import monotonic_s
from app.mqtt.topics import ALL_UP, QOS

log = structlog.get_logger()

_KEEPALIVE_S = 30
_SHORTEST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 15
_IN_FLIGHT_AT_MOST = 2000
#: What a broker with MQTT 5 has not handed on by then it forgets. Nothing that we tell is worth more: a cut is good
#: for no longer, and everything else is told again.
FORGOTTEN_AFTER_S = 60
_VERSION_REFUSED = "Unsupported protocol version"
_NOBODY_THERE = "No matching subscribers"


@dataclass(frozen=True, kw_only=True)
class BrokerAddress:
    """Where and as whom the service connects; ``others`` are further nodes of the same broker."""

    host: str
    port: int
    user: str
    password: str | None
    ca_file: Path | None = None
    others: tuple[tuple[str, int], ...] = ()
    subscribe_qos: int = QOS


class NotConnectedError(Exception):
    """There is no connection to the broker, so nothing is published; nothing is buffered either."""


class BrokerLink:
    """Keeps one connection at a time, each with a client object of its own.

    A client object that has lost its connection is thrown away with whatever it had queued: paho would send a trip
    again after the next connect, when nobody asks for it any more.

    It speaks MQTT 5 where the broker does, and 3.1.1 where not. With MQTT 5 the broker forgets what it could not hand
    on within a minute, and says when nobody was there to take a message.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        on_message: Callable[[str, bytes], None],
        forgotten_after_s: int = FORGOTTEN_AFTER_S,
    ) -> None:
        self._address = address
        self._nodes = ((address.host, address.port), *address.others)
        self._node = 0
        self._forgotten_after_s = forgotten_after_s
        self._client_id = client_id
        self._on_message = on_message
        self._client: _Client | None = None
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._in_flight = _IN_FLIGHT_AT_MOST
        self._connected = threading.Event()
        self._lost = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_connected, name="broker-link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._lost.set()
        self._thread.join(timeout=10)

    def wait_connected(self, timeout_s: float) -> bool:
        return self._connected.wait(timeout_s)

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    def publish(self, topic: str, payload: bytes) -> "Publication":
        """Hand a message to the broker.

        Raises:
            NotConnectedError: there is no connection now.
        """
        client = self._client
        if client is None or not self._connected.is_set():
            raise NotConnectedError
        info = client.publish(topic, payload, qos=QOS, retain=False, properties=client.forgotten_in_time)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise NotConnectedError
        return Publication(info, turned_down=client.turned_down)

    def _keep_connected(self) -> None:
        backoff_s = _SHORTEST_BACKOFF_S
        while not self._stopping.is_set():
            started_s, spoken = monotonic_s(), (self._protocol, self._in_flight)
            try:
                self._one_connection()
            except OSError as error:
                host, port = self._nodes[self._node]
                log.warning("broker unreachable", host=host, port=port, error=str(error))
            if spoken != (self._protocol, self._in_flight):
                continue
            lasted = monotonic_s() - started_s > _KEEPALIVE_S
            self._node = (self._node + 1) % len(self._nodes)
            if lasted:
                backoff_s = _SHORTEST_BACKOFF_S
            elif self._node == 0:
                backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
            # Between nodes of one broker a longer pause helps nobody; after the last of them it does.
            self._stopping.wait(_SHORTEST_BACKOFF_S if self._node else backoff_s)

    def _one_connection(self) -> None:
        self._lost.clear()
        if self._stopping.is_set():
            return
        client = self._new_client()
        client.connect(*self._nodes[self._node], keepalive=_KEEPALIVE_S)
        self._client = client
        client.loop_start()
        try:
            self._lost.wait()
        finally:
            self._connected.clear()
            self._client = None
            client.disconnect()
            client.loop_stop()

    def _new_client(self) -> "_Client":
        client = _Client(self._client_id, protocol=self._protocol, ended=self._lost.set)
        client.forget_after(self._forgotten_after_s)
        client.username_pw_set(self._address.user, self._address.password)
        if self._address.ca_file is not None:
            client.tls_set(ca_certs=str(self._address.ca_file))
        client.max_inflight_messages_set(self._in_flight)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._take
        return client

    def _take(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        # An exception here would end paho's thread and leave a client that looks alive.
        try:
            self._on_message(message.topic, bytes(message.payload))
        except Exception:
            log.exception("a message was dropped", message_id=message.mid)

    def _on_connect(
        self, client: paho.Client, _userdata: Any, _flags: Any, code: Any, properties: Properties | None
    ) -> None:
        if code == _VERSION_REFUSED and self._protocol is MQTTProtocolVersion.MQTTv5:
            log.info("the broker speaks no MQTT 5; going on with 3.1.1", host=self._nodes[self._node][0])
            self._protocol = MQTTProtocolVersion.MQTTv311
            self._lost.set()
            return
        if code.is_failure:
            log.error("broker refused the service", reason=str(code), user=self._address.user)
            self._lost.set()
            return
        takes = getattr(properties, "ReceiveMaximum", self._in_flight)
        if takes < self._in_flight:
            # Who has more under way than the broker takes is thrown out; paho's limit stands from the start.
            log.info("the broker takes fewer messages at once", host=self._nodes[self._node][0], at_once=takes)
            self._in_flight = takes
            self._lost.set()
            return
        client.subscribe(ALL_UP, qos=self._address.subscribe_qos)

    def _on_subscribe(self, _client: paho.Client, _userdata: Any, _mid: int, codes: Any, _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            log.error("broker refused the subscription", topic=ALL_UP, user=self._address.user)
            self._lost.set()
            return
        host, port = self._nodes[self._node]
        log.info("connected to the broker", host=host, port=port)
        self._connected.set()

    def _on_disconnect(self, _client: paho.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connected.clear()
        if not self._lost.is_set():
            log.warning("connection to the broker lost", reason=str(code))
        self._lost.set()


class _Client(paho.Client):
    """A client for one connection, which says when its network thread has ended.

    Left to itself, paho's client looks connected after an exception has ended that thread, and sends nothing.
    """

    def __init__(self, client_id: str, *, protocol: MQTTProtocolVersion, ended: Callable[[], None]) -> None:
        self._speaks_5 = protocol is MQTTProtocolVersion.MQTTv5
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._speaks_5 else True,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        self.turned_down: set[int] = set()
        self.forgotten_in_time: Properties | None = None
        self._ended = ended
        self.on_publish = self._note_answer

    def forget_after(self, seconds: int) -> None:
        """Have the broker forget each message that it could not hand on for so long, if it can."""
        if self._speaks_5:
            self.forgotten_in_time = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            self.forgotten_in_time.MessageExpiryInterval = seconds

    def loop_forever(self, *given: Any, **named: Any) -> MQTTErrorCode:
        try:
            return super().loop_forever(*given, **named)
        except Exception:
            log.exception("the connection to the broker is given up")
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self._ended()

    def _note_answer(self, _client: paho.Client, _userdata: Any, mid: int, code: Any, _properties: Any) -> None:
        # It comes before paho calls the message published. Numbers of messages are used again after 65,535.
        if code.is_failure or code == _NOBODY_THERE:
            self.turned_down.add(mid)
        else:
            self.turned_down.discard(mid)


class Publication:
    """A message on its way to the broker."""

    def __init__(self, info: paho.MQTTMessageInfo, *, turned_down: Collection[int]) -> None:
        self._info = info
        self._turned_down = turned_down

    def taken(self, *, within_s: float) -> bool:
        """Tell whether the broker has taken it, waiting at most so long.

        With MQTT 5 a message that nobody was there to receive is not taken: the broker has thrown it away.
        """
        try:
            self._info.wait_for_publish(within_s)
        except (RuntimeError, ValueError):
            return False
        return self._info.is_published() and self._info.mid not in self._turned_down
