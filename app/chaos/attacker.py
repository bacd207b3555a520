"""Somebody with the broker's password, ears on its lines and no signing key, who wants terminals to act."""

import base64
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.database import new_id
from app.embedded.broker import SERVICE_USER, connect_packet
from app.embedded.ports import LOOPBACK
from app.mqtt import topics
from app.mqtt.claims import CommandClaims
from app.mqtt.signing import CommandSigner

_EVERY_S = 0.15
_ANSWERS_WITHIN_S = 2.0
_REMEMBERED = 400
KINDS = ("garbage", "forged", "bent", "foreign", "replayed")


class Attacker:
    """Publishes what nobody ordered until it is stopped; counts what it has sent, by kind."""

    def __init__(self, *, port: int, password: str, heard: Path, terminal_ids: Sequence[str], seed: int) -> None:
        self._port = port
        self._password = password
        self._heard = heard
        self._terminal_ids = list(terminal_ids)
        self._chance = random.Random(seed)  # noqa: S311 - not for keys
        self._signer = CommandSigner(Ed25519PrivateKey.generate(), key_id="wattgate-1")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="attacker", daemon=True)
        self.sent: Counter[str] = Counter()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            with suppress(OSError), socket.create_connection((LOOPBACK, self._port), _ANSWERS_WITHIN_S) as line:
                line.sendall(connect_packet(SERVICE_USER, password=self._password))
                if line.recv(4) != b"\x20\x02\x00\x00":
                    continue
                while not self._stopping.wait(_EVERY_S):
                    self._strike(line)

    def _strike(self, line: socket.socket) -> None:
        genuine = self._overheard()
        kind = self._chance.choice(KINDS if genuine else KINDS[:1])
        terminal_id, token = (
            self._chance.choice(genuine) if genuine else (self._chance.choice(self._terminal_ids), b"")
        )
        match kind:
            case "garbage":
                token = self._chance.randbytes(self._chance.randrange(1, 400))
            case "forged":
                token = self._forge(token)
            case "bent":
                token = _bend(token)
            case "foreign":
                terminal_id = self._chance.choice([one for one in self._terminal_ids if one != terminal_id])
        line.sendall(publish_packet(topics.down(terminal_id, "command"), token))
        self.sent[kind] += 1

    def _overheard(self) -> list[tuple[str, bytes]]:
        if not self._heard.exists():
            return []
        with self._heard.open("rb") as kept:
            kept.seek(0, 2)
            kept.seek(max(0, kept.tell() - _REMEMBERED * 1_000))
            lines = kept.read().split(b"\n")[1:-1]
        pairs = [line.split(b" ") for line in lines[-_REMEMBERED:]]
        return [(pair[0].decode(), pair[1]) for pair in pairs if len(pair) == 2]  # noqa: PLR2004 - a pair

    def _forge(self, token: bytes) -> bytes:
        """Sign with a key of one's own, under the right key's name, what a genuine command shows how to say."""
        genuine = CommandClaims.model_validate_json(_payload(token))
        newer = {"id": new_id(), "version": genuine.version + self._chance.randrange(1, 1_000)}
        return self._signer.sign(genuine.model_copy(update=newer))


def publish_packet(topic: str, payload: bytes) -> bytes:
    """Return MQTT 3.1.1 PUBLISH with quality of service 0 (OASIS, section 3.3)."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    left, length = len(body), bytearray()
    while True:
        left, digit = left >> 7, left & 0x7F
        length.append(digit | (0x80 if left else 0))
        if not left:
            return b"\x30" + bytes(length) + body


def _payload(token: bytes) -> bytes:
    middle = token.split(b".")[1]
    return base64.urlsafe_b64decode(middle + b"=" * (-len(middle) % 4))


def _bend(token: bytes) -> bytes:
    """Put another version and an hour more into a genuine command and leave its signature."""
    head, _, signature = token.split(b".")
    claims = json.loads(_payload(token))
    claims |= {"version": claims["version"] + 1, "max_uptime_s": 10**8}
    bent = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return b".".join((head, bent, signature))
