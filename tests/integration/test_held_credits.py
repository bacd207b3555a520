"""A credit that would lower a terminal leaves only while enough stays there; else it is held, and people see why."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_state, a_terminal
from outbox import SIGNER, Outbox, later
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.clock import Clock
from app.commands.dispatch import Dispatcher
from app.commands.models import Command
from app.commands.rules import Op
from app.commands.sweep import CommandFigures
from app.customers.queries import contract_by_no
from app.customers.rules import ControlMode
from app.database import transaction
from app.load_control import service as load_control
from app.mqtt.messages import CommandClaims
from app.refunds import service as refunds
from app.roles import Role
from app.terminals.models import TerminalLive
from app.verification import INVARIANTS, find_broken

CONTRACT = "HT-1"
TERMINAL = "SH-0001"
#: 200 MWh at 0.8130.
PAID_YUAN, PAID_WH = "162600.00", 200_000_000


@dataclass(kw_only=True)
class Site:
    """A factory whose terminal is in local mode: it trips by itself. The notices need 50 MWh there."""

    desk: Desk
    sold: dict[str, Any]
    sent: list[CommandClaims] = field(default_factory=list)

    def dispatch(self, *, after_s: float = 0.0) -> list[int]:
        """One round, so many seconds from now; returns the order numbers of the credits that left."""
        outbox = Outbox()
        Dispatcher(
            self.desk.database.engine,
            clock=later(after_s),
            signer=SIGNER,
            publish=outbox,
            reasons_against=self.reasons_against,
        ).run_once()
        self.sent += outbox.claims
        return [one.args["order_no"] for one in outbox.claims if one.op == "credit"]

    def reasons_against(self, session: Session, command: Command, now: datetime) -> list[dict[str, Any]]:
        asked = refunds.reasons_against if command.op == Op.CREDIT else load_control.reasons_against
        return [one.as_json() for one in asked(session, command, pace=self.desk.pace, now=now)]

    def tells(
        self,
        *,
        order_no: int = 1,
        paid_until_wh: int = PAID_WH,
        supplied_wh: int = 0,
        power_w: int = 0,
        after_s: float = 1.0,
    ) -> None:
        with transaction(self.desk.database.engine) as session:
            a_live_terminal(
                session,
                terminal_id=TERMINAL,
                now=datetime.now(UTC) + timedelta(seconds=after_s),
                state=a_state(order_no=order_no, paid_until_wh=paid_until_wh, mode="local"),
                supplied_wh=supplied_wh,
                active_power_w=power_w,
            )

    def live(self, **columns: Any) -> None:
        with transaction(self.desk.database.engine) as session:
            row = session.get_one(TerminalLive, TERMINAL)
            for name, value in columns.items():
                setattr(row, name, value)

    def link_is_lost(self) -> None:
        self.live(online=False, commandable=False)

    def refund(self, energy_wh: int = 100_000_000) -> dict[str, Any]:
        return self.refund_of(self.sold, energy_wh)

    def refund_of(self, bought: dict[str, Any], energy_wh: int) -> dict[str, Any]:
        body = {"purchase_no": bought["purchase_no"], "kind": "refund", "energy_wh": energy_wh, "reason": "winter"}
        answer = self.desk.post("/refunds", body, role=Role.CASHIER)
        assert answer.status_code == 201, answer.text
        asked: dict[str, Any] = answer.json()
        return asked

    def sell(self, amount_yuan: str) -> dict[str, Any]:
        body = {"contract_no": CONTRACT, "amount_yuan": amount_yuan}
        sold: dict[str, Any] = self.desk.post("/purchases", body, role=Role.CASHIER).json()
        return sold

    def held(self, refund: dict[str, Any]) -> list[str]:
        return [one["code"] for one in self.desk.get(f"/refunds/{refund['id']}").json()["held"]]

    def command(self, command_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.desk.get(f"/commands/{command_id}").json()
        return shown


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, price="0.8130", control_mode=ControlMode.LOCAL)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    with a_desk(database, staff=[Role.ACCOUNT_MANAGER, Role.APPROVER, Role.AUDITOR]) as desk:
        body = {"contract_no": CONTRACT, "amount_yuan": PAID_YUAN}
        opened = Site(desk=desk, sold=desk.post("/purchases", body, role=Role.CASHIER).json())
        opened.tells(order_no=0, paid_until_wh=0)
        assert opened.dispatch() == [1]
        opened.tells()
        yield opened
        with transaction(database.engine) as session:
            assert [(one.name, row) for one in INVARIANTS for row in find_broken(session, one)] == []


def test_a_refund_that_can_be_spared_leaves_and_is_proved(site: Site) -> None:
    refund = site.refund()
    assert site.dispatch() == [refund["order_no"]]
    assert site.held(refund) == []
    site.tells(order_no=refund["order_no"], paid_until_wh=100_000_000)
    paid = site.desk.post(f"/refunds/{refund['id']}/pay-out", {}, role=Role.CASHIER)
    assert paid.json()["state"] == "paid_out"


def test_load_that_ran_on_while_the_link_was_lost_holds_it_until_it_is_withdrawn(site: Site) -> None:
    refund = site.refund()
    site.link_is_lost()
    assert site.dispatch() == []
    site.tells(supplied_wh=60_000_000)
    assert [site.dispatch(after_s=seconds) for seconds in (0, 31, 62, 400)] == [[], [], [], []]
    assert site.held(refund) == ["must_stay"]
    command = site.command(refund["command_id"])
    assert (command["state"], command["attempts"], command["held_since"] is None) == ("waiting", 0, False)
    (reason,) = command["held"]
    assert reason["facts"]["remaining_wh"] == 40_000_000
    assert "withdraw" in reason["en"]
    assert "撤回" in reason["zh"]
    assert [step["step"] for step in command["steps"]] == ["held"]
    assert refusal(site.desk.post(f"/refunds/{refund['id']}/pay-out", {}, role=Role.CASHIER)) == (
        409, "not-taken-back-yet",
    )  # fmt: skip
    withdrawn = site.desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER).json()
    assert (withdrawn["state"], withdrawn["regranted_wh"], withdrawn["held"]) == ("withdrawn", 100_000_000, [])
    assert site.dispatch(after_s=500) == [refund["order_no"] + 1]
    assert site.sent[-1].args["paid_until_wh"] == PAID_WH
    assert site.command(refund["command_id"])["state"] == "superseded"
    site.tells(order_no=refund["order_no"] + 1, supplied_wh=60_000_000)
    site.dispatch(after_s=2000)
    assert refund["order_no"] not in [one.args["order_no"] for one in site.sent]


def test_one_that_left_unanswered_is_not_sent_again_once_too_little_would_stay(site: Site) -> None:
    refund = site.refund()
    assert site.dispatch() == [refund["order_no"]]
    site.tells(supplied_wh=60_000_000)
    assert site.dispatch(after_s=10) == []
    assert (site.held(refund), site.command(refund["command_id"])["state"]) == (["must_stay"], "sent")


def test_what_lowers_waits_for_a_proved_link_and_what_raises_does_not(site: Site) -> None:
    refund = site.refund()
    site.live(commandable=False)
    assert [site.dispatch(after_s=seconds) for seconds in (0, 60)] == [[], []]
    site.live(commandable=True)
    assert site.dispatch(after_s=61) == [refund["order_no"]]
    site.live(commandable=False)
    bought = site.sell("81300.01")
    assert bought["paid_until_wh"] >= PAID_WH
    assert site.dispatch(after_s=61) == [bought["order_no"]]


def test_without_a_fresh_report_it_is_held_and_a_report_lets_it_go(site: Site) -> None:
    refund = site.refund()
    site.live(supplied_at=datetime.now(UTC) - timedelta(hours=1))
    assert site.dispatch() == []
    assert site.held(refund) == ["stale_report"]
    site.tells(supplied_wh=1_000_000)
    assert site.dispatch(after_s=31) == [refund["order_no"]]
    command = site.command(refund["command_id"])
    assert (command["held"], [step["step"] for step in command["steps"]]) == (None, ["held", "sent do"])


def test_a_purchase_that_lifts_the_terminal_again_takes_the_place_of_what_is_held(site: Site) -> None:
    refund = site.refund()
    site.tells(supplied_wh=60_000_000)
    assert site.dispatch() == []
    bought = site.sell("97560.00")
    assert bought["paid_until_wh"] == 220_000_000
    site.live(commandable=False, supplied_at=datetime.now(UTC) - timedelta(hours=1))
    assert site.dispatch() == [bought["order_no"]]
    assert site.command(refund["command_id"])["state"] == "superseded"
    site.tells(order_no=bought["order_no"], paid_until_wh=220_000_000, supplied_wh=60_000_000)
    assert site.desk.get(f"/refunds/{refund['id']}").json()["taken_back"] is True


def test_a_small_purchase_does_not_bring_down_what_a_refund_alone_could_not(site: Site) -> None:
    refund = site.refund()
    site.tells(supplied_wh=120_000_000)
    bought = site.sell("8130.00")
    # Sold by the books 110 MWh, used 120: lowered now, it would be tripped with 80 MWh in its hands.
    assert (bought["paid_until_wh"], site.dispatch()) == (110_000_000, [])
    assert [one["code"] for one in site.command(bought["command_id"])["held"]] == ["must_stay"]
    assert site.held(refund) == ["must_stay"]
    site.desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER)
    assert site.dispatch(after_s=1) != []
    assert site.sent[-1].args["paid_until_wh"] == 210_000_000


def test_what_the_terminal_refused_is_issued_anew_and_weighed_anew(site: Site) -> None:
    refund = site.refund()
    site.dispatch()
    with transaction(site.desk.database.engine) as session:
        session.execute(
            text("UPDATE commands SET state = 'refused', ended_at = now() - interval '5 minutes' WHERE id = :id"),
            {"id": refund["command_id"]},
        )
    site.tells(supplied_wh=60_000_000)
    with transaction(site.desk.database.engine) as session:
        points = [contract_by_no(session, CONTRACT).supply_point_id]
        load_control.reassess(session, points, trigger="test", pace=site.desk.pace, now=datetime.now(UTC))
    assert site.dispatch(after_s=1) == []
    assert site.held(refund) == ["must_stay"]


def test_a_purchase_that_may_have_arrived_counts_as_held_by_the_terminal(site: Site) -> None:
    bought = site.sell("16260.00")
    assert site.dispatch() == [bought["order_no"]]
    refund = site.refund(10_000_000)
    # Above all that the terminal has told of, and yet below what it may have taken over without telling.
    site.live(commandable=False)
    assert (refund["paid_until_wh"], site.dispatch(after_s=1)) == (210_000_000, [])
    site.live(commandable=True)
    assert site.dispatch(after_s=1) == [refund["order_no"]]


def test_a_credit_that_never_arrived_does_not_hold_what_gives_supply_back(site: Site) -> None:
    site.tells(supplied_wh=PAID_WH - 10_000_000)
    bought = site.sell("81300.00")
    assert site.dispatch() == [bought["order_no"]]
    refund = site.refund_of(bought, 55_000_000)
    # The link was lost before the terminal had the purchase; it came back after it had used all that it knew of.
    site.tells(supplied_wh=PAID_WH)
    assert (site.dispatch(after_s=1), site.held(refund)) == ([], ["must_stay"])
    CommandFigures(site.desk.database.engine, clock=Clock()).measure()
    waits_s = REGISTRY.get_sample_value("wattgate_oldest_undelivered_restore_seconds", {"terminal": "online"})
    assert waits_s is not None
    assert waits_s > 0
    site.tells(supplied_wh=PAID_WH, after_s=950)
    site.live(commandable=False)
    assert site.dispatch(after_s=951) == [refund["order_no"]]
    assert site.sent[-1].args["paid_until_wh"] == 245_000_000


def test_what_is_held_is_listed_and_shown_where_people_look(site: Site) -> None:
    refund = site.refund()
    site.tells(supplied_wh=120_000_000)
    bought = site.sell("8130.00")
    site.dispatch()
    (listed,) = site.desk.get("/commands", held=True).json()["items"]
    assert (listed["id"], listed["held"][0]["code"]) == (bought["command_id"], "must_stay")
    others = site.desk.get("/commands", held=False).json()["items"]
    assert refund["command_id"] in [one["id"] for one in others]
    credit = site.desk.get(f"/purchases/{bought['purchase_no']}").json()["credit"]
    assert (credit["state"], credit["held"]) == ("waiting", listed["held"])
    why = site.desk.get(f"/supply-points/{listed['supply_point_id']}/why").json()
    assert (why["credit_held"], why["held"]) == (listed["held"], [])
    site.desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER)
    assert site.desk.get("/commands", held=True).json()["items"] == []
    assert site.desk.get(f"/purchases/{bought['purchase_no']}").json()["credit"]["held"] is None


def test_a_terminal_with_an_order_that_nobody_gave_it_is_not_lowered(site: Site) -> None:
    refund = site.refund()
    site.tells(order_no=refund["order_no"] + 7, paid_until_wh=300_000_000)
    assert (site.dispatch(), site.held(refund)) == ([], ["order_unknown"])
    site.tells()


def test_load_that_returned_holds_a_closing_until_it_is_withdrawn(site: Site) -> None:
    path = f"/contracts/{CONTRACT}/closing"
    asked = site.desk.post(path, {"reason": "the works moves away"}, role=Role.ACCOUNT_MANAGER).json()
    site.tells(power_w=300_000)
    assert (site.dispatch(), site.desk.get(path).json()["held"][0]["code"]) == ([], "load_running")
    site.tells(supplied_wh=5_000)
    assert (site.dispatch(after_s=31), site.desk.get(path).json()["held"][0]["code"]) == ([], "used_while_closing")
    withdrawn = site.desk.post(f"{path}/withdraw", {}, role=Role.ACCOUNT_MANAGER).json()
    assert (withdrawn["state"], withdrawn["held"]) == ("withdrawn", [])
    assert site.dispatch(after_s=62) == [asked["order_no"] + 1]
    assert site.sent[-1].args["paid_until_wh"] == PAID_WH


def test_a_closing_at_rest_leaves(site: Site) -> None:
    asked = site.desk.post(f"/contracts/{CONTRACT}/closing", {"reason": "moves"}, role=Role.ACCOUNT_MANAGER).json()
    assert site.dispatch() == [asked["order_no"]]


def test_what_is_held_is_counted_and_is_no_restore_that_somebody_waits_for(site: Site) -> None:
    site.refund()
    site.tells(supplied_wh=60_000_000)
    site.dispatch()
    CommandFigures(site.desk.database.engine, clock=Clock()).measure()
    assert REGISTRY.get_sample_value("wattgate_credits_held") == 1
    assert REGISTRY.get_sample_value("wattgate_oldest_undelivered_restore_seconds", {"terminal": "online"}) == 0
