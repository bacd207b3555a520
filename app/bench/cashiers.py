"""Cashiers at their counters: threads that sell over kept-alive connections and read no more than they must."""

import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from app.bench.programs import answer, read_task, wait_begin
from app.clock import monotonic_s, sleep
from app.database import new_id

_READ_BYTES = 65_536
_TIMEOUT_S = 30
_BETWEEN_CONNECTS_S = 0.02


@dataclass
class _Sales:
    """What one cashier sold."""

    booked: int = 0
    refused: list[str] = field(default_factory=list)


class _Counter:
    """One connection. Requests are written as bytes: a full HTTP client would cost more than what it measures."""

    def __init__(self, task: dict[str, Any], *, token: str) -> None:
        self._host = f"{task['host']}:{task['port']}"
        self._token = token
        self._amount_yuan = task["amount_yuan"]
        self._socket = socket.create_connection((task["host"], task["port"]), timeout=_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sell(self, contract_no: str) -> str:
        """Sell once under a key of its own; returns the status line."""
        body = f'{{"contract_no":"{contract_no}","amount_yuan":"{self._amount_yuan}"}}'
        self._socket.sendall(
            f"POST /api/v1/purchases HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Idempotency-Key: {new_id()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        return self._read()

    def _read(self) -> str:
        arrived = b""
        while b"\r\n\r\n" not in arrived:
            arrived += self._receive()
        head, _, body = arrived.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        while len(body) < length:
            body += self._receive()
        return lines[0]

    def _receive(self) -> bytes:
        arrived = self._socket.recv(_READ_BYTES)
        if not arrived:
            raise ConnectionError("the service closed the connection")
        return arrived


def _sell(counter: _Counter, sales: _Sales, *, contracts: list[str], until_s: float, every_s: float) -> None:
    due_s = monotonic_s()
    for contract_no in contracts:
        if monotonic_s() >= until_s:
            return
        status = counter.sell(contract_no)
        if status == "http/1.1 201 created":
            sales.booked += 1
        else:
            sales.refused.append(f"{contract_no}: {status}")
        due_s += every_s
        if every_s:
            sleep(max(due_s - monotonic_s(), 0))


def main() -> None:
    task = read_task()
    counters = []
    for token in task["tokens"]:
        counters.append(_Counter(task, token=token))
        sleep(_BETWEEN_CONNECTS_S)  # one by one, so that the service's processes share them
    sales = [_Sales() for _ in counters]
    wait_begin()
    began_s = monotonic_s()
    threads = [
        threading.Thread(
            target=_sell,
            args=(counter, sold),
            kwargs={
                "contracts": task["contracts"][number :: len(counters)],
                "until_s": began_s + task["seconds"],
                "every_s": task["every_s"],
            },
        )
        for number, (counter, sold) in enumerate(zip(counters, sales, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended_s = monotonic_s()
    answer(
        booked=sum(one.booked for one in sales),
        refused=[line for one in sales for line in one.refused][:5],
        seconds=ended_s - began_s,
    )


if __name__ == "__main__":
    main()
