"""The one MQTT client of the service: takes what terminals tell off the network thread, and publishes orders."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from app.clock import monotonic_s
from app.mqtt.topics import ALL_UP, QOS

log = structlog.get_logger()

_KEEPALIVE_S = 30
_LONGEST_BACKOFF_S = 15


@dataclass(frozen=True, kw_only=True)
class BrokerAddress:
    host: str
    port: int
    user: str
    password: str | None
    ca_file: Path | None = None


class NotConnectedError(Exception):
    """There is no connection to the broker, so nothing is published; nothing is buffered either."""


class BrokerLink:
    """Keeps one connection at a time, each with a client object of its own.

    A client object that has lost its connection is thrown away with whatever it had queued: paho would send a trip
    again after the next connect, when nobody asks for it any more.
    """

    def __init__(self, address: BrokerAddress, *, client_id: str, on_message: Callable[[str, bytes], None]) -> None:
        self._address = address
        self._client_id = client_id
        self._on_message = on_message
        self._client: paho.Client | None = None
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
        info = client.publish(topic, payload, qos=QOS, retain=False)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise NotConnectedError
        return Publication(info)

    def _keep_connected(self) -> None:
        backoff_s = 0.1
        while not self._stopping.is_set():
            started_s = monotonic_s()
            try:
                self._one_connection()
            except OSError as error:
                log.warning("broker unreachable", host=self._address.host, port=self._address.port, error=str(error))
            backoff_s = 0.1 if monotonic_s() - started_s > _KEEPALIVE_S else min(backoff_s * 2, _LONGEST_BACKOFF_S)
            self._stopping.wait(backoff_s)

    def _one_connection(self) -> None:
        self._lost.clear()
        client = self._new_client()
        client.connect(self._address.host, self._address.port, keepalive=_KEEPALIVE_S)
        self._client = client
        client.loop_start()
        try:
            self._lost.wait()
        finally:
            self._connected.clear()
            self._client = None
            client.disconnect()
            client.loop_stop()

    def _new_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=True,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(self._address.user, self._address.password)
        if self._address.ca_file is not None:
            client.tls_set(ca_certs=str(self._address.ca_file))
        client.max_inflight_messages_set(2000)
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
            log.exception("a message was dropped", topic=message.topic)

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            log.error("broker refused the service", reason=str(code), user=self._address.user)
            self._lost.set()
            return
        client.subscribe(ALL_UP, qos=QOS)

    def _on_subscribe(self, _client: paho.Client, _userdata: Any, _mid: int, codes: Any, _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            log.error("broker refused the subscription", topic=ALL_UP, user=self._address.user)
            self._lost.set()
            return
        log.info("connected to the broker", host=self._address.host, port=self._address.port)
        self._connected.set()

    def _on_disconnect(self, _client: paho.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connected.clear()
        self._lost.set()
        if not self._stopping.is_set():
            log.warning("connection to the broker lost", reason=str(code))


class Publication:
    """A message on its way to the broker."""

    def __init__(self, info: paho.MQTTMessageInfo) -> None:
        self._info = info

    def taken(self, *, within_s: float) -> bool:
        """Tell whether the broker has taken it, waiting at most so long."""
        try:
            self._info.wait_for_publish(within_s)
        except (RuntimeError, ValueError):
            return False
        return self._info.is_published()
