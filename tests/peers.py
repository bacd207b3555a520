"""Any MQTT client, well-behaved or not: keeps what it hears and what the broker answers."""

import queue
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from app.clock import monotonic_s, sleep
from app.embedded.ports import LOOPBACK

WAIT_S = 15.0
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
SUCCESS = "Success"


def eventually(happened: Callable[[], Any], *, within_s: float = WAIT_S, every_s: float = 0.01) -> Any:
    until_s = monotonic_s() + within_s
    while not (found := happened()):
        assert monotonic_s() < until_s, "it did not happen in time"
        sleep(every_s)
    return found


class Peer:
    """One user on one connection; it does not come back by itself.

    Args:
        keeps_session: asks the broker to keep the session when the connection is gone, which the protocol forbids.
        will: topic and payload of a last will.
        identity: files with a client certificate and its key.
    """

    def __init__(
        self,
        port: int,
        user: str,
        password: str,
        *,
        authority: Path | None,
        protocol: MQTTProtocolVersion = V5,
        client_id: str | None = None,
        keeps_session: bool = False,
        will: tuple[str, str] | None = None,
        identity: tuple[Path, Path] | None = None,
    ) -> None:
        self.heard: list[tuple[str, str]] = []
        self.ended: list[str] = []
        self._answers: dict[int, str] = {}
        self._granted: queue.Queue[bool] = queue.Queue()
        welcomes: queue.Queue[str] = queue.Queue()
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or user,
            protocol=protocol,
            clean_session=None if protocol is V5 else not keeps_session,
            reconnect_on_failure=False,
        )
        client.username_pw_set(user, password)
        if authority is not None:
            certificate, key = (str(path) for path in identity) if identity else (None, None)
            client.tls_set(ca_certs=str(authority), certfile=certificate, keyfile=key)
        if will is not None:
            client.will_set(will[0], will[1], qos=1)
        client.max_inflight_messages_set(500)
        client.on_connect = lambda _c, _u, _f, code, _p: welcomes.put(str(code))
        # With TLS 1.3 a certificate is refused after the handshake: the connection ends without a word.
        client.on_disconnect = lambda _c, _u, _f, code, _p: (self.ended.append(str(code)), welcomes.put(str(code)))
        client.on_subscribe = lambda _c, _u, _m, codes, _p: self._granted.put(not codes[0].is_failure)
        client.on_publish = lambda _c, _u, mid, code, _p: self._answers.update({mid: str(code)})
        client.on_message = self._hear
        if protocol is V5:
            kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            kept.SessionExpiryInterval = 3600 if keeps_session else 0
            client.connect(LOOPBACK, port, clean_start=not keeps_session, properties=kept)
        else:
            client.connect(LOOPBACK, port)
        self._client = client
        client.loop_start()
        self.welcome = welcomes.get(timeout=WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def vanish(self) -> None:
        """End without a word, so that the broker publishes the last will."""
        self._client.on_disconnect = None
        sock = self._client.socket()
        assert sock is not None
        with suppress(OSError):
            sock.unwrap() if hasattr(sock, "unwrap") else None
        sock.close()
        self._client.loop_stop()

    def subscribe(self, topic: str) -> bool:
        """Subscribe; returns whether the broker says that it grants it."""
        self._client.subscribe(topic, qos=1)
        return self._granted.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> str:
        """Publish and return the broker's answer: with MQTT 3.1.1 always success, or how the connection ended."""
        mid = self.send(topic, payload, retain=retain)
        eventually(lambda: mid in self._answers or self.ended)
        return self._answers.get(mid) or self.ended[-1]

    def send(self, topic: str, payload: str, *, retain: bool = False) -> int:
        """Publish without waiting for the answer."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def hears(self, payload: str) -> bool:
        """Wait for a payload; what was forged before it would have come before it."""
        return bool(eventually(lambda: payload in self.payloads))

    @property
    def payloads(self) -> list[str]:
        return [payload for _, payload in list(self.heard)]

    def _hear(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload.decode()))
