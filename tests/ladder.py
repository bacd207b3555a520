"""One supply point on its way down the ladder of stages, and the terminal that obeys."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from databases import Database
from factories import (
    a_contract,
    a_live_terminal,
    a_person,
    a_policy_in_force,
    a_purchase,
    a_state,
    a_terminal,
    issued_by_two,
)
from sqlalchemy import select

from app.clock import Clock
from app.commands import service as commands
from app.commands.models import Command
from app.commands.rules import OPEN, AckStep, CommandState, Evidence, Op
from app.commands.service import Answer, NewCommand
from app.customers.models import SupplyContract
from app.customers.queries import contract_by_no
from app.database import transaction
from app.load_control import service
from app.load_control.models import ControlState, StageDecisionRecord
from app.load_control.rules import StageDecision
from app.load_control.service import Pace
from app.notices import service as notices
from app.notices.models import Notice
from app.notices.rules import NoticeKind
from app.roles import Role

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
TERMINAL = "SH-0001"
CONTRACT = "HT-0001"
PACE = Pace(clock=Clock(), report_interval_s=900)
LOAD_W = 500_000
#: 80 000.00 yuan at 0.8 yuan/kWh: 100 MWh, which 500 kW use up in 200 h.
PAID_FEN = 8_000_000
PAID_WH = 100_000_000
NOTICE_H, WARNING_H, LIMITED_H, TRIP_H = 100, 140, 180, 200


@dataclass(kw_only=True)
class Factory:
    """One supply point at a steady 500 kW, from 100 MWh down; hours count from the start."""

    database: Database
    point: UUID
    state: dict[str, Any]
    now: datetime = START
    power_w: int = LOAD_W

    def at(self, hours: float) -> "Factory":
        """Move to a moment at which the terminal has just reported what was used by then."""
        self.now = START + timedelta(hours=hours)
        with transaction(self.database.engine) as session:
            a_live_terminal(
                session,
                terminal_id=TERMINAL,
                now=self.now,
                state=self.state,
                supplied_wh=int(LOAD_W * hours),
                active_power_w=self.power_w,
            )
        return self

    def reassess(self, *, times: int = 1, trigger: str = "report") -> StageDecision:
        for _ in range(times):
            with transaction(self.database.engine) as session:
                (decision,) = service.reassess(session, [self.point], trigger=trigger, pace=PACE, now=self.now)
        return decision

    def buy(self, *, paid_fen: int = PAID_FEN) -> None:
        with transaction(self.database.engine) as session:
            a_purchase(session, contract=contract_by_no(session, CONTRACT), now=self.now, paid_fen=paid_fen)

    def take_credit(self) -> None:
        """The terminal applies the newest credit and shows it."""
        (credit,) = self.open("credit")
        self.state |= {name: credit.args[name] for name in ("paid_until_wh", "order_no")}
        self.prove()

    def prove(self) -> None:
        """The terminal tells its state, which is weighed as evidence."""
        self.at((self.now - START) / HOUR)
        shown = Evidence(at=self.now, state=self.state, active_power_w=self.power_w)
        with transaction(self.database.engine) as session:
            commands.weigh(session, {TERMINAL: shown}, clock=PACE.clock, now=self.now)

    def answer(self, command: Command, *steps: AckStep, code: str | None = None, **detail: Any) -> None:
        with transaction(self.database.engine) as session:
            for step in steps:
                told = Answer(
                    terminal_id=TERMINAL, command_id=command.id, step=step, code=code, at=self.now, detail=detail
                )
                commands.note_answers(session, [told], now=self.now)

    def show(self) -> None:
        """The terminal shows the warning that waits, which serves its notice."""
        (warning,) = self.open("warn")
        self.answer(warning, AckStep.RECEIVED, AckStep.EXECUTED)
        with transaction(self.database.engine) as session:
            notices.mark_shown(session, [warning.id], now=self.now)

    def obey(self, op: str, **state: Any) -> Command:
        """The terminal carries out the open command of an operation, and its state and load show it."""
        (command,) = self.open(op)
        self.answer(command, AckStep.RECEIVED, AckStep.ARMED, AckStep.EXECUTED, active_power_w=LOAD_W, nonce="n")
        self.state |= state
        self.prove()
        assert self.command(command.id).state == CommandState.VERIFIED
        return command

    def commands(self, op: str | None = None) -> list[Command]:
        with transaction(self.database.engine) as session:
            found = session.scalars(select(Command).order_by(Command.version)).all()
        return [one for one in found if op in (None, one.op)]

    def open(self, op: str) -> list[Command]:
        return [one for one in self.commands(op) if one.state in OPEN]

    def command(self, command_id: UUID) -> Command:
        return next(one for one in self.commands() if one.id == command_id)

    def issued(self) -> Counter[str]:
        return Counter(one.op for one in self.commands())

    def notices(self, kind: NoticeKind | None = None) -> list[Notice]:
        with transaction(self.database.engine) as session:
            found = session.scalars(select(Notice).order_by(Notice.id)).all()
        return [one for one in found if kind in (None, one.kind)]

    def told(self) -> list[str]:
        return [one.kind for one in self.notices()]

    def control(self) -> ControlState:
        with transaction(self.database.engine) as session:
            return session.get_one(ControlState, self.point)

    def decisions(self) -> list[StageDecisionRecord]:
        with transaction(self.database.engine) as session:
            return list(session.scalars(select(StageDecisionRecord).order_by(StageDecisionRecord.id)))

    def against(self, command: Command) -> list[str]:
        with transaction(self.database.engine) as session:
            return [one.code for one in service.reasons_against(session, command, pace=PACE, now=self.now)]

    def order(self, op: Op, args: dict[str, Any], *, by_person: bool = False) -> Command:
        with transaction(self.database.engine) as session:
            person = a_person(session, role=Role.OPERATOR).id if by_person else None
            new = NewCommand(
                terminal_id=TERMINAL,
                supply_point_id=self.point,
                op=op,
                args=args,
                reason="test",
                requested_by=person,
            )
            if by_person:
                return issued_by_two(session, new, clock=PACE.clock, now=self.now)
            return commands.issue(session, new, clock=PACE.clock, now=self.now)

    def trip(self, round_no: int, *, by_person: bool = False) -> Command:
        return self.order(Op.TRIP, {"round": round_no, "alarm_delay_min": 0, "limit_min": 0}, by_person=by_person)

    def bring_to(self, command: Command, state: CommandState) -> None:
        """Have the command come as far as this, and end there if that is an end."""
        if state in (CommandState.EXECUTED, CommandState.REFUSED):
            self.answer(command, AckStep(state), code="HARDWARE" if state == CommandState.REFUSED else None)
            return
        with transaction(self.database.engine) as session:
            row = session.get_one(Command, command.id)
            if state in (CommandState.EXPIRED, CommandState.UNKNOWN):
                commands.end(session, row, state, outcome="test", now=self.now)
            row.state = state


def a_factory(database: Database, *, bought: bool = True, approved: bool = True, **terms: Any) -> Factory:
    with transaction(database.engine) as session:
        if approved:
            a_policy_in_force(session)
        contract: SupplyContract = a_contract(session, contract_no=CONTRACT, **terms)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    state = a_state(paid_until_wh=0, remaining_wh=0)
    made = Factory(database=database, point=contract.supply_point_id, state=state)
    if bought:
        made.buy()
        made.take_credit()
    return made.at(0)


def limited(factory: Factory) -> Factory:
    """Both steps down to the limit, the written notice shown, the limit held by the terminal."""
    factory.at(NOTICE_H).reassess()
    factory.show()
    factory.at(WARNING_H).reassess()
    factory.show()
    factory.at(LIMITED_H).reassess()
    factory.show()
    factory.obey("limit", limit_w=300_000)
    return factory


def tripping(factory: Factory) -> Factory:
    """On to the first trip: the second notice shown and run out, the trip of round 1 waiting."""
    limited(factory).at(TRIP_H).reassess()
    factory.show()
    factory.at(TRIP_H + 0.5).reassess()
    assert [one.args["round"] for one in factory.open("trip")] == [1]
    return factory
