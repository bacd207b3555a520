"""Changes to customers, supply points, contracts and prices; and the lock that every change of supply takes first."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.customers import queries
from app.customers.models import Contact, Customer, PurchasePrice, SupplyContract, SupplyPoint
from app.customers.rules import (
    ContractClosed,
    ControlMode,
    ImportantUser,
    Industry,
    NoticePeriods,
    PriceEndsBeforeItBegins,
    Thresholds,
    check_limit,
)
from app.database import Base, new_id
from app.errors import Conflict


class NumberTaken(Conflict):
    title = "The number is taken"

    def __init__(self, *, kind: str, number: str) -> None:
        super().__init__(
            f"There is a {kind} with the number {number!r} already.",
            remedy="Use another number, or change the one that is there.",
            number=number,
        )


class PriceOverlaps(Conflict):
    title = "A price begins at that moment already"

    def __init__(self, *, contract_no: str, valid_from: datetime) -> None:
        super().__init__(
            f"Contract {contract_no} has a purchase price from {valid_from.isoformat()} already.",
            remedy="Choose another moment; a price ends where the next one begins.",
            contract_no=contract_no,
        )


@dataclass(frozen=True, kw_only=True)
class NewCustomer:
    customer_no: str
    office_id: UUID
    name_zh: str
    name_en: str
    industry: Industry
    contacts: tuple["NewContact", ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewContact:
    name: str
    duty: str
    phone: str
    email: str | None = None
    language: str = "zh"


@dataclass(frozen=True, kw_only=True)
class NewSupplyPoint:
    point_no: str
    name_zh: str
    name_en: str
    address: str
    feeder: str
    voltage_v: int


@dataclass(frozen=True, kw_only=True)
class NewContract:
    """A contract to be signed for one supply point; powers in W, thresholds as agreed, energies in Wh."""

    contract_no: str
    customer_no: str
    supply_point: NewSupplyPoint
    capacity_kva: int
    limit_w: int
    control_mode: ControlMode
    thresholds: Thresholds
    notice_periods: NoticePeriods
    important_user: ImportantUser = ImportantUser.NONE
    protected: bool = False
    overdraft_wh: int = 0
    emergency_limit_wh: int = 0
    debt_share_percent: int = 100


def lock_supply_points(session: Session, supply_point_ids: Iterable[UUID]) -> None:
    """Lock supply points in id order; the first statement of every change to purchases, stages or cuts."""
    session.execute(
        select(SupplyPoint.id)
        .where(SupplyPoint.id.in_(sorted(set(supply_point_ids))))
        .order_by(SupplyPoint.id)
        .with_for_update(key_share=True)
    )


def register_customer(session: Session, new: NewCustomer, *, now: datetime) -> Customer:
    """Register a customer with its contacts.

    Raises:
        NumberTaken: the customer number is in use.
    """
    (customer,) = register_customers(session, [new], now=now)
    return customer


def register_customers(session: Session, many: Sequence[NewCustomer], *, now: datetime) -> list[Customer]:
    """Register customers with their contacts in two statements, however many they are.

    Raises:
        NumberTaken: a customer number is in use; which one, only a single one tells.
    """
    rows = [
        Customer(
            id=new_id(),
            customer_no=new.customer_no,
            office_id=new.office_id,
            name_zh=new.name_zh,
            name_en=new.name_en,
            industry=new.industry,
            created_at=now,
        )
        for new in many
    ]
    number = many[0].customer_no if len(many) == 1 else f"{many[0].customer_no} … {many[-1].customer_no}"
    _add(session, *rows, otherwise=NumberTaken(kind="customer", number=number))
    session.add_all(
        Contact(customer_id=row.id, **contact.__dict__)
        for row, new in zip(rows, many, strict=True)
        for contact in new.contacts
    )
    session.flush()
    for new in many:
        deed = Deed(action="customer.registered", subject_kind="customer", subject=new.customer_no, after=asdict(new))
        audit.record(session, deed, at=now)
    return rows


def sign_contract(session: Session, new: NewContract, *, now: datetime) -> SupplyContract:
    """Sign a contract on a new supply point of a customer.

    Raises:
        NoSuchCustomer: the customer is not registered.
        NumberTaken: the contract's or the supply point's number is in use.
        LimitAboveCapacity: the limit could never bind.
    """
    check_limit(limit_w=new.limit_w, capacity_kva=new.capacity_kva)
    customer = queries.customer_by_no(session, new.customer_no)
    point = SupplyPoint(customer_id=customer.id, **new.supply_point.__dict__)
    _add(session, point, otherwise=NumberTaken(kind="supply point", number=point.point_no))
    thresholds = new.thresholds
    contract = SupplyContract(
        contract_no=new.contract_no,
        supply_point_id=point.id,
        capacity_kva=new.capacity_kva,
        limit_w=new.limit_w,
        control_mode=new.control_mode,
        important_user=new.important_user,
        protected=new.protected,
        notice_wh=thresholds.notice.energy_wh,
        notice_hours=thresholds.notice.supply_hours,
        warning_wh=thresholds.warning.energy_wh,
        warning_hours=thresholds.warning.supply_hours,
        limited_wh=thresholds.limited.energy_wh,
        limited_hours=thresholds.limited.supply_hours,
        trip_wh=thresholds.trip.energy_wh,
        overdraft_wh=new.overdraft_wh,
        emergency_limit_wh=new.emergency_limit_wh,
        debt_share_percent=new.debt_share_percent,
        written_notice_s=new.notice_periods.written_s,
        second_notice_s=new.notice_periods.second_s,
        signed_at=now,
    )
    _add(session, contract, otherwise=NumberTaken(kind="contract", number=new.contract_no))
    deed = Deed(action="contract.signed", subject_kind="contract", subject=new.contract_no, after=asdict(new))
    audit.record(session, deed, at=now)
    return contract


def _add(session: Session, *rows: Base, otherwise: Conflict) -> None:
    """Write rows, or say ``otherwise`` when a number is taken; the table knows it even of two requests at once."""
    session.add_all(rows)
    try:
        session.flush()
    except IntegrityError as error:
        raise otherwise from error


def close_contract(session: Session, contract_no: str, *, now: datetime) -> SupplyContract:
    """Close a contract; nothing can be sold on it from then on.

    Raises:
        NoSuchContract: no contract has the number.
        ContractClosed: it was closed before.
    """
    contract = queries.contract_by_no(session, contract_no)
    lock_supply_points(session, [contract.supply_point_id])
    session.refresh(contract)
    if contract.closed_at is not None:
        raise ContractClosed(contract_no=contract_no, closed_at=contract.closed_at)
    contract.closed_at = now
    session.flush()
    deed = Deed(
        action="contract.closed",
        subject_kind="contract",
        subject=contract_no,
        before={"closed_at": None},
        after={"closed_at": now},
    )
    audit.record(session, deed, at=now)
    return contract


@dataclass(frozen=True, kw_only=True)
class NewPrice:
    yuan_per_kwh: Decimal
    valid_from: datetime
    valid_until: datetime | None = None


def set_price(
    session: Session, contract_no: str, new: NewPrice, *, set_by: UUID | None, now: datetime
) -> PurchasePrice:
    """Set the purchase price from a moment on; the one before ends there.

    Raises:
        NoSuchContract: no contract has the number.
        ContractClosed: nothing is sold on it any more.
        PriceEndsBeforeItBegins: the validity is empty.
        PriceOverlaps: another price begins at the same moment.
    """
    if new.valid_until is not None and new.valid_until <= new.valid_from:
        raise PriceEndsBeforeItBegins(valid_from=new.valid_from, valid_until=new.valid_until)
    contract = queries.contract_by_no(session, contract_no)
    if contract.closed_at is not None:
        raise ContractClosed(contract_no=contract_no, closed_at=contract.closed_at)
    before = queries.price_in_force(session, contract.id, at=new.valid_from).yuan_per_kwh
    price = PurchasePrice(contract_id=contract.id, set_by=set_by, **new.__dict__)
    _add(session, price, otherwise=PriceOverlaps(contract_no=contract_no, valid_from=new.valid_from))
    deed = Deed(
        action="price.set",
        subject_kind="contract",
        subject=contract_no,
        before={"yuan_per_kwh": before},
        after=asdict(new),
    )
    audit.record(session, deed, at=now)
    return price
