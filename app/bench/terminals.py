"""Terminals that only report, as fast as the broker takes it: raw sockets, ready packets, receipts noted."""

import json
import selectors
import socket
import sys
from collections.abc import Iterable
from typing import Any

from app.bench import packets
from app.bench.programs import answer, read_task, wait_begin
from app.clock import monotonic_s
from app.mqtt import topics

_READ_BYTES = 65_536
_WRITE_BYTES = 65_536
_HANDSHAKE_S = 30


class _Line:
    """One terminal's connection, and how much of what it told is taken and stored."""

    def __init__(self, terminal: dict[str, Any], *, host: str, port: int) -> None:
        self.terminal_id: str = terminal["terminal_id"]
        self.wanted = len(terminal["reports"])
        self.taken = 0
        self.stored = 0
        topic = topics.up(self.terminal_id, "report")
        written = (
            packets.publish(topic, report.encode(), number=number)
            for number, report in enumerate(terminal["reports"], start=1)
        )
        self._out = bytearray().join(written)
        self._sent = 0
        self._reader = packets.Reader()
        self.socket = socket.create_connection((host, port), timeout=_HANDSHAKE_S)
        self._shake_hands(terminal["password"])
        self.socket.setblocking(False)

    @property
    def sends(self) -> bool:
        return self._sent < len(self._out)

    def write(self) -> None:
        self._sent += self.socket.send(memoryview(self._out)[self._sent : self._sent + _WRITE_BYTES])

    def read(self) -> None:
        arrived = self.socket.recv(_READ_BYTES)
        if not arrived:
            raise ConnectionError(f"the broker closed the connection of {self.terminal_id}")
        for packet in self._reader.feed(arrived):
            if packet.kind == packets.PUBACK:
                self.taken += 1
            elif packet.kind == packets.PUBLISH:
                self.socket.send(packets.puback(packet.number))
                self._note(packet)

    def _note(self, packet: packets.Packet) -> None:
        if packet.topic.endswith("/receipt"):
            receipt = json.loads(packet.payload)
            if not receipt["missing"]:
                self.stored = max(self.stored, receipt["upto"])

    def _shake_hands(self, password: str) -> None:
        self.socket.sendall(packets.connect(self.terminal_id, user=self.terminal_id, password=password))
        self._await(packets.CONNACK)
        self.socket.sendall(packets.subscribe(topics.all_down(self.terminal_id)))
        self._await(packets.SUBACK)

    def _await(self, kind: int) -> None:
        for packet in self._reader.feed(self.socket.recv(_READ_BYTES)):
            # The last byte of both answers is a code: 128 and above is a refusal, as is any code of CONNACK.
            if packet.kind == kind and packet.body[-1] in (0, 1):
                return
        raise ConnectionError(f"the broker refused {self.terminal_id}")


def _run(lines: Iterable[_Line], *, receipts: bool, within_s: float) -> tuple[float, float]:
    """Send all and read until everything is taken and, where asked, stored; returns when each was so."""
    selector = selectors.DefaultSelector()
    open_lines = set(lines)
    for one in open_lines:
        selector.register(one.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
    untaken = set(open_lines)
    until_s = monotonic_s() + within_s
    taken_s = 0.0
    while open_lines and monotonic_s() < until_s:
        for key, events in selector.select(0.1):
            line: _Line = key.data
            if events & selectors.EVENT_READ:
                line.read()
            if line.sends:
                if events & selectors.EVENT_WRITE:
                    line.write()
                continue
            selector.modify(line.socket, selectors.EVENT_READ, line)
            if line.taken >= line.wanted:
                untaken.discard(line)
                taken_s = taken_s or (0.0 if untaken else monotonic_s())
                if not receipts or line.stored >= line.wanted:
                    open_lines.discard(line)
    return taken_s, monotonic_s()


def main() -> None:
    task = read_task()
    lines = [_Line(one, host=task["host"], port=task["port"]) for one in task["terminals"]]
    wait_begin()
    began_s = monotonic_s()
    taken_s, ended_s = _run(lines, receipts=task["receipts"], within_s=task["within_s"])
    answer(
        began_s=began_s,
        taken_s=taken_s,
        ended_s=ended_s,
        stored=sum(line.stored for line in lines),
        without_receipt=[line.terminal_id for line in lines if line.stored < line.wanted],
    )
    # Stay connected until the reports are read: for each subscription that ends the broker looks through its backlog.
    sys.stdin.readline()


if __name__ == "__main__":
    main()
