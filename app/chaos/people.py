"""People while everything breaks: customers who pay when they are cut, and two persons who order cuts by hand."""

import queue
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.chaos.boundaries import CUT_BEGINS, Seen
from app.chaos.journal import ENDING, Journal
from app.chaos.tills import Task, Till
from app.clock import Clock, monotonic_s
from app.database import transaction
from app.demo.clients import Clerk, Failed, Json, order_by_two

#: At each of the three moments before a trip one in ten pays; of twenty who are tripped one in each second.
_PAYS_BEFORE_ONE_IN = {"trip": 10, "limit": 30}
_PAYS_LATER_ONE_IN = 20
_LOOKS_EVERY_S = 1.0
_ORDERS_EVERY_S = 0.4
_GIVEN_BACK_AFTER_S = 8.0
_ROUNDS = (1, 2, 3)
_LIMIT_W = 500_000
_WRITTEN = timedelta(hours=73)
_SECOND = timedelta(minutes=31)

_CUT = text("""
    SELECT contract.contract_no FROM control_states AS control
      JOIN supply_contracts AS contract USING (supply_point_id)
     WHERE control.stage = 'tripped' AND contract.contract_no = ANY(:of)
""")
_HELD_BY_HAND = text("""
    SELECT terminal.supply_point_id, live.state->>'rounds' AS rounds, live.state->>'limit_w' AS limit_w
      FROM terminal_live AS live JOIN terminals AS terminal ON terminal.id = live.terminal_id
     WHERE terminal.supply_point_id = ANY(:of)
       AND (live.state->>'rounds' LIKE '%0%' OR live.state->>'limit_w' IS NOT NULL)
       AND NOT EXISTS (SELECT FROM commands WHERE terminal_id = terminal.id AND ended_at IS NULL)
""")


class Customers:
    """Pay at tills of their own: some at the very moment at which they are to be cut, the others when it is dark."""

    def __init__(self, task: Task, *, poor: Sequence[str], fen: int, engine: Engine) -> None:
        self._poor = list(poor)
        self._fen = fen
        self._engine = engine
        self._chance = random.Random(task.seed)  # noqa: S311 - who pays when is no secret
        self._wanting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._look, name="customers", daemon=True)]
        for name in task.tokens:
            till = Till(task, name, stopping=self._stopping)
            path = Path(task.folder) / f"{name}{ENDING}"
            self._threads.append(threading.Thread(target=self._stand_at, args=(till, path), name=name, daemon=True))
        self.raced = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, *, and_pay: int) -> None:
        """Let all who ran short pay once more, ``and_pay`` fen each; returns when the last has a receipt."""
        self._fen = and_pay
        for contract_no in self._poor:
            self._wanting.put(contract_no)
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def notice(self, seen: Seen) -> None:
        """Hear that somebody is about to be cut; from the watch's thread."""
        one_in = _PAYS_BEFORE_ONE_IN.get(seen.op or "") if seen.boundary in CUT_BEGINS else None
        if one_in and seen.contract_no and not self._chance.randrange(one_in):
            self.raced += 1
            self._wanting.put(seen.contract_no)

    def _look(self) -> None:
        while not self._stopping.wait(_LOOKS_EVERY_S):
            with suppress(DBAPIError), transaction(self._engine) as session:
                for contract_no in session.scalars(_CUT, {"of": self._poor}):
                    if not self._chance.randrange(_PAYS_LATER_ONE_IN):
                        self._wanting.put(contract_no)

    def _stand_at(self, till: Till, path: Path) -> None:
        with Journal(path) as journal:
            while True:
                try:
                    contract_no = self._wanting.get(timeout=_LOOKS_EVERY_S)
                except queue.Empty:
                    if self._stopping.is_set():
                        return
                else:
                    till.serve(journal, contract_no, fen=self._fen)


class Staff:
    """An operator who asks for cuts, guarantees and restores, and an approver who looks and approves."""

    def __init__(self, url: str, points: Sequence[str], *, clock: Clock, engine: Engine, seed: int) -> None:
        self._operator, self._approver = (Clerk(url, name=name) for name in ("operator", "approver"))
        self._points = list(points)
        self._clock = clock
        self._engine = engine
        self._chance = random.Random(seed)  # noqa: S311 - whom an operator takes next is no secret
        self._cut_s: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="staff", daemon=True)
        self._number = 0
        self.done: dict[str, int] = dict.fromkeys(("approved cuts", "guarantees", "given back", "brakes released"), 0)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def give_back(self) -> None:
        """Take back by hand what was cut by hand, wherever no command is on its way."""
        with transaction(self._engine) as session:
            held = session.execute(_HELD_BY_HAND, {"of": self._points}).all()
        for row in held:
            tripped = [number for number in _ROUNDS if (row.rounds or "")[number - 1 : number] == "0"]
            self._give_back_at(str(row.supply_point_id), tripped, lift=row.limit_w is not None)

    def _run(self) -> None:
        acts: tuple[Callable[[str], None], ...] = (*[self._cut] * 8, self._limit, self._guarantee)
        while not self._stopping.wait(_ORDERS_EVERY_S):
            # What fails because a part is away or an interlock stands is tried again for another point.
            with suppress(Failed, httpx.HTTPError, DBAPIError):
                self._release_brakes()
                point_id = self._chance.choice(self._points)
                cut_s = self._cut_s.get(point_id)
                if cut_s is None:
                    self._chance.choice(acts)(point_id)
                elif monotonic_s() - cut_s > _GIVEN_BACK_AFTER_S:
                    self._give_back_at(point_id, list(_ROUNDS), lift=True)
                    del self._cut_s[point_id]

    def _cut(self, point_id: str) -> None:
        order = self._order("trip", point_id, round=self._chance.choice(_ROUNDS))
        try:
            self._by_two(order)
        except Failed as refusal:
            missing = re.findall(r'"code":\s*"([a-z_]+)"', str(refusal))
            if "guaranteed" in missing:
                self._by_two(self._order("end_guarantee", point_id))
            elif "no_notice" in missing:
                self._announce(point_id, "written", _WRITTEN)
            elif "no_second_notice" in missing:
                self._announce(point_id, "second", _SECOND)
            else:
                raise
        else:
            self._cut_s[point_id] = monotonic_s()

    def _limit(self, point_id: str) -> None:
        self._by_two(self._order("limit", point_id, power_w=_LIMIT_W))
        self._cut_s[point_id] = monotonic_s()

    def _guarantee(self, point_id: str) -> None:
        self._operator.post("/commands", self._order("guarantee", point_id), key=self._key())
        self.done["guarantees"] += 1

    def _announce(self, point_id: str, kind: str, before: timedelta) -> None:
        # While the request travels the fast clock runs on.
        at = self._clock.now() + before + self._clock.lived(2)
        order = self._order("notify", point_id, kind=kind, cut_not_before=at.isoformat())
        self._operator.post("/commands", order, key=self._key())

    def _give_back_at(self, point_id: str, rounds: Sequence[int], *, lift: bool) -> None:
        orders = [self._order("direct_close", point_id, round=number) for number in rounds]
        orders += [self._order("lift_limit", point_id)] if lift else []
        for order in orders:
            self._operator.post("/commands", order, key=self._key())
        self.done["given back"] += 1

    def _release_brakes(self) -> None:
        for pull in self._approver.get("/brake")["on"]:
            self._approver.post(f"/brake/pulls/{pull['id']}/release", {"reason": "all of them were told in time"})
            self.done["brakes released"] += 1

    def _by_two(self, order: Json) -> None:
        order_by_two(self._operator, self._approver, order, key=self._key())
        self.done["approved cuts"] += 1

    def _order(self, action: str, point_id: str, **more: object) -> Json:
        return {"action": action, "supply_point_id": point_id, "reason": "the storm asks for it", **more}

    def _key(self) -> str:
        self._number += 1
        return f"staff-{self._number}"


def points_of(engine: Engine, contract_nos: Sequence[str]) -> Mapping[str, str]:
    """Return the supply point of each contract."""
    found = text("SELECT contract_no, supply_point_id FROM supply_contracts WHERE contract_no = ANY(:of)")
    with transaction(engine) as session:
        return {row.contract_no: str(row.supply_point_id) for row in session.execute(found, {"of": [*contract_nos]})}
