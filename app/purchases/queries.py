"""Reads for the counter: what a sale needs to know, and receipts of sales that were made."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, select, text
from sqlalchemy.orm import Session

from app.commands.models import Command
from app.customers.models import Customer, SupplyContract, SupplyPoint
from app.customers.queries import NoSuchContract
from app.customers.rules import ContractClosed, ContractClosing, NoPriceInForce, Threshold
from app.database import Step, together
from app.errors import NotFound
from app.load_control.queries import TAKING_BACK
from app.purchases.models import Purchase
from app.shifts import models as shifts
from app.staff.models import StaffMember
from app.terminals.queries import NoTerminalFitted

# A sale has time for one round trip to know everything; it writes through each feature's service.
_COUNTER = """
    SELECT {number} AS number,
           contract.id AS contract_id, contract.contract_no, contract.closed_at, contract.closing_since,
           contract.supply_point_id,
           contract.warning_wh, contract.warning_hours, contract.trip_wh - contract.overdraft_wh AS trip_wh,
           contract.debt_share_percent, lent.balance AS emergency_wh,
           {taking_back} AS taking_back,
           price.yuan_per_kwh, price.valid_until AS price_until,
           allowance.paid_until_wh, allowance.kept_nfen, receivable.balance AS debt_fen,
           terminal.id AS terminal_id, live.recent_load_w, live.supplied_wh, point.point_no,
           customer.customer_no, customer.name_zh AS customer_zh, customer.name_en AS customer_en
      FROM supply_contracts AS contract
      JOIN supply_points AS point ON point.id = contract.supply_point_id
      JOIN customers AS customer ON customer.id = point.customer_id
      JOIN allowances AS allowance ON allowance.supply_point_id = contract.supply_point_id
      JOIN ledger_accounts AS receivable
        ON receivable.supply_point_id = contract.supply_point_id AND receivable.kind = 'receivable'
      JOIN ledger_accounts AS lent
        ON lent.supply_point_id = contract.supply_point_id AND lent.kind = 'emergency'
      LEFT JOIN terminals AS terminal
        ON terminal.supply_point_id = contract.supply_point_id AND terminal.retired_at IS NULL
      LEFT JOIN terminal_live AS live ON live.terminal_id = terminal.id
      LEFT JOIN LATERAL (
           SELECT yuan_per_kwh, valid_until FROM purchase_prices
            WHERE contract_id = contract.id AND valid_from <= :at ORDER BY valid_from DESC LIMIT 1) AS price ON true
     WHERE contract.contract_no = :contract_no
"""
_TO_QUOTE = text(_COUNTER.format(number="NULL", taking_back=TAKING_BACK))
_TO_SELL = text(_COUNTER.format(number="nextval('purchase_numbers')", taking_back=TAKING_BACK))


class NoSuchPurchase(NotFound):
    title = "There is no such purchase"

    def __init__(self, *, purchase_no: str) -> None:
        super().__init__(
            f"No purchase has the number {purchase_no!r}.",
            remedy="Read the number from the receipt, or list the customer's purchases.",
            purchase_no=purchase_no,
        )


@dataclass(frozen=True, kw_only=True)
class Counter:
    """What the counter needs to know of a contract: price, debt, money kept, and where the energy goes."""

    purchase_number: int | None
    contract_id: UUID
    contract_no: str
    customer_no: str
    customer_zh: str
    customer_en: str
    point_no: str
    supply_point_id: UUID
    terminal_id: str
    yuan_per_kwh: Decimal
    price_until: datetime | None
    paid_until_wh: int
    taking_back: bool
    debt_fen: int
    debt_share_percent: int
    emergency_wh: int
    kept_nfen: int
    alarm_wh: int
    trip_wh: int
    recent_load_w: int
    supplied_wh: int | None


def counter(session: Session, contract_no: str, *, at: datetime) -> Counter:
    """Read what a sale on a contract needs.

    Raises:
        NoSuchContract: no contract has the number.
        ContractClosed, ContractClosing: it was closed, or its account is being closed.
        NoPriceInForce: no purchase price is valid at ``at``.
        NoTerminalFitted: there is no terminal to take the energy.
    """
    (found,) = together(session, _to_know(_TO_QUOTE, contract_no, at=at))
    known: Counter = found
    return known


def to_know(contract_no: str, *, at: datetime) -> Step[Counter]:
    """Return the step that reads what a sale needs and takes its number; its answer raises as :func:`counter`."""
    return _to_know(_TO_SELL, contract_no, at=at)


def _to_know(statement: TextClause, contract_no: str, *, at: datetime) -> Step[Counter]:

    def read(rows: list[Any]) -> Counter:
        if not rows:
            raise NoSuchContract(contract_no=contract_no)
        return _counter(rows[0], contract_no=contract_no, at=at)

    return Step(statement=statement, values={"contract_no": contract_no, "at": at}, read=read)


def _counter(row: Any, *, contract_no: str, at: datetime) -> Counter:
    if row.closed_at is not None:
        raise ContractClosed(contract_no=contract_no, closed_at=row.closed_at)
    if row.closing_since is not None:
        raise ContractClosing(contract_no=contract_no, closing_since=row.closing_since)
    expired = row.price_until is not None and row.price_until <= at
    if row.yuan_per_kwh is None or expired:
        raise NoPriceInForce(contract_no=contract_no, at=at, expired_at=row.price_until)
    if row.terminal_id is None:
        raise NoTerminalFitted(supply_point_id=row.supply_point_id)
    warning = Threshold(energy_wh=row.warning_wh, supply_hours=row.warning_hours)
    return Counter(
        purchase_number=row.number,
        contract_id=row.contract_id,
        contract_no=row.contract_no,
        customer_no=row.customer_no,
        customer_zh=row.customer_zh,
        customer_en=row.customer_en,
        point_no=row.point_no,
        supply_point_id=row.supply_point_id,
        terminal_id=row.terminal_id,
        yuan_per_kwh=row.yuan_per_kwh,
        price_until=row.price_until,
        paid_until_wh=row.paid_until_wh,
        taking_back=row.taking_back,
        debt_fen=row.debt_fen,
        debt_share_percent=row.debt_share_percent,
        emergency_wh=row.emergency_wh,
        kept_nfen=row.kept_nfen,
        alarm_wh=max(warning.level_wh(recent_load_w=row.recent_load_w or 0), row.trip_wh),
        trip_wh=row.trip_wh,
        recent_load_w=row.recent_load_w or 0,
        supplied_wh=row.supplied_wh,
    )


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A purchase with the names around it, and how far its credit has come."""

    purchase: Purchase
    customer_no: str
    customer_zh: str
    customer_en: str
    contract_no: str
    point_no: str
    cashier: str
    credit: Command | None
    receipt_no: str | None


def _receipts() -> Any:
    return (
        select(
            Purchase,
            Customer.customer_no,
            Customer.name_zh,
            Customer.name_en,
            SupplyContract.contract_no,
            SupplyPoint.point_no,
            StaffMember.sign_in_name,
            Command,
            shifts.Receipt.receipt_no,
        )
        .join(SupplyContract, SupplyContract.id == Purchase.contract_id)
        .join(SupplyPoint, SupplyPoint.id == Purchase.supply_point_id)
        .join(Customer, Customer.id == SupplyPoint.customer_id)
        .join(StaffMember, StaffMember.id == Purchase.cashier_id)
        .outerjoin(Command, Command.id == Purchase.command_id)
        .outerjoin(shifts.Receipt, shifts.Receipt.id == Purchase.receipt_id)
    )


def receipt(session: Session, purchase_no: str) -> Receipt:
    """Return the receipt of a purchase.

    Raises:
        NoSuchPurchase: no purchase has the number.
    """
    row = session.execute(_receipts().where(Purchase.purchase_no == purchase_no)).first()
    if row is None:
        raise NoSuchPurchase(purchase_no=purchase_no)
    return _receipt(row)


def receipts(session: Session, *, contract_no: str | None, before: UUID | None, limit: int) -> list[Receipt]:
    """Return purchases, newest first, before the one with id ``before``."""
    wanted = _receipts().order_by(Purchase.id.desc()).limit(limit)
    if contract_no is not None:
        wanted = wanted.where(SupplyContract.contract_no == contract_no)
    if before is not None:
        wanted = wanted.where(Purchase.id < before)
    return [_receipt(row) for row in session.execute(wanted)]


def _receipt(row: Any) -> Receipt:
    purchase, customer_no, name_zh, name_en, contract_no, point_no, cashier, credit, receipt_no = row
    return Receipt(
        purchase=purchase,
        customer_no=customer_no,
        customer_zh=name_zh,
        customer_en=name_en,
        contract_no=contract_no,
        point_no=point_no,
        cashier=cashier,
        credit=credit,
        receipt_no=receipt_no,
    )
