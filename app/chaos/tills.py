"""The tills: one process, a thread for each cashier, sales under keys that are saved before they are sent."""

import json
import random
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from app.chaos.journal import ENDING, Asked, Journal, read
from app.clock import monotonic_s, sleep
from app.database import new_id
from app.demo.clients import Clerk

ROUTE = "/api/v1/purchases"

_OFFICE = "PD"
_PASSWORD = "wattgate-chaos"  # noqa: S105 - of people who live for minutes on a loopback address
_TIMEOUT_S = 10.0
_SALES_IN_A_BURST = (1, 12)
_REST_S = (0.2, 2.5)
_RETRY_S = (0.02, 0.3)
_FEN_AT_MOST = 5_000_000
#: An answer that another try may better: too many requests, or any fault of the service's own.
_TOO_MANY = 429
_OWN_FAULT = 500
_STILL_RUNNING = "first-request-still-running"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the process is told: where to sell, as whom, to whom, and where each till keeps its journal."""

    url: str
    folder: str
    seed: int
    contracts: list[str]
    tokens: dict[str, str]

    def write(self, path: Path) -> None:
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


def prepare_cashier(url: str, name: str) -> str:
    """Do all that a cashier needs before the first sale; returns the token to sell with."""
    administrator = Clerk(url, name="admin")
    person = {
        "sign_in_name": name,
        "name_zh": "收费员",
        "name_en": "Cashier",
        "password": _PASSWORD,
        "roles": ["cashier"],
        "office_code": _OFFICE,
    }
    administrator.post("/staff", person)
    till_no = name.upper()
    till = {"till_no": till_no, "office_code": _OFFICE, "name_zh": f"收费台 {till_no}", "name_en": f"Till {till_no}"}
    administrator.post("/tills", till)
    administrator.close()
    answer = httpx.post(
        f"{url}/api/v1/auth/token", data={"username": name, "password": _PASSWORD}, timeout=_TIMEOUT_S
    )
    token = str(answer.raise_for_status().json()["access_token"])
    opened = httpx.post(
        f"{url}/api/v1/shifts",
        json={"till_no": till_no, "float_fen": 0},
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": f"shift-of-{name}"},
        timeout=_TIMEOUT_S,
    )
    opened.raise_for_status()
    return token


def is_final(answer: httpx.Response) -> bool:
    """Tell whether a till may take this answer as the last word: what was sold, or why it cannot be."""
    if answer.status_code == _TOO_MANY or answer.status_code >= _OWN_FAULT:
        return False
    return _STILL_RUNNING not in answer.text


class Till:
    """Sells in bursts until it is told to stop, and never leaves a sale without its answer."""

    def __init__(self, task: Task, name: str, *, stopping: threading.Event) -> None:
        self._path = Path(task.folder) / f"{name}{ENDING}"
        self._contracts = task.contracts
        self._stopping = stopping
        self._chance = random.Random(f"{task.seed} {name}")  # noqa: S311 - which customer comes is no secret
        self._http = httpx.Client(
            base_url=task.url, timeout=_TIMEOUT_S, headers={"Authorization": f"Bearer {task.tokens[name]}"}
        )

    def run(self) -> None:
        with Journal(self._path) as journal, self._http:
            for asked in read(self._path)[-1:]:
                if asked.status is None:
                    self._sell(journal, asked)
            while not self._stopping.is_set():
                for _ in range(self._chance.randint(*_SALES_IN_A_BURST)):
                    if self._stopping.is_set():
                        return
                    fen = self._chance.randint(1, _FEN_AT_MOST)
                    self.serve(journal, self._chance.choice(self._contracts), fen=fen)
                self._stopping.wait(self._chance.uniform(*_REST_S))

    def serve(self, journal: Journal, contract_no: str, *, fen: int) -> None:
        """Sell once; returns with the last word, however long that takes."""
        wanted = {"contract_no": contract_no, "amount_yuan": f"{fen // 100}.{fen % 100:02}"}
        asked = Asked(key=str(new_id()), body=json.dumps(wanted))
        journal.ask(asked)
        self._sell(journal, asked)

    def _sell(self, journal: Journal, asked: Asked) -> None:
        """Send the same bytes under the same key until the answer is final; then write it down."""
        began_s = monotonic_s()
        while True:
            asked.tries += 1
            answer = self._send(asked)
            if answer is not None and is_final(answer):
                break
            sleep(self._chance.uniform(*_RETRY_S))
        asked.status, asked.answer = answer.status_code, answer.text
        asked.replayed = "idempotent-replayed" in answer.headers
        asked.waited_s = monotonic_s() - began_s
        journal.note_answer(asked)

    def _send(self, asked: Asked) -> httpx.Response | None:
        try:
            return send(self._http, asked)
        except httpx.TransportError:
            return None


def send(http: httpx.Client, asked: Asked) -> httpx.Response:
    headers = {"Idempotency-Key": asked.key, "Content-Type": "application/json"}
    return http.post(ROUTE, content=asked.body, headers=headers)


def main() -> None:
    told: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    task = Task(**told)
    stopping = threading.Event()
    tills = [Till(task, name, stopping=stopping) for name in task.tokens]
    threads = [threading.Thread(target=till.run) for till in tills]
    for thread in threads:
        thread.start()
    sys.stdin.readline()  # a line, or the end of who started us
    stopping.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
