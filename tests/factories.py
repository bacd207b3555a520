"""Nouns of the trade for tests: one plain function each, in a session of the caller, made by the real services."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.approvals.books import Asked
from app.approvals.models import Approval
from app.approvals.rules import ApprovalState, Kind
from app.approvals.service import approve, ask
from app.audit import service as audit
from app.audit.rules import Deed
from app.cheques.service import NewCheque, take_in
from app.clock import Clock
from app.commands import service as commands
from app.commands.models import Command
from app.commands.rules import Op
from app.commands.service import NewCommand
from app.customers.models import Customer, SupplyContract
from app.customers.rules import ControlMode, Industry, NoticePeriods, Threshold, Thresholds
from app.customers.service import (
    NewContact,
    NewContract,
    NewCustomer,
    NewPrice,
    NewSupplyPoint,
    register_customer,
    set_price,
)
from app.database import new_id
from app.exchanges.models import TerminalExchange
from app.exchanges.service import Wanted as Exchange
from app.exchanges.service import exchange
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control.service import Pace, open_supply_point
from app.notices.models import Notice
from app.notices.rules import NoticeKind, word
from app.notices.service import NewNotice, give, mark_handed_over
from app.orders.rules import Action
from app.policies.queries import PolicySeen
from app.policies.rules import NewPolicy
from app.policies.service import put_in_force
from app.purchases.service import Sale, Sold, sell_energy
from app.roles import Role
from app.shift_closing.service import Close, NewCount, close, count, judge
from app.shifts.models import Shift
from app.shifts.rules import ShiftState
from app.shifts.service import NewTill, open_shift, open_till
from app.site_codes import service as site_codes
from app.site_codes.models import IssuedSiteCode
from app.staff.models import Office, StaffMember
from app.staff.service import NewStaffMember, create_office, hire
from app.terminals import presence
from app.terminals.models import Terminal, TerminalLive
from app.terminals.presence import Counter, Told
from app.terminals.queries import terminal
from app.terminals.service import NewRound, NewTerminal, note_site_keys, register

SIGNED_AT = datetime(2026, 3, 1, 1, 0, tzinfo=UTC)
PASSWORD = "correct horse"

_numbers = itertools.count(1)


def an_office(session: Session, *, code: str | None = None) -> Office:
    return create_office(
        session,
        code=code or f"OFFICE-{next(_numbers)}",
        name_zh="浦东营业厅",
        name_en="Pudong office",
        now=SIGNED_AT,
    )


def a_person(session: Session, *, role: Role, office: Office | None = None, name: str | None = None) -> StaffMember:
    new = NewStaffMember(
        sign_in_name=name or f"{role.value}.{next(_numbers)}",
        name_zh="李娜",
        name_en="Li Na",
        password=PASSWORD,
        roles=[role],
    )
    return hire(session, new, office=office or an_office(session), now=SIGNED_AT)


def a_policy_in_force(session: Session, *, now: datetime = SIGNED_AT, **changes: Any) -> PolicySeen:
    """Have two people approve that the service limits and trips by itself everywhere, with the usual periods."""
    office = an_office(session)
    proposer, approver = (a_person(session, role=role, office=office) for role in (Role.OPERATOR, Role.APPROVER))
    usual: dict[str, Any] = {
        "office": None,
        "jurisdiction": "上海 Shanghai",
        "source": "provincial supply rules, article 30",
        "automatic_limits": True,
        "automatic_trips": True,
    }
    new = NewPolicy(**usual | changes)
    return put_in_force(session, new, proposed_by=proposer.id, approved_by=approver.id, now=now)


def a_customer(
    session: Session,
    *,
    customer_no: str | None = None,
    office: Office | None = None,
    name_zh: str = "东方钢铁有限公司",
    name_en: str = "Oriental Steel Co., Ltd.",
    phone: str = "+86 138 0000 0001",
) -> Customer:
    new = NewCustomer(
        customer_no=customer_no or f"C{next(_numbers):04d}",
        office_id=(office or an_office(session)).id,
        name_zh=name_zh,
        name_en=name_en,
        industry=Industry.METALLURGY,
        contacts=(NewContact(name="王强", duty="电气主管", phone=phone),),
    )
    return register_customer(session, new, now=SIGNED_AT)


def a_contract(
    session: Session,
    *,
    customer: Customer | None = None,
    contract_no: str | None = None,
    capacity_kva: int = 1000,
    limit_w: int = 300_000,
    control_mode: ControlMode = ControlMode.REMOTE,
    protected: bool = False,
    thresholds: Thresholds | None = None,
    notice_periods: NoticePeriods | None = None,
    price: str | None = "0.8",
    opening_supplied_wh: int = 0,
    **agreed: int,
) -> SupplyContract:
    """Sign a contract on a supply point of its own: 50, 30, 10 MWh and 0, 0.8 yuan/kWh, accounts open."""
    number = next(_numbers)
    new = NewContract(
        contract_no=contract_no or f"HT-{number:04d}",
        customer_no=(customer or a_customer(session)).customer_no,
        supply_point=NewSupplyPoint(
            point_no=f"SP{number:04d}",
            name_zh="一号变电所",
            name_en="Substation 1",
            address="上海市浦东新区钢铁路 1 号",
            feeder="10kV-F17",
            voltage_v=10_000,
        ),
        capacity_kva=capacity_kva,
        limit_w=limit_w,
        control_mode=control_mode,
        protected=protected,
        thresholds=thresholds
        or Thresholds(
            notice=Threshold(energy_wh=50_000_000),
            warning=Threshold(energy_wh=30_000_000),
            limited=Threshold(energy_wh=10_000_000),
            trip=Threshold(energy_wh=0),
        ),
        notice_periods=notice_periods or NoticePeriods(),
        **agreed,
    )
    contract = open_supply_point(session, new, opening_supplied_wh=opening_supplied_wh, now=SIGNED_AT)
    if price is not None:
        priced = NewPrice(yuan_per_kwh=Decimal(price), valid_from=SIGNED_AT)
        set_price(session, contract.contract_no, priced, set_by=None, now=SIGNED_AT)
    return contract


def a_terminal(
    session: Session, *, supply_point_id: UUID, terminal_id: str | None = None, safe_load_w: int = 50_000
) -> Terminal:
    """Register a terminal with two rounds: 1 (air conditioning, goes first) and 2 (rolling mill)."""
    new = NewTerminal(
        terminal_id=terminal_id or f"SH-{next(_numbers):04d}",
        supply_point_id=supply_point_id,
        meter_no="M0001",
        safe_load_w=safe_load_w,
        rounds=(
            NewRound(round=1, feeds_zh="空调", feeds_en="air conditioning", importance=1, load_w=120_000),
            NewRound(round=2, feeds_zh="轧机", feeds_en="rolling mill", importance=2, load_w=250_000),
        ),
    )
    register(session, new, now=SIGNED_AT)
    return terminal(session, new.terminal_id)


def an_exchange(
    session: Session,
    *,
    supply_point_id: UUID,
    by: UUID,
    now: datetime,
    old_final_wh: int,
    new_start_wh: int = 0,
    terminal_id: str | None = None,
) -> TerminalExchange:
    """Put a new terminal with one round in the place of the one that stands there."""
    new = NewTerminal(
        terminal_id=terminal_id or f"SH-{next(_numbers):04d}",
        supply_point_id=supply_point_id,
        meter_no="M0002",
        safe_load_w=50_000,
        rounds=(NewRound(round=1, feeds_zh="空调", feeds_en="air conditioning", importance=1, load_w=120_000),),
    )
    wanted = Exchange(
        new=new,
        credential="a credential of the tests",
        old_final_wh=old_final_wh,
        new_start_wh=new_start_wh,
        reason="the display is broken",
        exchanged_by=by,
    )
    return exchange(session, wanted, pace=Pace(clock=Clock(), report_interval_s=900), now=now)


def a_site_code(session: Session, *, now: datetime) -> IssuedSiteCode:
    """Sell to a terminal that was online once and is not now, and give out a code for it."""
    contract = a_contract(session)
    terminal = a_terminal(session, supply_point_id=contract.supply_point_id)
    cashier = a_person(session, role=Role.CASHIER)
    note_site_keys(session, [terminal.id], key_id="a-secret")
    state = a_state(paid_until_wh=0, remaining_wh=0)
    a_live_terminal(session, terminal_id=terminal.id, now=now, state=state, supplied_wh=0)
    session.execute(update(TerminalLive).where(TerminalLive.terminal_id == terminal.id).values(online=False))
    session.expire_all()
    a_purchase(session, contract=contract, cashier=cashier, now=now)
    asked = site_codes.Asked(supply_point_id=contract.supply_point_id, site_key_id="a-secret", asked_by=cashier.id)
    return site_codes.give(session, asked, clock=Clock(), now=now)


def a_state(**changes: Any) -> dict[str, Any]:
    """Return what a terminal tells of itself: two rounds closed, no limit, remote, 20 MWh left of 21."""
    return {
        "paid_until_wh": 21_000_000,
        "remaining_wh": 20_000_000,
        "order_no": 0,
        "alarm_wh": 30_000_000,
        "trip_wh": 0,
        "control_enabled": True,
        "mode": "remote",
        "stage": "normal",
        "limit_w": None,
        "rounds": "11------",
        "guarantee": "off",
        **changes,
    }


def a_live_terminal(
    session: Session,
    *,
    terminal_id: str,
    now: datetime,
    state: dict[str, Any] | None = None,
    supplied_wh: int = 1_000_000,
    active_power_w: int = 480_000,
    clock: str = "synced",
) -> None:
    """Have a terminal connect, prove its downlink, and report."""
    told = {
        "terminal_id": terminal_id,
        "session": "0" * 32,
        "uptime_s": 60,
        "clock": clock,
        "state": state or a_state(),
        "told_at": now - timedelta(seconds=2),
        "active_power_w": active_power_w,
    }
    presence.note_told(session, [Told(**told)], challenges={terminal_id: "challenge"}, now=now)
    presence.note_told(session, [Told(**told, echo="challenge")], challenges={}, now=now)
    counter = Counter(
        terminal_id=terminal_id,
        spool_id=new_id(),
        at=now - timedelta(seconds=1),
        clock=clock,
        supplied_wh=supplied_wh,
        active_power_w=active_power_w,
        state=told["state"],
    )
    presence.note_counters(session, [counter], now=now)


def a_debt(session: Session, *, contract: SupplyContract, debt_fen: int) -> None:
    """Have the customer owe money from of old."""
    posting = Posting(
        kind="opening debt",
        business_key=f"opening-debt:{contract.contract_no}",
        lines=(
            Line(kind=AccountKind.RECEIVABLE, amount=debt_fen),
            Line(kind=AccountKind.OPENING_MONEY, amount=-debt_fen),
        ),
    )
    posted = ledger.post(session, contract.supply_point_id, [posting], now=SIGNED_AT, actor_id=None)
    deed = Deed(
        action="debt.opened",
        subject_kind="contract",
        subject=contract.contract_no,
        after={"debt_fen": debt_fen},
        transaction_ids=tuple(posted),
    )
    audit.record(session, deed, at=SIGNED_AT)


def an_open_shift(session: Session, *, cashier: StaffMember, float_fen: int = 0) -> Shift:
    """Return the cashier's open shift, at a till of its own if there was none."""
    found = session.scalar(select(Shift).where(Shift.cashier_id == cashier.id, Shift.state == ShiftState.OPEN))
    if found is not None:
        return found
    till = NewTill(
        till_no=f"TILL-{next(_numbers)}", office_id=cashier.office_id, name_zh="一号收费台", name_en="Till 1"
    )
    open_till(session, till, now=SIGNED_AT)
    return open_shift(session, till_no=till.till_no, cashier_id=cashier.id, float_fen=float_fen, now=SIGNED_AT)


def a_purchase(
    session: Session,
    *,
    contract: SupplyContract,
    now: datetime,
    cashier: StaffMember | None = None,
    paid_fen: int = 1_680_000,
) -> Sold:
    """Sell energy for 16 800.00 yuan, which at 0.8 yuan/kWh is 21 MWh."""
    cashier = cashier or a_person(session, role=Role.CASHIER)
    an_open_shift(session, cashier=cashier)
    sale = Sale(contract_no=contract.contract_no, paid_fen=paid_fen, cashier_id=cashier.id)
    return sell_energy(session, sale, pace=Pace(clock=Clock(), report_interval_s=900), now=now)


def a_cheque(
    session: Session, *, contract: SupplyContract, cashier: StaffMember, now: datetime, cheque_no: str = "30109810"
) -> UUID:
    """Take a cheque of 8 000.00 yuan in for clearing; returns its id."""
    an_open_shift(session, cashier=cashier)
    new = NewCheque(
        contract_no=contract.contract_no,
        amount_fen=800_000,
        cheque_no=cheque_no,
        bank="中国工商银行浦东分行",
        drawer="东方钢铁有限公司",
        drawn_on=now.date(),
    )
    return take_in(session, new, cashier_id=cashier.id, zone=UTC, now=now)


def a_closed_shift(session: Session, *, cashier: StaffMember, cash_fen: int, now: datetime) -> Shift:
    """Have the cashier count their open shift, and another person close it."""
    shift = an_open_shift(session, cashier=cashier)
    count(session, shift.id, NewCount(cash_fen=cash_fen, slips_fen={}), cashier_id=cashier.id, now=now)
    supervisor = a_person(session, role=Role.APPROVER)
    counted = judge(session, shift.id, supervisor_id=supervisor.id).count
    return close(
        session, shift.id, Close(count_id=counted.id, reason="counted so", supervisor_id=supervisor.id), now=now
    )


def a_notice(
    session: Session,
    *,
    supply_point_id: UUID,
    kind: NoticeKind,
    issued_at: datetime,
    cut_not_before: datetime,
    served_at: datetime | None,
) -> Notice:
    """Give a notice of a cut, and hand it over when ``served_at`` says so."""
    new = NewNotice(
        supply_point_id=supply_point_id,
        kind=kind,
        wording=word(kind, remaining_wh=20_000_000, cut_not_before=cut_not_before, limit_w=None),
        cut_not_before=cut_not_before,
        command_id=None,
    )
    notice = give(session, new, now=issued_at)
    if served_at is not None:
        mark_handed_over(session, notice.id, how="handed over, signed", now=served_at)
    return notice


def notices_run_out(session: Session, *, supply_point_id: UUID, now: datetime) -> None:
    """Both notices, given and served long ago: a cut may come."""
    for kind in (NoticeKind.WRITTEN, NoticeKind.SECOND):
        a_notice(
            session,
            supply_point_id=supply_point_id,
            kind=kind,
            issued_at=now - timedelta(days=9),
            cut_not_before=now - timedelta(hours=1),
            served_at=now - timedelta(days=8),
        )


def an_ordered_trip(session: Session, *, supply_point_id: UUID) -> UUID:
    """A trip of round 1, asked for and approved now, both notices served and run out; returns the command's id."""
    now = Clock().now()
    notices_run_out(session, supply_point_id=supply_point_id, now=now)
    order = {
        "action": Action.TRIP.value,
        "supply_point_id": str(supply_point_id),
        "reason": "asked for by dispatch",
        "arguments": {"round": 1, "alarm_delay_min": 0, "limit_min": 0},
    }
    (command_id,) = an_approved_cut(session, orders=[order], now=now)
    return command_id


def a_trip_on_its_way(session: Session, *, supply_point_id: UUID, terminal_id: str) -> UUID:
    """A trip of round 1 that was approved a moment ago, whether its terminal is there or not."""
    now = Clock().now()
    notices_run_out(session, supply_point_id=supply_point_id, now=now)
    new = NewCommand(
        terminal_id=terminal_id,
        supply_point_id=supply_point_id,
        op=Op.TRIP,
        args={"round": 1, "alarm_delay_min": 0, "limit_min": 0},
        reason="asked for by dispatch",
        requested_by=a_person(session, role=Role.OPERATOR).id,
    )
    return issued_by_two(session, new, clock=Clock(), now=now).id


def issued_by_two(session: Session, new: NewCommand, *, clock: Clock, now: datetime) -> Command:
    """Issue a cut that two persons stand behind, without asking whether it could be ordered now."""
    assert new.requested_by is not None
    approved = {
        "supply_point_id": str(new.supply_point_id),
        "terminal_id": new.terminal_id,
        "op": new.op.value,
        "args": new.args,
    }
    approval = Approval(
        id=new_id(),
        kind=Kind.ORDERS,
        wanted={"orders": [], "commands": [approved]},
        standing={},
        digest="0" * 64,
        reason=new.reason,
        state=ApprovalState.ASKED,
        requested_by=new.requested_by,
        requested_at=now,
        lapses_at=now + timedelta(minutes=30),
    )
    session.add(approval)
    session.flush()
    command = commands.issue(session, replace(new, approval_id=approval.id), clock=clock, now=now)
    approver = a_person(session, role=Role.APPROVER)
    approval.state, approval.result = ApprovalState.APPROVED, {"command_ids": [str(command.id)]}
    approval.decided_by, approval.decided_at = approver.id, now
    session.flush()
    for action in ("asked", "approved"):
        said = {"digest": approval.digest, "wanted": approval.wanted, "result": approval.result}
        deed = Deed(action=f"approval.{action}", subject_kind="approval", subject=str(approval.id), after=said)
        audit.record(session, deed, at=now)
    return command


def an_approved_cut(session: Session, *, orders: list[dict[str, Any]], now: datetime) -> list[UUID]:
    """Have an operator ask for cuts and an approver approve them; returns the ids of the commands."""
    pace = Pace(clock=Clock(), report_interval_s=900)
    asked = Asked(
        kind=Kind.ORDERS,
        wanted={"orders": orders},
        reason="asked for by dispatch",
        requested_by=a_person(session, role=Role.OPERATOR).id,
    )
    approval = ask(session, asked, pace=pace, now=now)
    approver = a_person(session, role=Role.APPROVER)
    approve(session, approval.id, digest=approval.digest, approver_id=approver.id, pace=pace, now=now)
    assert approval.result is not None
    return [UUID(command_id) for command_id in approval.result["command_ids"]]
