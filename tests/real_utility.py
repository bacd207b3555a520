"""The utility under test, driven as its routes and its worker drive it, on a database of its own."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from factories import (
    a_contract,
    a_live_terminal,
    a_person,
    a_state,
    a_terminal,
    an_exchange,
    an_office,
    an_open_shift,
)
from fastapi.responses import Response
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.allowances.sweep import post_all
from app.audit import service as audit
from app.audit.rules import Deed
from app.clock import Clock
from app.closings import queries as closing_queries
from app.closings import service as closings
from app.closings.schemas import ClosingQuote, ClosingShown, ClosingToAsk, Finish
from app.commands import service as commands
from app.commands.rules import Evidence
from app.customers.models import Customer
from app.customers.rules import ControlMode, Industry, NoticePeriods, Threshold, Thresholds
from app.customers.service import NewContact, NewCustomer, NewPrice, register_customer, set_price
from app.database import Actor, Step, in_transaction, together, transaction
from app.emergency import service as emergency
from app.emergency.schemas import EmergencyCreditShown, EmergencyCreditWanted
from app.errors import DomainError
from app.exchanges.schemas import TerminalExchangeShown
from app.http.idempotency import REPLAYED_HEADER, KeyedRequest
from app.http.policies import Person
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control.service import Pace, reassess
from app.purchases import service as purchases
from app.purchases.schemas import PurchaseOut, SaleRequest
from app.refunds import queries as refund_queries
from app.refunds import service as refunds
from app.refunds.schemas import PayOut, RefundQuote, RefundShown, RefundToAsk
from app.roles import Role
from app.settings import Settings
from app.shift_closing import service as shift_closing
from app.shift_closing.service import Close, NewCount
from app.shifts.rules import TenderKind
from app.shifts.service import open_shift
from app.terminals.queries import live
from app.verification import INVARIANTS

BEGAN_AT = datetime(2026, 3, 2, tzinfo=UTC)
TILL = "TILL-A"

_SITES = text("""
    SELECT contract.contract_no, allowance.opening_supplied_wh AS opening_wh,
           allowance.posted_supplied_wh - allowance.opening_supplied_wh AS posted_wh, allowance.paid_until_wh,
           allowance.kept_nfen, terminal.id AS terminal_id, terminal.last_order_no AS order_no,
           jsonb_object_agg(account.kind, account.balance) AS balances
      FROM supply_contracts AS contract
      JOIN allowances AS allowance USING (supply_point_id)
      JOIN terminals AS terminal
        ON terminal.supply_point_id = contract.supply_point_id AND terminal.retired_at IS NULL
      JOIN ledger_accounts AS account ON account.supply_point_id = contract.supply_point_id
     GROUP BY contract.id, allowance.supply_point_id, terminal.id
""")
_OWN = text("""
    SELECT account.kind, sum(entry.amount) AS amount FROM ledger_entries AS entry
      JOIN ledger_accounts AS account ON account.id = entry.account_id AND account.supply_point_id IS NULL
     GROUP BY account.kind HAVING sum(entry.amount) <> 0
""")
_PAPERS = text("""
    SELECT last_receipt_no AS receipts, open_shift_id IS NOT NULL AS sells,
           (SELECT count(*) FROM purchases) AS purchases,
           (SELECT count(*) FROM terminal_exchanges) AS exchanges,
           (SELECT count(*) FROM idempotency_keys) AS answers,
           (SELECT state FROM shifts ORDER BY shift_no DESC LIMIT 1) AS shift,
           (SELECT jsonb_object_agg(state, number)
              FROM (SELECT state, count(*) AS number FROM refunds GROUP BY state) AS states) AS refunds,
           (SELECT jsonb_object_agg(state, number)
              FROM (SELECT state, count(*) AS number FROM closings GROUP BY state) AS states) AS closings
      FROM tills
""")


class Answer(NamedTuple):
    """What a request was answered with: its bytes, and the request, to be sent again."""

    body: bytes
    again: "Asked"

    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


@dataclass(frozen=True, kw_only=True)
class Asked:
    request: KeyedRequest
    effect: Callable[..., Any]
    ahead: tuple[Step[Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything that is compared after a step, and the rows that break an invariant."""

    sites: dict[str, Any]
    own: dict[str, int]
    papers: Any
    broken: dict[str, list[Any]]


def reason_of(refused: DomainError) -> str:
    """Name a refusal as the plain model does: the problem, and its reason where it has several."""
    because = refused.facts.get("because")
    return f"{refused.slug()}:{because}" if because else refused.slug()


def hire_everybody(engine: Engine) -> None:
    """Hire the people of an office with one till, once for all copies of this database."""
    with transaction(engine) as session:
        office = an_office(session, code="OFFICE-A")
        people = {role: a_person(session, role=role, office=office, name=role.value) for role in Role}
        a_person(session, role=Role.APPROVER, office=office, name="second")
        shift = an_open_shift(session, cashier=people[Role.CASHIER])
        session.execute(text("UPDATE tills SET till_no = :no WHERE id = :id"), {"no": TILL, "id": shift.till_id})
        new = NewCustomer(
            customer_no="C-A",
            office_id=office.id,
            name_zh="东方钢铁有限公司",
            name_en="Oriental Steel Co., Ltd.",
            industry=Industry.METALLURGY,
            contacts=(NewContact(name="王强", duty="电气主管", phone="+86 138 0000 0001"),),
        )
        register_customer(session, new, now=BEGAN_AT)


@dataclass(kw_only=True)
class RealUtility:
    """Deeds by name; each runs in transactions of its own and raises what the product refuses."""

    engine: Engine
    settings: Settings
    runner: asyncio.Runner
    points: dict[str, UUID] = field(default_factory=dict)
    people: dict[str, UUID] = field(default_factory=dict)
    keys: int = 0

    def __post_init__(self) -> None:
        self.pace = Pace(clock=Clock(), report_interval_s=900)
        with transaction(self.engine) as session:
            rows = session.execute(text("SELECT sign_in_name, id FROM staff_members"))
            self.people = {row.sign_in_name: row.id for row in rows}

    def sign(self, contract_no: str, terms: Any, *, price: str, terminal_id: str, opening_wh: int) -> None:
        """Sign a contract on the terms of the plain model, and fit its terminal."""
        thresholds = Thresholds(
            notice=Threshold(energy_wh=terms.notice_wh),
            warning=Threshold(energy_wh=terms.warning_wh),
            limited=Threshold(energy_wh=terms.limited_wh),
            trip=Threshold(energy_wh=terms.trip_wh),
        )
        with transaction(self.engine) as session:
            contract = a_contract(
                session,
                customer=session.query(Customer).one(),
                contract_no=contract_no,
                capacity_kva=terms.capacity_kva,
                control_mode=ControlMode.LOCAL if terms.local else ControlMode.REMOTE,
                thresholds=thresholds,
                notice_periods=NoticePeriods(written_s=terms.told_before_s - 1800, second_s=1800),
                price=price,
                opening_supplied_wh=opening_wh,
                debt_share_percent=terms.debt_share_percent,
                emergency_limit_wh=terms.emergency_limit_wh,
                overdraft_wh=terms.overdraft_wh,
            )
            a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=terminal_id)
            self.points[contract_no] = contract.supply_point_id

    def _ask(
        self, route: str, body: Any, effect: Callable[..., Any], *, by: str, now: datetime, ahead: Any = ()
    ) -> Answer:
        self.keys += 1
        person = Person(id=self.people[by], sign_in_name=by, roles=frozenset())
        request = KeyedRequest(
            key=f"key-{self.keys}",
            route=route,
            body_hash=hashlib.sha256(json.dumps(body).encode()).digest(),
            person=person,
            actor=Actor(staff_member_id=person.id, name=by),
            now=now,
            settings=self.settings,
            engine=self.engine,
        )
        asked = Asked(request=request, effect=effect, ahead=tuple(ahead))
        response = self.send(asked)
        assert REPLAYED_HEADER not in response.headers
        return Answer(bytes(response.body), asked)

    def send(self, asked: Asked) -> Response:
        return self.runner.run(asked.request.once(asked.effect, ahead=asked.ahead))

    def send_again(self, answer: Answer, *, other_body: bool) -> tuple[bytes, bool]:
        """Send an answered request again; returns the bytes, and whether they were said to be a replay."""
        asked = answer.again
        if other_body:
            asked = replace(asked, request=replace(asked.request, body_hash=b"another"))
        response = self.send(asked)
        return bytes(response.body), REPLAYED_HEADER in response.headers

    def buy(self, contract_no: str, tenders: dict[str, int], *, now: datetime) -> Answer:
        shapes = [
            {"kind": kind, "amount_yuan": _yuan(fen), "reference": "" if kind == "cash" else "slip"}
            for kind, fen in tenders.items()
        ]
        body = {"contract_no": contract_no, "amount_yuan": _yuan(sum(tenders.values())), "tenders": shapes}
        wanted = SaleRequest.model_validate(body)
        sale = purchases.Sale(
            contract_no=contract_no, paid_fen=wanted.paid_fen, cashier_id=self.people["cashier"], tenders=wanted.taken
        )

        def sell(session: Session, _locked: None, *answers: Any) -> tuple[int, PurchaseOut]:
            opened = purchases.Opened(*answers)
            return 201, PurchaseOut.of_sale(purchases.sell_opened(session, sale, opened, pace=self.pace, now=now))

        ahead = purchases.opening_of(sale, now=now)
        return self._ask("POST /purchases", body, sell, by="cashier", now=now, ahead=ahead)

    def lend(self, contract_no: str, wh: int, *, now: datetime) -> Answer:
        wanted = EmergencyCreditWanted(energy_wh=wh, asked_by="王强", reason="the bank is closed")
        new = emergency.Wanted(
            supply_point_id=self.points[contract_no], lent_by=self.people["operator"], **wanted.model_dump()
        )

        def lend(session: Session) -> tuple[int, EmergencyCreditShown]:
            return 201, EmergencyCreditShown.of(emergency.lend(session, new, pace=self.pace, now=now))

        return self._ask(f"POST {contract_no}/lend", wanted.model_dump(), lend, by="operator", now=now)

    def _refund(self, purchase_no: str, kind: str, wanted_wh: int | None) -> RefundToAsk:
        return RefundToAsk.model_validate(
            {"purchase_no": purchase_no, "kind": kind, "energy_wh": wanted_wh, "reason": "a mistake"}
        )

    def quote_back(self, purchase_no: str, *, kind: str, wanted_wh: int | None, now: datetime) -> RefundQuote:
        new = self._refund(purchase_no, kind, wanted_wh).to_ask(asked_by=self.people["cashier"])
        with transaction(self.engine) as session:
            return RefundQuote.of(*refunds.would_take_back(session, new, pace=self.pace, now=now))

    def ask_back(self, purchase_no: str, *, kind: str, wanted_wh: int | None, by: str, now: datetime) -> Answer:
        wanted = self._refund(purchase_no, kind, wanted_wh)
        new = wanted.to_ask(asked_by=self.people[by])

        def ask(session: Session) -> tuple[int, RefundShown]:
            made = refunds.ask(session, new, alone_fen=None, pace=self.pace, now=now)
            return 201, RefundShown.of(refund_queries.refund_seen(session, made.id))

        return self._ask("POST /refunds", wanted.model_dump(mode="json"), ask, by=by, now=now)

    def release(self, refund_id: UUID, *, by: str, now: datetime) -> None:
        approver_id = self.people[by]
        in_transaction(self.engine, refunds.release, refund_id, because="a fire", approver_id=approver_id, now=now)

    def pay_out(self, refund_id: UUID, *, form: str, now: datetime) -> Answer:
        wanted = PayOut.model_validate({"kind": form, "reference": "" if form == "cash" else "slip"})

        def pay(session: Session) -> tuple[int, RefundShown]:
            cashier_id = self.people["cashier"]
            refunds.pay_out(session, refund_id, tender=wanted.as_tender(), cashier_id=cashier_id, now=now)
            return 200, RefundShown.of(refund_queries.refund_seen(session, refund_id))

        return self._ask(f"POST {refund_id}/pay-out", wanted.model_dump(mode="json"), pay, by="cashier", now=now)

    def withdraw(self, refund_id: UUID, *, now: datetime) -> Answer:
        def undo(session: Session) -> tuple[int, RefundShown]:
            refunds.withdraw(session, refund_id, by=self.people["cashier"], pace=self.pace, now=now)
            return 200, RefundShown.of(refund_queries.refund_seen(session, refund_id))

        return self._ask(f"POST {refund_id}/withdraw", {}, undo, by="cashier", now=now)

    def exchange(self, contract_no: str, *, final_wh: int, start_wh: int, terminal_id: str, now: datetime) -> Answer:
        def exchange(session: Session) -> tuple[int, TerminalExchangeShown]:
            made = an_exchange(
                session,
                supply_point_id=self.points[contract_no],
                by=self.people["operator"],
                now=now,
                old_final_wh=final_wh,
                new_start_wh=start_wh,
                terminal_id=terminal_id,
            )
            return 201, TerminalExchangeShown.of(made)

        body = [final_wh, start_wh, terminal_id]
        return self._ask(f"POST {contract_no}/terminal-exchange", body, exchange, by="operator", now=now)

    def owe(self, contract_no: str, fen: int, *, number: int, now: datetime) -> None:
        """Have old debt appear in the books, as another system would post it."""
        lines = (
            Line(kind=AccountKind.RECEIVABLE, amount=fen),
            Line(kind=AccountKind.OPENING_MONEY, amount=-fen),
        )
        posting = Posting(kind="opening debt", business_key=f"debt:{number}", lines=lines)
        with transaction(self.engine) as session:
            posted = ledger.post(session, self.points[contract_no], [posting], now=now, actor_id=None)
            deed = Deed(
                action="debt.opened", subject_kind="contract", subject=contract_no, transaction_ids=tuple(posted)
            )
            audit.record(session, deed, at=now)

    def price(self, contract_no: str, price: str, *, now: datetime) -> None:
        new = NewPrice(yuan_per_kwh=Decimal(price), valid_from=now)
        in_transaction(self.engine, set_price, contract_no, new, set_by=None, now=now)

    def quote_closing(self, contract_no: str, *, now: datetime) -> ClosingQuote:
        with transaction(self.engine) as session:
            return ClosingQuote.of(*closings.would_settle(session, contract_no, pace=self.pace, now=now))

    def _closing(
        self, contract_no: str, deed: str, work: Callable[[Session], Any], *, by: str, now: datetime
    ) -> Answer:
        def do(session: Session) -> tuple[int, ClosingShown]:
            work(session)
            return 200, ClosingShown.seen(closing_queries.closing_seen(session, contract_no))

        return self._ask(f"POST {contract_no}/closing/{deed}", {}, do, by=by, now=now)

    def ask_closing(self, contract_no: str, *, by: str, now: datetime) -> Answer:
        wanted = ClosingToAsk(reason="the works moves away")
        new = closings.NewClosing(contract_no=contract_no, reason=wanted.reason, asked_by=self.people[by])
        return self._closing(
            contract_no, "ask", lambda session: closings.ask(session, new, pace=self.pace, now=now), by=by, now=now
        )

    def release_closing(self, contract_no: str, *, by: str, now: datetime) -> None:
        approver_id = self.people[by]
        in_transaction(self.engine, closings.release, contract_no, because="a fire", approver_id=approver_id, now=now)

    def finish_closing(self, contract_no: str, *, form: str, money_fen: int, now: datetime) -> Answer:
        """Finish a closing, the money in one form; cash is what no tenders mean."""
        tender = {"kind": form, "amount_yuan": _yuan(abs(money_fen)), "reference": "slip"}
        wanted = Finish.model_validate({"tenders": [tender] if form != "cash" and money_fen else []})
        cashier_id = self.people["cashier"]

        def finish(session: Session) -> None:
            closings.finish(session, contract_no, tenders=wanted.taken, cashier_id=cashier_id, now=now)

        return self._closing(contract_no, "finish", finish, by="cashier", now=now)

    def withdraw_closing(self, contract_no: str, *, now: datetime) -> Answer:
        by = self.people["cashier"]
        return self._closing(
            contract_no,
            "withdraw",
            lambda session: closings.withdraw(session, contract_no, by=by, pace=self.pace, now=now),
            by="cashier",
            now=now,
        )

    def close_unused(self, contract_no: str, *, now: datetime) -> None:
        in_transaction(self.engine, closings.close_unused, contract_no, now=now)

    def report(self, contract_no: str, terminal_id: str, *, told: dict[str, int], power_w: int, now: datetime) -> int:
        """Have a terminal tell, commands proved and control look; returns the load that the service works with."""
        point = self.points[contract_no]
        state = a_state(
            order_no=told["order_no"],
            paid_until_wh=told["paid_until_wh"],
            remaining_wh=told["paid_until_wh"] - told["supplied_wh"],
        )
        with transaction(self.engine) as session:
            a_live_terminal(
                session,
                terminal_id=terminal_id,
                now=now,
                state=state,
                supplied_wh=told["supplied_wh"],
                active_power_w=power_w,
            )
            evidence = {terminal_id: Evidence(at=now, state=state, active_power_w=power_w)}
            commands.weigh(session, evidence, clock=self.pace.clock, now=now)
            reassess(session, [point], trigger="report", pace=self.pace, now=now)
            found = live(session, terminal_id)
            assert found is not None
            session.refresh(found)
            return found.recent_load_w

    def post(self, *, now: datetime) -> int:
        return post_all(self.engine, now=now)

    def _shift(self, session: Session) -> UUID:
        last: UUID = session.execute(text("SELECT id FROM shifts ORDER BY shift_no DESC LIMIT 1")).scalar_one()
        return last

    def open_shift(self, float_fen: int, *, now: datetime) -> None:
        cashier_id = self.people["cashier"]
        in_transaction(self.engine, open_shift, till_no=TILL, cashier_id=cashier_id, float_fen=float_fen, now=now)

    def count(self, *, cash_fen: int, slips: dict[str, int], now: datetime) -> None:
        new = NewCount(cash_fen=cash_fen, slips_fen={TenderKind(kind): fen for kind, fen in slips.items()})
        with transaction(self.engine) as session:
            shift_closing.count(session, self._shift(session), new, cashier_id=self.people["cashier"], now=now)

    def ask_to_count_again(self, *, now: datetime) -> None:
        with transaction(self.engine) as session:
            supervisor_id = self.people["approver"]
            shift_closing.ask_again(
                session, self._shift(session), reason="again", supervisor_id=supervisor_id, now=now
            )

    def close_shift(self, *, reason: str | None, now: datetime) -> None:
        supervisor_id = self.people["approver"]
        with transaction(self.engine) as session:
            shift_id = self._shift(session)
            seen = shift_closing.judge(session, shift_id, supervisor_id=supervisor_id).count
            wanted = Close(count_id=seen.id, reason=reason, supervisor_id=supervisor_id)
            shift_closing.close(session, shift_id, wanted, now=now)

    def look(self) -> Seen:
        """Read all that is compared and run every invariant, in one round trip."""
        asked = [Step(statement=one, values={}, read=list) for one in (_SITES, _OWN, _PAPERS, _BROKEN)]
        with transaction(self.engine) as session:
            sites, own, papers, broken = together(session, *asked)
            rows = {row.name: session.execute(_BREAKING[row.name]).all() for row in broken}
        return Seen(
            sites={row.contract_no: row for row in sites},
            own={row.kind: int(row.amount) for row in own},
            papers=papers[0],
            broken=rows,
        )


_BREAKING = {one.name: text(one.query) for one in INVARIANTS}
#: The names of all that are broken, of one statement: sixty of their own cost both sides more than what they ask.
_BROKEN = text(" UNION ALL ".join(f"SELECT '{one.name}' AS name WHERE EXISTS ({one.query})" for one in INVARIANTS))


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"
