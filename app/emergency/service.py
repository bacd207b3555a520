"""Lends energy: into the books, up to the terminal, and supply comes back as after a purchase."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.allowances.queries import allowance_of
from app.audit import service as audit
from app.audit.rules import Deed
from app.commands import service as commands
from app.commands.rules import Op
from app.customers import queries as customer_queries
from app.customers import service as customers
from app.customers.rules import ContractClosing
from app.database import new_id, together
from app.emergency.models import EmergencyCredit
from app.emergency.rules import check_lending
from app.ledger import service as ledger
from app.ledger.queries import balances
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control import queries as load_control_queries
from app.load_control import service as load_control
from app.load_control.levels import levels
from app.load_control.service import Pace
from app.terminals import service as terminals
from app.terminals.queries import NoTerminalFitted


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Energy in Wh to be lent, and who at the customer asked for it."""

    supply_point_id: UUID
    energy_wh: int
    asked_by: str
    reason: str
    lent_by: UUID


def lend(session: Session, wanted: Wanted, *, pace: Pace, now: datetime) -> EmergencyCredit:
    """Lend energy, whole or not at all.

    Raises:
        NoSuchSupplyPoint, NoTerminalFitted: there is no terminal under an open contract to take the energy.
        ContractClosing: the account is being closed.
        EmergencyCreditRefused: it was not agreed, is not needed, or is above the limit.
    """
    point = customer_queries.supply_point(session, wanted.supply_point_id).id
    customers.lock_supply_points(session, [point])
    contract = customer_queries.open_contract_of(session, point)
    found = load_control_queries.pictures(
        session, [point], report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )
    if contract is None or not found:
        raise NoTerminalFitted(supply_point_id=point)
    if contract.closing_since is not None:
        raise ContractClosing(contract_no=contract.contract_no, closing_since=contract.closing_since)
    facts = found[0].facts
    at = levels(facts)
    check_lending(
        wanted_wh=wanted.energy_wh,
        limit_wh=contract.emergency_limit_wh,
        lent_wh=balances(session, point)[AccountKind.EMERGENCY],
        remaining_wh=facts.remaining_wh if facts.supplied_wh is not None else None,
        notice_wh=at.notice,
    )
    credit = _grant(session, wanted, now=now)
    args = {
        "order_no": credit.order_no,
        "mode": "refresh" if facts.taking_back else "append",
        "value_wh": credit.energy_wh,
        "paid_until_wh": credit.paid_until_wh,
        "alarm_wh": at.warning,
        "trip_wh": at.trip,
    }
    new = commands.NewCommand(
        terminal_id=found[0].terminal_id,
        supply_point_id=point,
        op=Op.CREDIT,
        args=args,
        reason=f"emergency credit of {credit.energy_wh // 1000:,} kWh",
        requested_by=wanted.lent_by,
    )
    credit.command_id = commands.add(session, new, clock=pace.clock, now=now)
    session.add(credit)
    session.flush()
    (looked,) = together(session, load_control.to_look_again(point, now=now))
    load_control.after_purchase(session, point, still_normal=looked, pace=pace, now=now)
    _record(session, credit, now=now)
    return credit


def _grant(session: Session, wanted: Wanted, *, now: datetime) -> EmergencyCredit:
    point = wanted.supply_point_id
    credit = EmergencyCredit(id=new_id(), lent_at=now, **wanted.__dict__)
    posting = Posting(
        kind="emergency",
        business_key=f"emergency:{credit.id}",
        lines=(
            Line(kind=AccountKind.EMERGENCY, amount=wanted.energy_wh),
            Line(kind=AccountKind.ALLOWANCE, amount=-wanted.energy_wh),
        ),
    )
    (credit.energy_transaction_id,) = ledger.post(session, point, [posting], now=now, actor_id=wanted.lent_by)
    credit.order_no = terminals.next_order(session, point).order_no
    allowance = allowance_of(session, point)
    kept_nfen = allowance.kept_nfen if allowance else 0
    credit.paid_until_wh = allowances.grant(
        session,
        allowances.Grant(
            supply_point_id=point,
            transaction_id=credit.energy_transaction_id,
            reason="emergency",
            energy_wh=wanted.energy_wh,
            kept_nfen=kept_nfen,
            order_no=credit.order_no,
        ),
        now=now,
    )
    return credit


def _record(session: Session, credit: EmergencyCredit, *, now: datetime) -> None:
    deed = Deed(
        action="energy.lent",
        subject_kind="supply_point",
        subject=str(credit.supply_point_id),
        after={
            "emergency_credit_id": credit.id,
            "energy_wh": credit.energy_wh,
            "paid_until_wh": credit.paid_until_wh,
            "asked_by": credit.asked_by,
            "reason": credit.reason,
        },
        transaction_ids=(credit.energy_transaction_id,),
    )
    audit.record(session, deed, at=now)
