"""The lines between the parts, as a process: each can be cut or stalled, and what passes a broker's is overheard."""

import asyncio
import json
import re
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_AT_ONCE = 65_536
#: A command on its way to a terminal: MQTT's topic, a few bytes of MQTT's own, and three parts of base64url.
_COMMAND = re.compile(rb"lm/v1/([A-Za-z0-9_-]+)/dn/command.{0,8}?(eyJ[\w-]+\.[\w-]+\.[\w-]+)", re.DOTALL)
_LONGEST_COMMAND = 8_192


@dataclass(frozen=True, kw_only=True)
class Line:
    """Who listens where, and who is reached there; each a port of this machine, or the path of a socket."""

    name: str
    listen: str
    to: str
    overheard: str | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """``open``, ``cut`` (what stands breaks, nothing new is let in) or ``stall`` (what stands stays, silent)."""

    line: str
    do: str

    def as_line(self) -> str:
        return json.dumps(asdict(self))


def write(path: Path, lines: list[Line]) -> None:
    """Write the task of the process, and make the folders of its sockets."""
    path.write_text(json.dumps([asdict(line) for line in lines]))
    for line in lines:
        if not line.listen.isdigit():
            Path(line.listen).parent.mkdir(parents=True, exist_ok=True)


class Relay:
    """One line: whatever comes in on one side goes out on the other, for as long as it is open."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False
        self._ends: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        if self._line.listen.isdigit():
            await asyncio.start_server(self._serve, "127.0.0.1", int(self._line.listen))
        else:
            await asyncio.start_unix_server(self._serve, self._line.listen)

    def obey(self, do: str) -> None:
        self._is_cut = do == "cut"
        (self._flows.clear if do == "stall" else self._flows.set)()
        if self._is_cut:
            for end in self._ends:
                end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._ends |= ends
        try:
            if not self._is_cut:
                far_reader, far_writer = await self._reach()
                ends.add(far_writer)
                self._ends |= ends
                ways = self._carry(reader, far_writer, heard=bytearray()), self._carry(far_reader, writer)
                tasks = [asyncio.ensure_future(way) for way in ways]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except OSError:
            pass  # nobody there: the caller sees a broken line
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._line.to.isdigit():
            return await asyncio.open_connection("127.0.0.1", int(self._line.to))
        return await asyncio.open_unix_connection(self._line.to)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, heard: bytearray | None = None
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_AT_ONCE):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
                if heard is not None and self._line.overheard is not None:
                    self._overhear(heard, data, into=self._line.overheard)

    @staticmethod
    def _overhear(heard: bytearray, data: bytes, *, into: str) -> None:
        heard += data
        end = 0
        with Path(into).open("ab") as kept:
            for found in _COMMAND.finditer(heard):
                if found.end() < len(heard):  # or it may go on in what comes next
                    kept.write(found[1] + b" " + found[2] + b"\n")
                    end = found.end()
        del heard[: max(end, len(heard) - _LONGEST_COMMAND)]


async def carry(lines: list[Line]) -> None:
    """Carry until the standard input ends; each line on it is an order."""
    relays = {line.name: Relay(line) for line in lines}
    for relay in relays.values():
        await relay.listen()
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while said := await orders.readline():
        order = Order(**json.loads(said))
        relays[order.line].obey(order.do)


def main() -> None:
    told: list[dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text())
    asyncio.run(carry([Line(**one) for one in told]))


if __name__ == "__main__":
    main()
