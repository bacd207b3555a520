"""The bare counterpart of the dispatcher: a raw publisher of ready payloads, with as many in flight."""

import json
import socket
from pathlib import Path

from app.bench import packets
from app.bench.programs import answer, read_task, wait_begin
from app.clock import monotonic_s

_READ_BYTES = 65_536
#: As many as the service's own client has under way.
_IN_FLIGHT_AT_MOST = 2000


def main() -> None:
    task = read_task()
    ready = [
        packets.publish(topic, payload.encode(), number=number)
        for number, (topic, payload) in enumerate(json.loads(Path(task["messages"]).read_text()), start=1)
    ]
    link = socket.create_connection((task["host"], task["port"]))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(packets.connect("bench-publisher", user=task["user"], password=task["password"]))
    link.recv(_READ_BYTES)
    wait_begin()
    answer(began_s=monotonic_s(), taken_s=_publish(link, ready))


def _publish(link: socket.socket, ready: list[bytes]) -> float:
    """Publish all and return when the broker has taken the last one."""
    reader = packets.Reader()
    taken = sent = 0
    while taken < len(ready):
        room = _IN_FLIGHT_AT_MOST - (sent - taken)
        if ready[sent : sent + room]:
            link.sendall(b"".join(ready[sent : sent + room]))
            sent = min(sent + room, len(ready))
        taken += sum(packet.kind == packets.PUBACK for packet in reader.feed(_received(link)))
    return monotonic_s()


def _received(link: socket.socket) -> bytes:
    arrived = link.recv(_READ_BYTES)
    if not arrived:
        raise ConnectionError("the broker closed the publisher's connection")
    return arrived


if __name__ == "__main__":
    main()
