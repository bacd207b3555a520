"""Fills an empty database with the demonstration's people, customers, contracts, terminals and first purchases."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.customers import service as customers
from app.customers.models import SupplyContract
from app.customers.rules import NoticePeriods, Threshold, Thresholds
from app.database import transaction
from app.demo.people_and_places import APPROVED_BY, OFFICES, PASSWORD, PEOPLE, PROPOSED_BY, DemoCustomer
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control import service as load_control
from app.load_control.service import Pace
from app.policies import service as policies
from app.policies.rules import NewPolicy
from app.purchases import service as purchases
from app.roles import Role
from app.shifts import service as shifts
from app.staff import service as staff
from app.staff.models import Office, StaffMember
from app.terminals import service as terminals

_SAFE_LOAD_PERCENT = 5
_FLOAT_FEN = 500 * 100


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What a terminal is told at registration, to be put into the simulated device."""

    customer: DemoCustomer
    credential: str


def is_empty(engine: Engine) -> bool:
    with transaction(engine) as session:
        return session.scalar(select(Office.id).limit(1)) is None


def seed(engine: Engine, wanted: Sequence[DemoCustomer], *, pace: Pace, now: datetime) -> list[Signed]:
    """Seed everything in one transaction: whole, or not at all; each cashier has an open shift."""
    with transaction(engine) as session:
        offices = {
            code: staff.create_office(session, code=code, name_zh=name_zh, name_en=name_en, now=now)
            for code, name_zh, name_en in OFFICES
        }
        people = _hire_people(session, offices, now=now)
        _approve_policy(session, people, now=now)
        cashier = next(person for person in people.values() if Role.CASHIER in person.roles)
        return [_sign(session, one, offices, cashier=cashier, pace=pace, now=now) for one in wanted]


def _hire_people(session: Session, offices: dict[str, Office], *, now: datetime) -> dict[str, StaffMember]:
    hired = {
        sign_in_name: staff.hire(
            session,
            staff.NewStaffMember(
                sign_in_name=sign_in_name, name_zh=name_zh, name_en=name_en, password=PASSWORD, roles=[role]
            ),
            office=offices[office],
            now=now,
        )
        for sign_in_name, name_zh, name_en, role, office in PEOPLE
    }
    cashiers = [person for person in hired.values() if Role.CASHIER in person.roles]
    for cashier in cashiers:
        office = next(code for code, each in offices.items() if each.id == cashier.office_id)
        open_till_and_shift(session, cashier, till_no=f"{office}-1", now=now)
    return hired


def _approve_policy(session: Session, people: dict[str, StaffMember], *, now: datetime) -> None:
    new = NewPolicy(
        office=None,
        jurisdiction="演示 demonstration",
        source="invented rules: written notice three days before, a second one half an hour before",
        automatic_limits=True,
        automatic_trips=True,
    )
    proposer, approver = people[PROPOSED_BY], people[APPROVED_BY]
    policies.put_in_force(session, new, proposed_by=proposer.id, approved_by=approver.id, now=now)


def open_till_and_shift(session: Session, cashier: StaffMember, *, till_no: str, now: datetime) -> None:
    """Set up a till at the cashier's office and open the cashier's shift there."""
    till = shifts.NewTill(
        till_no=till_no, office_id=cashier.office_id, name_zh=f"收费台 {till_no}", name_en=f"Till {till_no}"
    )
    shifts.open_till(session, till, now=now)
    shifts.open_shift(session, till_no=till_no, cashier_id=cashier.id, float_fen=_FLOAT_FEN, now=now)


def _sign(
    session: Session,
    one: DemoCustomer,
    offices: dict[str, Office],
    *,
    cashier: StaffMember,
    pace: Pace,
    now: datetime,
) -> Signed:
    customers.register_customer(
        session,
        customers.NewCustomer(
            customer_no=one.customer_no,
            office_id=offices[one.office].id,
            name_zh=one.name_zh,
            name_en=one.name_en,
            industry=one.industry,
            contacts=(
                customers.NewContact(name="张伟", duty="动力科 power department", phone=f"021-5550{one.number:04d}"),
            ),
        ),
        now=now,
    )
    contract = _contract(session, one, now=now)
    credential = terminals.register(
        session,
        terminals.NewTerminal(
            terminal_id=one.terminal_id,
            supply_point_id=contract.supply_point_id,
            meter_no=f"DB{one.number:08d}",
            safe_load_w=one.rated_power_w * _SAFE_LOAD_PERCENT // 100,
            rounds=tuple(
                terminals.NewRound(
                    round=number,
                    feeds_zh=fitted.feeds_zh,
                    feeds_en=fitted.feeds_en,
                    importance=fitted.importance,
                    load_w=one.rated_power_w * fitted.share_percent // 100,
                )
                for number, fitted in enumerate(one.rounds, start=1)
            ),
        ),
        now=now,
    )
    if one.debt_fen:
        _owe(session, contract, one.debt_fen, now=now)
    if one.hours_bought:
        _first_purchase(session, one, cashier=cashier, pace=pace, now=now)
    return Signed(customer=one, credential=credential)


def _contract(session: Session, one: DemoCustomer, *, now: datetime) -> SupplyContract:
    notice_h, warning_h, limited_h = one.threshold_hours
    contract = load_control.open_supply_point(
        session,
        customers.NewContract(
            contract_no=one.contract_no,
            customer_no=one.customer_no,
            supply_point=customers.NewSupplyPoint(
                point_no=one.point_no,
                name_zh=f"{one.name_zh}专变",
                name_en=f"{one.name_en} substation",
                address=f"{one.feeder} 线 {one.number} 号",
                feeder=one.feeder,
                voltage_v=one.voltage_v,
            ),
            capacity_kva=one.capacity_kva,
            limit_w=one.rated_power_w * one.limit_percent // 100,
            control_mode=one.control_mode,
            thresholds=Thresholds(
                notice=Threshold(supply_hours=notice_h),
                warning=Threshold(supply_hours=warning_h),
                limited=Threshold(supply_hours=limited_h),
                trip=Threshold(energy_wh=0),
            ),
            notice_periods=NoticePeriods(),
            important_user=one.important_user,
            protected=one.protected,
        ),
        now=now,
    )
    customers.set_price(
        session,
        one.contract_no,
        customers.NewPrice(yuan_per_kwh=Decimal(one.price), valid_from=now - timedelta(days=1)),
        set_by=None,
        now=now,
    )
    return contract


def _owe(session: Session, contract: SupplyContract, debt_fen: int, *, now: datetime) -> None:
    posting = Posting(
        kind="opening debt",
        business_key=f"opening-debt:{contract.contract_no}",
        lines=(
            Line(kind=AccountKind.RECEIVABLE, amount=debt_fen),
            Line(kind=AccountKind.REVENUE, amount=-debt_fen),
        ),
    )
    posted = ledger.post(session, contract.supply_point_id, [posting], now=now, actor_id=None)
    deed = Deed(
        action="debt.opened",
        subject_kind="contract",
        subject=contract.contract_no,
        after={"debt_fen": debt_fen},
        transaction_ids=tuple(posted),
    )
    audit.record(session, deed, at=now)


def _first_purchase(session: Session, one: DemoCustomer, *, cashier: StaffMember, pace: Pace, now: datetime) -> None:
    energy_kwh = one.rated_power_w * one.hours_bought * 6 // 10 // 1000
    amount_fen = int(energy_kwh * Decimal(one.price)) * 100 + one.debt_fen
    sale = purchases.Sale(contract_no=one.contract_no, paid_fen=amount_fen, cashier_id=cashier.id)
    purchases.sell_energy(session, sale, pace=pace, now=now)


def device(
    signed: Signed, *, public_key_pem: str, key_id: str, report_interval_s: int, heartbeat_interval_s: int
) -> dict[str, Any]:
    """Return the fleet file's description of the simulated device at a customer."""
    one = signed.customer
    return {
        "terminal_id": one.terminal_id,
        "password": signed.credential,
        "service_public_key_pem": public_key_pem,
        "service_key_id": key_id,
        "meter_no": f"DB{one.number:08d}",
        "rated_power_w": one.rated_power_w,
        "shape": one.shape,
        "safe_load_w": one.rated_power_w * _SAFE_LOAD_PERCENT // 100,
        "rounds": [
            {"round": number, "share_percent": fitted.share_percent, "name": fitted.feeds_en}
            for number, fitted in enumerate(one.rounds, start=1)
        ],
        "initial": {"control_mode": one.control_mode.value},
        "report_interval_s": report_interval_s,
        "heartbeat_interval_s": heartbeat_interval_s,
        "seed": one.number,
    }
