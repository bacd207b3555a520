"""A purchase reaches a dark site without a line: service, worker, broker, simulated terminals, all of them real."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import bcrypt
import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, an_ordered_trip
from running import worker_settings_for
from sqlalchemy import text
from structlog.testing import capture_logs

from app.clock import monotonic_s, sleep
from app.database import transaction
from app.embedded.broker import EmbeddedBroker
from app.embedded.ports import LOOPBACK
from app.errors import DomainError
from app.mqtt.signing import new_private_key_pem
from app.roles import Role
from app.verification import INVARIANTS, find_broken
from app.worker import Worker
from simulators.faults import Outage, PowerCycle
from simulators.fleet import Fleet
from simulators.keypad import Typed
from simulators.profile import BrokerProfile, FleetProfile, TerminalProfile
from simulators.terminal import Terminal

DARK, OTHER = "SH-0001", "SH-0002"
CONTRACTS = {DARK: "HT-1", OTHER: "HT-2"}
#: 1000 MWh at 0.8.
PAID_YUAN, PAID_WH = "800000.00", 1_000_000_000
ROUNDS = [
    {"round": number, "feeds_zh": "空调", "feeds_en": "air", "importance": number, "load_w": 100_000}
    for number in (1, 2)
]
WITHIN_S = 30.0


def eventually(happened: Callable[[], Any]) -> Any:
    until_s = monotonic_s() + WITHIN_S
    while not (found := happened()):
        assert monotonic_s() < until_s, "it did not happen in time"
        sleep(0.02)
    return found


@dataclass(kw_only=True)
class Town:
    desk: Desk
    fleet: Fleet
    points: dict[str, str]

    def sell(self, terminal_id: str) -> dict[str, Any]:
        body = {"contract_no": CONTRACTS[terminal_id], "amount_yuan": PAID_YUAN}
        answer = self.desk.post("/purchases", body, role=Role.CASHIER)
        assert answer.status_code == 201, answer.text
        sold: dict[str, Any] = answer.json()
        return sold

    def order(self, terminal_id: str, action: str, **arguments: Any) -> None:
        body = {"action": action, "supply_point_id": self.points[terminal_id], "reason": "test", **arguments}
        assert self.desk.post("/commands", body, role=Role.OPERATOR).status_code == 201

    def trip(self, terminal_id: str) -> None:
        """Trip round 1 as two persons order it, as soon as nothing stands against it."""

        def ordered() -> bool:
            try:
                with transaction(self.desk.database.engine) as session:
                    an_ordered_trip(session, supply_point_id=UUID(self.points[terminal_id]))
            except DomainError:
                return False
            return True

        eventually(ordered)
        eventually(lambda: self.terminal(terminal_id).state.rounds == "01------")

    def ask_code(self, terminal_id: str) -> Any:
        return self.desk.post(f"/supply-points/{self.points[terminal_id]}/site-code", {}, role=Role.CASHIER)

    def code(self, terminal_id: str) -> dict[str, Any]:
        answer = self.ask_code(terminal_id)
        assert answer.status_code == 200, answer.text
        given: dict[str, Any] = answer.json()
        return given

    def point(self, terminal_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.desk.get(f"/supply-points/{self.points[terminal_id]}").json()
        return shown

    def credit(self, sold: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = self.desk.get(f"/purchases/{sold['purchase_no']}").json()["credit"]
        return shown

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.desk.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def terminal(self, terminal_id: str) -> Terminal:
        return self.fleet.terminal(terminal_id)

    def goes_off_line(self, terminal_id: str, *, seconds: float = 10_000) -> None:
        self.fleet.do(terminal_id, Outage(seconds=seconds))
        eventually(lambda: not self.point(terminal_id)["online"])

    def comes_back(self, terminal_id: str) -> None:
        self.fleet.do(terminal_id, PowerCycle(off_s=0.1))
        eventually(lambda: self.point(terminal_id)["commandable"])


@pytest.fixture
def town(database: Database, broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Town]:
    """Two factories, each with a registered terminal that has its site key."""
    signing, secret = tmp_path / "signing.pem", tmp_path / "secret"
    signing.write_bytes(new_private_key_pem())
    secret.write_text(bytes(range(32)).hex())
    points = {}
    with transaction(database.engine) as session:
        for terminal_id, contract_no in CONTRACTS.items():
            points[terminal_id] = str(a_contract(session, contract_no=contract_no).supply_point_id)
    with a_desk(database, signing_key_file=signing, site_secret_file=secret) as desk, capture_logs():
        devices = [registered(desk, terminal_id, points[terminal_id]) for terminal_id in points]
        hashes = {
            one.terminal_id: bcrypt.hashpw(one.password.encode(), bcrypt.gensalt(rounds=4)).decode()
            for one in devices
        }
        broker.set_users(broker.service_password, hashes)
        worker = Worker(worker_settings_for(database.application_url, broker, signing_key_file=signing))
        worker.start()
        try:
            assert worker.wait_connected(15)
            profile = FleetProfile(
                broker=BrokerProfile(host=LOOPBACK, port=broker.port), tick_ms=10, terminals=tuple(devices)
            )
            with Fleet(profile) as fleet:
                opened = Town(desk=desk, fleet=fleet, points=points)
                for terminal_id in points:
                    eventually(lambda one=terminal_id: opened.point(one)["commandable"])
                yield opened
        finally:
            worker.stop()
    with transaction(database.engine) as session:
        assert [(one.name, row) for one in INVARIANTS for row in find_broken(session, one)] == []


def registered(desk: Desk, terminal_id: str, point: str) -> TerminalProfile:
    body = {
        "terminal_id": terminal_id,
        "supply_point_id": point,
        "meter_no": "M1",
        "safe_load_w": 50_000,
        "rounds": ROUNDS,
    }
    told = desk.post("/terminals", body, role=Role.OPERATOR).json()
    return TerminalProfile(
        terminal_id=terminal_id,
        password=told["credential"],
        service_public_key_pem=told["service_public_key_pem"],
        service_key_id=told["service_key_id"],
        site_key=told["site_key"],
        meter_no="M1",
    )


@pytest.mark.takes(seconds=15)
def test_a_code_gives_supply_back_at_a_site_without_a_line_and_nothing_comes_twice_when_the_line_is_back(
    town: Town,
) -> None:
    first = town.sell(DARK)
    eventually(lambda: town.credit(first)["verified_at"])
    town.trip(DARK)
    assert refusal(town.ask_code(DARK)) == (409, "terminal-reachable")

    town.goes_off_line(DARK)
    second = town.sell(DARK)
    town.order(DARK, "allow_close", round=1)
    given = town.code(DARK)
    assert (given["order_no"], given["release_rounds"], town.code(DARK)) == (2, True, given)

    assert town.fleet.type_code(OTHER, given["code"]) is Typed.WRONG
    typed = town.fleet.type_code(DARK, given["code"])
    assert (typed, town.terminal(DARK).state.rounds) == (Typed.TAKEN, "11------")
    assert town.terminal(DARK).state.paid_until_wh == 2 * PAID_WH
    assert town.fleet.type_code(DARK, given["code"]) is Typed.OLD

    town.comes_back(DARK)
    eventually(lambda: town.credit(second)["verified_at"])
    point = eventually(lambda: (seen := town.point(DARK))["rounds"][0]["relay"] == "closed" and seen)
    assert (point["credit_undelivered"], point["site_code"]) == (False, None)
    # Nothing doubled: each order was applied once, and the credit of the second never left by the line.
    applied = (
        "SELECT detail->>'order_no', detail->>'cause' FROM terminal_events WHERE type = 'credit_applied' ORDER BY 1"
    )
    eventually(lambda: len(town.rows(applied)) >= 2)
    assert town.rows(applied) == [("1", None), ("2", "site_code")]
    steps = [one["step"] for one in town.desk.get(f"/commands/{second['command_id']}").json()["steps"]]
    assert steps == ["site code", "verified"]
    eventually(lambda: not town.rows("SELECT 1 FROM commands WHERE ended_at IS NULL"))
    assert town.terminal(DARK).state.paid_until_wh == 2 * PAID_WH


@pytest.mark.takes(seconds=10)
def test_a_code_that_was_never_typed_is_dead_once_its_purchase_was_taken_back_and_undoes_no_later_cut(
    town: Town,
) -> None:
    first = town.sell(DARK)
    eventually(lambda: town.credit(first)["verified_at"])
    town.goes_off_line(DARK)
    second = town.sell(DARK)
    given = town.code(DARK)
    body = {"purchase_no": second["purchase_no"], "kind": "refund", "energy_wh": PAID_WH // 2, "reason": "winter"}
    refund = town.desk.post("/refunds", body, role=Role.CASHIER).json()
    assert refusal(town.desk.post(f"/refunds/{refund['id']}/pay-out", {}, role=Role.CASHIER))[0] == 409
    town.comes_back(DARK)
    eventually(lambda: town.desk.get(f"/commands/{refund['command_id']}").json()["state"] == "verified")
    town.trip(DARK)
    assert town.fleet.type_code(DARK, given["code"]) is Typed.OLD
    state = town.terminal(DARK).state
    assert (state.rounds, state.paid_until_wh) == ("01------", 2 * PAID_WH - PAID_WH // 2)
