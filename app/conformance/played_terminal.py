"""A terminal that is played: what it holds, and what it would say of itself."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from uuid_utils.compat import uuid7

from app.clock import Clock, monotonic_s
from app.conformance.tokens import written
from app.mqtt.messages import RESULTS_KEPT, AckStep

_ROUNDS = "11------"
POWER_W = 400_000


@dataclass(kw_only=True)
class PlayedTerminal:
    """It goes on from case to case, as a terminal's memory does; only its spool begins anew."""

    began_s: float = field(default_factory=monotonic_s)
    session: str = ""
    spool_id: str = field(default_factory=lambda: str(uuid7()))
    reports: dict[int, bytes] = field(default_factory=dict)
    supplied_wh: int = 0
    paid_until_wh: int = 0
    order_no: int = 0
    rounds: str = _ROUNDS
    slots: dict[str, int] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)

    def begin_spool(self) -> None:
        """Begin a new spool, so that the numbers of a case begin with 1."""
        self.spool_id, self.reports = str(uuid7()), {}

    def open_session(self) -> str:
        self.session = secrets.token_hex(16)
        return self.session

    def birth(self, *, first_kept: int | None) -> dict[str, Any]:
        kept = min(self.reports, default=0) if first_kept is None else first_kept
        return {
            **self.presence(),
            "boot": 1,
            "firmware": "conformance",
            "spool": {"id": self.spool_id, "first": kept, "last": max(self.reports, default=0)},
            "slots": self.slots,
            "results": self.results[-RESULTS_KEPT:],
        }

    def presence(self) -> dict[str, Any]:
        uptime_s = int(monotonic_s() - self.began_s)
        now = written(Clock().now())
        return {"session": self.session, "uptime_s": uptime_s, "at": now, "clock": "synced", "state": self._state()}

    def _state(self) -> dict[str, Any]:
        return {
            "paid_until_wh": self.paid_until_wh,
            "remaining_wh": self.paid_until_wh - self.supplied_wh,
            "order_no": self.order_no,
            "alarm_wh": 0,
            "trip_wh": 0,
            "control_enabled": False,
            "mode": "remote",
            "stage": "tripped" if "0" in self.rounds else "normal",
            "limit_w": None,
            "rounds": self.rounds,
            "guarantee": "off",
        }

    def report(self, seq: int) -> bytes:
        """Return the report of a number: made once, and always the same from then on."""
        if seq not in self.reports:
            self.supplied_wh += 1_000
            told = {
                "spool_id": self.spool_id,
                "seq": seq,
                "at": written(Clock().now()),
                "clock": "synced",
                "uptime_s": int(monotonic_s() - self.began_s),
                "supplied_wh": self.supplied_wh,
                "active_power_w": POWER_W,
                "meters": [],
                "state": self._state(),
            }
            self.reports[seq] = json.dumps(told).encode()
        return self.reports[seq]

    def ack(self, command_id: str, *, step: AckStep) -> dict[str, Any]:
        now, uptime_s = written(Clock().now()), int(monotonic_s() - self.began_s)
        detail = {"nonce": secrets.token_hex(8), "active_power_w": POWER_W} if step is AckStep.ARMED else {}
        return {"command_id": command_id, "step": step, "at": now, "uptime_s": uptime_s, "detail": detail}

    def execute(self, claims: dict[str, Any]) -> None:
        if claims["op"] == "credit":
            self.paid_until_wh, self.order_no = claims["args"]["paid_until_wh"], claims["args"]["order_no"]
        if claims["op"] in {"trip", "close"}:
            place = claims["args"]["round"] - 1
            self.rounds = self.rounds[:place] + ("0" if claims["op"] == "trip" else "1") + self.rounds[place + 1 :]
        self.slots[claims["slot"]] = claims["version"]
        outcome = {"command_id": claims["id"], "step": "executed", "at": written(Clock().now()), "detail": {}}
        self.results.append(outcome)
