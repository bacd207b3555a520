"""The few MQTT 3.1.1 packets that a bare measurement needs, made and read as bytes (OASIS standard, section 3)."""

from collections.abc import Iterator
from typing import NamedTuple

CONNACK = 2
PUBLISH = 3
PUBACK = 4
SUBACK = 9


class Packet(NamedTuple):
    """A packet as it came: its type, and all after the length; of a message also topic, number and payload."""

    kind: int
    body: bytes
    flags: int = 0

    @property
    def topic(self) -> str:
        return self.body[2 : 2 + self._topic_length].decode()

    @property
    def number(self) -> bytes:
        """Return the packet identifier of a message; empty with quality of service 0, which asks for no answer."""
        return self.body[2 + self._topic_length : 4 + self._topic_length] if self.flags & 0x06 else b""

    @property
    def payload(self) -> bytes:
        return self.body[2 + len(self.number) + self._topic_length :]

    @property
    def _topic_length(self) -> int:
        return int.from_bytes(self.body[:2], "big")


def connect(
    client_id: str, *, user: str, password: str, will: tuple[str, bytes] | None = None, keepalive_s: int = 60
) -> bytes:
    """Write CONNECT for a clean session; a last will is a topic and a payload, with quality of service 1."""
    flags = 0xC2 if will is None else 0xCE
    testament = b"" if will is None else _text(will[0]) + len(will[1]).to_bytes(2, "big") + will[1]
    fields = _text(client_id) + testament + _text(user) + _text(password)
    return _packet(0x10, b"\x00\x04MQTT\x04" + bytes([flags]) + keepalive_s.to_bytes(2, "big") + fields)


def subscribe(topic: str, *, qos: int = 1) -> bytes:
    return _packet(0x82, b"\x00\x01" + _text(topic) + bytes([qos]))


def publish(topic: str, payload: bytes, *, number: int) -> bytes:
    """Write PUBLISH with quality of service 1."""
    return _packet(0x32, _text(topic) + number.to_bytes(2, "big") + payload)


def puback(number: bytes) -> bytes:
    return _packet(0x40, number)


class Reader:
    """Cuts the bytes of a stream into packets."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, arrived: bytes) -> Iterator[Packet]:
        """Yield the packets that are whole now."""
        self._rest += arrived
        start = 0
        while (found := _header(self._rest, start)) is not None:
            body, end = found
            if end > len(self._rest):
                break
            yield Packet(self._rest[start] >> 4, bytes(self._rest[body:end]), self._rest[start] & 0x0F)
            start = end
        del self._rest[:start]


def _header(data: bytearray, start: int) -> tuple[int, int] | None:
    """Return where the body of the packet at ``start`` begins and ends; None while its length is not all there."""
    length = 0
    for shift, at in enumerate(range(start + 1, min(start + 5, len(data)))):
        length |= (data[at] & 0x7F) << (7 * shift)
        if data[at] < 0x80:  # noqa: PLR2004 - the bit that says: one more byte of length
            return at + 1, at + 1 + length
    return None


def _text(value: str) -> bytes:
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def _packet(first: int, body: bytes) -> bytes:
    length = len(body)
    written = bytearray([first])
    while True:
        length, low = divmod(length, 128)
        written.append(low | (0x80 if length else 0))
        if not length:
            return bytes(written) + body
