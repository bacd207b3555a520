"""Terminals that obey: raw sockets, born and known by their echo; each credit is answered and shown at once.

They check no signature, for that is a terminal's own time, and these share the machine with what is measured. They
make no reports and events either; what these cost, the measure of reports says.
"""

import base64
import json
import os
import selectors
import socket
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.bench import packets
from app.bench.programs import answer, read_task
from app.clock import Clock, monotonic_s
from app.database import new_id
from app.mqtt import topics

_READ_BYTES = 65_536
#: So many shake hands with the broker at the same time; the next one comes when one of them is through.
_CONNECT_AT_ONCE = 48
_HEARTBEAT_EVERY_S = 60.0
_TURN_S = 0.5
_LARGEST_NUMBER = 65_535
_ROUNDS = "111-----"
_POWER_W = 500_000


class _Terminal:
    """What one terminal holds, and the words in which it tells of it."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.id: str = known["terminal_id"]
        self.password: str = known["password"]
        self.supplied_wh: int = known["supplied_wh"]
        self.paid_until_wh: int = known["paid_until_wh"]
        self.order_no: int = known["order_no"]
        self.alarm_wh = self.trip_wh = self.boots = 0
        self.session, self.echo = "", ""
        self.token = ""
        self._born_s = monotonic_s()
        self._outcomes: dict[str, tuple[str, dict[str, Any]]] = {}

    def will(self) -> tuple[str, bytes]:
        """Draw the session that is about to begin, and return the last will that names it."""
        self.session, self.echo = os.urandom(16).hex(), ""
        return topics.up(self.id, "death"), f'{{"session":"{self.session}"}}'.encode()

    def birth(self, at: str) -> bytes:
        spool = {"id": str(new_id()), "first": 0, "last": 0}
        told = {"boot": 1, "clock": "synced", "firmware": "bench", "spool": spool, "slots": {}, "results": []}
        return json.dumps({**told, **self._now(at)}).encode()

    def heartbeat(self, at: str) -> bytes:
        echo = {"echo": self.echo} if self.echo else {}
        return json.dumps({"active_power_w": _POWER_W, **echo, **self._now(at)}).encode()

    def obey(self, token: str, at: str) -> Iterator[tuple[str, bytes]]:
        """Carry a credit out and tell each step of it; one that comes again gets its outcome again."""
        claims = json.loads(_decoded(token.split(".")[1]))
        command_id, args = claims["id"], claims["args"]
        if command_id in self._outcomes:
            yield "ack", self._ack(command_id, *self._outcomes[command_id], at=at)
            return
        if claims["op"] != "credit" or args["order_no"] <= self.order_no:
            code = "DUPLICATE" if claims["op"] == "credit" else "UNSUPPORTED"
            yield "ack", self._ack(command_id, "refused", {"order_no": self.order_no}, at=at, code=code)
            return
        self.token = token
        yield "ack", self._ack(command_id, "received", {}, at=at)
        before_wh = self.paid_until_wh - self.supplied_wh
        self.order_no, self.paid_until_wh = args["order_no"], args["paid_until_wh"]
        self.alarm_wh, self.trip_wh = args["alarm_wh"], args["trip_wh"]
        shown = {
            "order_no": self.order_no,
            "remaining_before_wh": before_wh,
            "remaining_after_wh": self.paid_until_wh - self.supplied_wh,
            "rounds": _ROUNDS,
            "active_power_w": _POWER_W,
        }
        self._outcomes[command_id] = ("executed", shown)
        yield "ack", self._ack(command_id, "executed", shown, at=at)
        yield "heartbeat", self.heartbeat(at)

    def _ack(self, command_id: str, step: str, detail: dict[str, Any], *, at: str, code: str | None = None) -> bytes:
        told = {"command_id": command_id, "step": step, "at": at, "uptime_s": self._uptime_s(), "detail": detail}
        return json.dumps({**told, "code": code} if code else told).encode()

    def _now(self, at: str) -> dict[str, Any]:
        state = {
            "paid_until_wh": self.paid_until_wh,
            "remaining_wh": self.paid_until_wh - self.supplied_wh,
            "order_no": self.order_no,
            "alarm_wh": self.alarm_wh,
            "trip_wh": self.trip_wh,
            "control_enabled": True,
            "mode": "remote",
            "stage": "normal",
            "rounds": _ROUNDS,
            "guarantee": "off",
        }
        return {"session": self.session, "uptime_s": self._uptime_s(), "at": at, "state": state}

    def _uptime_s(self) -> int:
        return int(monotonic_s() - self._born_s)


class _Line:
    """One terminal's connection, from the first byte of its handshake on."""

    def __init__(self, terminal: _Terminal, *, host: str, port: int) -> None:
        self.terminal = terminal
        self.open = False
        self.heartbeat_due_s = float("inf")
        self._reader = packets.Reader()
        self._number = 0
        self._out = bytearray()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex((host, port))
        greeting = packets.connect(terminal.id, user=terminal.id, password=terminal.password, will=terminal.will())
        self._out += greeting

    @property
    def sends(self) -> bool:
        return bool(self._out)

    def read(self) -> Iterator[packets.Packet]:
        arrived = self.socket.recv(_READ_BYTES)
        if not arrived:
            raise ConnectionError("closed")
        yield from self._reader.feed(arrived)

    def add(self, data: bytes) -> None:
        self._out += data

    def tell(self, kind: str, payload: bytes) -> None:
        self._number = self._number % _LARGEST_NUMBER + 1
        self._out += packets.publish(topics.up(self.terminal.id, kind), payload, number=self._number)

    def write(self) -> None:
        try:
            sent = self.socket.send(self._out)
        except BlockingIOError:
            return
        del self._out[:sent]


class _Fleet:
    """Every terminal of this process under one selector, and the orders that come on standard input."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._address = {"host": task["host"], "port": task["port"]}
        self._qos: int = task["subscribe_qos"]
        self._terminals = [_Terminal(one) for one in task["terminals"]]
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._lines: set[_Line] = set()
        self._waiting: deque[_Terminal] = deque()
        self._beating: deque[_Line] = deque()
        self._shaking = self._refused = self._counted = 0
        self._obeys = self._counts = self._connecting = False
        self._began_s = 0.0
        self._at = ""

    def run(self) -> None:
        """Serve until standard input ends."""
        while True:
            for key, events in self._selector.select(_TURN_S):
                self._at = Clock().now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
                if key.data is not None:
                    self._serve(key.data, events)
                elif not self._take_order(sys.stdin.readline().strip()):
                    return
            self._beat()

    def _take_order(self, order: str) -> bool:
        word, _, argument = order.partition(" ")
        match word:
            case "connect" | "live":
                self._obeys, self._counts, self._connecting = word == "live", False, True
                self._refused, self._began_s = 0, monotonic_s()
                self._waiting.extend(self._terminals)
                self._connect_some()
            case "drop":
                for line in list(self._lines):
                    self._close(line)
                answer(dropped=len(self._terminals))
            case "count":
                self._counts, self._counted = True, 0
                answer(connected=len(self._lines))
            case "tokens":
                tokens = {one.id: one.token for one in self._terminals if one.token}
                Path(argument).write_text(json.dumps(tokens))
                answer(tokens=len(tokens))
        return bool(word)

    def _connect_some(self) -> None:
        while self._waiting and self._shaking < _CONNECT_AT_ONCE:
            line = _Line(self._waiting.popleft(), **self._address)
            self._lines.add(line)
            self._shaking += 1
            self._selector.register(line.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, line)
        if self._connecting and not self._waiting and not self._shaking:
            self._connecting = False
            answer(began_s=self._began_s, ended_s=monotonic_s(), refused=self._refused)

    def _close(self, line: _Line) -> None:
        self._selector.unregister(line.socket)
        line.socket.close()
        self._lines.discard(line)

    def _serve(self, line: _Line, events: int) -> None:
        if line not in self._lines:
            return
        waited_to_write = bool(events & selectors.EVENT_WRITE)
        try:
            if events & selectors.EVENT_READ:
                for packet in line.read():
                    self._take(line, packet)
            if line.sends:
                line.write()
        except OSError:
            # The broker takes only so many at once; who is refused comes again.
            self._refused += 1
            self._shaking -= not line.open
            self._close(line)
            self._waiting.append(line.terminal)
            self._connect_some()
            return
        if line.sends != waited_to_write:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if line.sends else 0)
            self._selector.modify(line.socket, wanted, line)

    def _take(self, line: _Line, packet: packets.Packet) -> None:
        if packet.kind == packets.CONNACK:
            if packet.body[-1]:
                raise ConnectionError("refused")
            line.add(packets.subscribe(topics.all_down(line.terminal.id), qos=self._qos))
        elif packet.kind == packets.SUBACK:
            line.open = True
            self._shaking -= 1
            if self._obeys:
                line.tell("birth", line.terminal.birth(self._at))
            line.heartbeat_due_s = monotonic_s() + _HEARTBEAT_EVERY_S
            self._beating.append(line)
            self._connect_some()
        elif packet.kind == packets.PUBLISH:
            if packet.number:
                line.add(packets.puback(packet.number))
            if self._counts:
                self._count()
            elif self._obeys:
                self._hear(line, packet)

    def _count(self) -> None:
        self._counted += 1
        if self._counted == len(self._terminals):
            answer(ended_s=monotonic_s())

    def _hear(self, line: _Line, packet: packets.Packet) -> None:
        terminal, kind = line.terminal, packet.topic.rpartition("/")[2]
        if kind == "command":
            for told, payload in terminal.obey(packet.payload.decode(), self._at):
                line.tell(told, payload)
        elif kind == "clock":
            terminal.echo = json.loads(packet.payload)["challenge"]
            line.tell("heartbeat", terminal.heartbeat(self._at))
        elif kind == "request" and json.loads(packet.payload)["want"] == "state":
            line.tell("heartbeat", terminal.heartbeat(self._at))

    def _beat(self) -> None:
        """Tell a heartbeat a minute, which keeps the connection, too."""
        now_s = monotonic_s()
        while self._beating and self._beating[0].heartbeat_due_s <= now_s:
            line = self._beating.popleft()
            if line not in self._lines:
                continue
            line.tell("heartbeat", line.terminal.heartbeat(self._at))
            line.heartbeat_due_s = now_s + _HEARTBEAT_EVERY_S
            self._beating.append(line)
            self._selector.modify(line.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, line)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def main() -> None:
    fleet = _Fleet(read_task())
    answer(ready=True)
    fleet.run()


if __name__ == "__main__":
    main()
