"""A town of supply points whose terminals do at once what they are told, and its time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from databases import Database, a_database
from factories import (
    a_contract,
    a_customer,
    a_live_terminal,
    a_notice,
    a_policy_in_force,
    a_purchase,
    a_state,
    a_terminal,
    an_office,
)
from outbox import SIGNER, Outbox, later
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.clock import Clock, monotonic_s
from app.commands import service as commands
from app.commands.dispatch import Dispatcher
from app.commands.models import Command
from app.commands.rules import AckStep, Evidence
from app.commands.service import Answer
from app.customers.models import SupplyPoint
from app.database import transaction
from app.embedded.postgres import EmbeddedPostgres
from app.load_control import service as load_control
from app.load_control.service import Pace
from app.mqtt.messages import CommandClaims, Step
from app.notices.rules import NoticeKind

PAID_WH = 21_000_000
_GOOD_FOR_S = 600


@dataclass(kw_only=True)
class Town:
    """Supply points that have been given both notices; their terminals do at once what they are told."""

    database: Database
    terminals: dict[str, UUID]
    rounds: dict[str, str] = field(default_factory=dict)
    limits_w: dict[str, int | None] = field(default_factory=dict)
    executed: list[CommandClaims] = field(default_factory=list)
    passed_s: float = 0.0
    #: Terminals that answer everything with this code, or with nothing for None.
    stubborn: dict[str, str | None] = field(default_factory=dict)

    @property
    def pace(self) -> Pace:
        return Pace(clock=later(self.passed_s), report_interval_s=900)

    def minutes_pass(self, minutes: int) -> None:
        """Decide anew and send, once a minute, as the worker would; what is armed operates in the same minute."""
        for _ in range(minutes):
            self.passed_s += 61
            pace = self.pace
            with transaction(self.database.engine) as session:
                points = sorted(self.terminals.values())
                load_control.reassess(session, points, trigger="sweep", pace=pace, now=pace.clock.now())
            self.sends(after_s=0)
            self.sends(after_s=0)

    def sends(self, *, after_s: float = 1.0) -> None:
        """Send what is due once: an arming, or the operating of what is armed."""
        self.passed_s += after_s
        pace = self.pace
        clock = pace.clock
        outbox = Outbox()

        def against(session: Session, command: Command, now: datetime) -> list[dict[str, Any]]:
            return [one.as_json() for one in load_control.reasons_against(session, command, pace=pace, now=now)]

        Dispatcher(
            self.database.engine, clock=clock, signer=SIGNER, publish=outbox, reasons_against=against
        ).run_once()
        with transaction(self.database.engine) as session:
            for claims in outbox.claims:
                self._answer(session, claims, now=clock.now())

    def _answer(self, session: Session, claims: CommandClaims, *, now: datetime) -> None:
        if claims.terminal_id in self.stubborn:
            self._answer_stubbornly(session, claims, now=now)
            return
        step = AckStep.ARMED if claims.step is Step.ARM else AckStep.EXECUTED
        detail = {"nonce": "n-1", "active_power_w": 480_000} if step is AckStep.ARMED else {}
        told = Answer(
            terminal_id=claims.terminal_id, command_id=claims.id, step=step, code=None, at=now, detail=detail
        )
        commands.note_answers(session, [told], now=now)
        if step is AckStep.ARMED:
            return
        self.executed.append(claims)
        name = claims.terminal_id
        relays = list(self.rounds.get(name, "11------"))
        if claims.op in ("trip", "close"):
            relays[claims.args["round"] - 1] = "0" if claims.op == "trip" else "1"
        if claims.op == "limit":
            self.limits_w[name] = claims.args["power_w"]
        self.rounds[name] = "".join(relays)
        shown = self.state_of(name)
        a_live_terminal(session, terminal_id=name, now=now, state=shown)
        shown_later = Evidence(at=now, state=shown, active_power_w=100_000)
        commands.weigh(session, {name: shown_later}, clock=later(self.passed_s), now=now)

    def state_of(self, name: str) -> dict[str, Any]:
        """What a terminal shows after all that it was told."""
        rounds = self.rounds.get(name, "11------")
        return a_state(paid_until_wh=PAID_WH, order_no=1, rounds=rounds, limit_w=self.limits_w.get(name))

    def _answer_stubbornly(self, session: Session, claims: CommandClaims, *, now: datetime) -> None:
        code = self.stubborn[claims.terminal_id]
        if code is None:
            return
        told = Answer(
            terminal_id=claims.terminal_id, command_id=claims.id, step=AckStep.REFUSED, code=code, at=now, detail={}
        )
        commands.note_answers(session, [told], now=now)

    @property
    def cuts(self) -> list[CommandClaims]:
        return [
            one for one in self.executed if one.op in ("trip", "limit") and one.args.get("power_w", 1) is not None
        ]

    def at_zero(self) -> None:
        with transaction(self.database.engine) as session:
            session.execute(text("UPDATE allowances SET paid_until_wh = 0"))

    def rows(self, sql: str) -> list[Any]:
        with self.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]


@dataclass(kw_only=True)
class Towns:
    """One town after the other, each a copy of one that was built once: to build it takes seconds."""

    postgres: EmbeddedPostgres
    template: str
    points: int
    stack: ExitStack
    built: Town | None = None
    built_at_s: float = 0.0

    @contextmanager
    def another(self) -> Iterator[Town]:
        # Its reports grow old, and nobody is cut on old ones.
        if self.built is None or monotonic_s() - self.built_at_s > _GOOD_FOR_S:
            database = self.stack.enter_context(a_database(self.postgres, self.template))
            self.built, self.built_at_s = a_town(database, points=self.points), monotonic_s()
            database.engine.dispose()
        with a_database(self.postgres, self.built.database.name) as copied:
            yield Town(database=copied, terminals=self.built.terminals)


def a_town(database: Database, *, points: int) -> Town:
    """Points of two offices, five on a feeder."""
    terminals: dict[str, UUID] = {}
    now = Clock().now()
    with transaction(database.engine) as session:
        a_policy_in_force(session)
        offices = [an_office(session, code=f"OF-{number}") for number in (1, 2)]
        customers = [a_customer(session, office=office) for office in offices]
        for number in range(points):
            contract = a_contract(session, customer=customers[number % 2])
            point = contract.supply_point_id
            session.get_one(SupplyPoint, point).feeder = f"F{number // 5}"
            name = f"SH-{number:04d}"
            a_terminal(session, supply_point_id=point, terminal_id=name)
            a_purchase(session, contract=contract, now=now)
            state = a_state(paid_until_wh=PAID_WH, order_no=1)
            a_live_terminal(session, terminal_id=name, now=now, state=state)
            commands.weigh(session, {name: Evidence(at=now, state=state)}, clock=Clock(), now=now)
            for kind in (NoticeKind.WRITTEN, NoticeKind.SECOND):
                a_notice(
                    session,
                    supply_point_id=point,
                    kind=kind,
                    issued_at=now - timedelta(days=9),
                    cut_not_before=now - timedelta(hours=1),
                    served_at=now - timedelta(days=8),
                )
            terminals[name] = point
    return Town(database=database, terminals=terminals)
