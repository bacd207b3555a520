"""Reads of customers, supply points, contracts and prices."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, exists, or_, select
from sqlalchemy.orm import Session

from app.customers.models import Contact, Customer, PurchasePrice, SupplyContract, SupplyPoint
from app.errors import NotFound


class NoSuchCustomer(NotFound):
    title = "There is no such customer"

    def __init__(self, *, customer_no: str) -> None:
        super().__init__(
            f"No customer has the number {customer_no!r}.",
            remedy="Search with GET /api/v1/customers?q=…, or register the customer first.",
            customer_no=customer_no,
        )


class NoSuchContract(NotFound):
    title = "There is no such contract"

    def __init__(self, *, contract_no: str) -> None:
        super().__init__(
            f"No supply contract has the number {contract_no!r}.",
            remedy="Look the number up with GET /api/v1/contracts, or sign the contract first.",
            contract_no=contract_no,
        )


class NoSuchSupplyPoint(NotFound):
    title = "There is no such supply point"

    def __init__(self, *, supply_point_id: UUID) -> None:
        super().__init__(
            f"No supply point has the id {supply_point_id}.",
            remedy="Take the id from GET /api/v1/contracts.",
            supply_point_id=str(supply_point_id),
        )


@dataclass(frozen=True, kw_only=True)
class PriceInForce:
    """The price at a moment, and where none is in force, when the last one ended."""

    yuan_per_kwh: Decimal | None
    expired_at: datetime | None


class ContractAtPoint(NamedTuple):
    """A contract, the supply point it is about, and whose it is."""

    contract: SupplyContract
    supply_point: SupplyPoint
    customer_no: str


@dataclass(frozen=True, kw_only=True)
class CustomerWhole:
    """A customer with everything that belongs to it."""

    customer: Customer
    contacts: list[Contact]
    supply_points: list[SupplyPoint]
    open_contracts: list[ContractAtPoint]


def customer_by_no(session: Session, customer_no: str) -> Customer:
    found = session.scalar(select(Customer).where(Customer.customer_no == customer_no))
    if found is None:
        raise NoSuchCustomer(customer_no=customer_no)
    return found


def contacts_of(session: Session, customer_id: UUID) -> list[Contact]:
    return list(session.scalars(select(Contact).where(Contact.customer_id == customer_id).order_by(Contact.id)))


def customer_whole(session: Session, customer_no: str) -> CustomerWhole:
    """Return a customer with contacts, supply points and open contracts, in four statements however many there are.

    Raises:
        NoSuchCustomer: no customer has the number.
    """
    customer = customer_by_no(session, customer_no)
    points = session.scalars(
        select(SupplyPoint).where(SupplyPoint.customer_id == customer.id).order_by(SupplyPoint.point_no)
    )
    opened = _contracts().where(Customer.id == customer.id, SupplyContract.closed_at.is_(None))
    return CustomerWhole(
        customer=customer,
        contacts=contacts_of(session, customer.id),
        supply_points=list(points),
        open_contracts=_at_points(session, opened.order_by(SupplyContract.contract_no)),
    )


def list_customers(session: Session, *, containing: str | None, limit: int, after: str | None) -> list[Customer]:
    """Return up to ``limit`` customers in the order of numbers, after the number ``after``.

    ``containing`` is sought in number, names and contacts' telephone numbers, in any case.
    """
    wanted = select(Customer).order_by(Customer.customer_no).limit(limit)
    if after is not None:
        wanted = wanted.where(Customer.customer_no > after)
    if containing is not None:
        wanted = wanted.where(
            or_(
                *(
                    column.icontains(containing, autoescape=True)
                    for column in (Customer.customer_no, Customer.name_zh, Customer.name_en)
                ),
                exists().where(
                    Contact.customer_id == Customer.id, Contact.phone.icontains(containing, autoescape=True)
                ),
            )
        )
    return list(session.scalars(wanted))


def supply_point(session: Session, supply_point_id: UUID) -> SupplyPoint:
    found = session.get(SupplyPoint, supply_point_id)
    if found is None:
        raise NoSuchSupplyPoint(supply_point_id=supply_point_id)
    return found


def contract_by_no(session: Session, contract_no: str) -> SupplyContract:
    found = session.scalar(select(SupplyContract).where(SupplyContract.contract_no == contract_no))
    if found is None:
        raise NoSuchContract(contract_no=contract_no)
    return found


def contract_at_point(session: Session, contract_no: str) -> ContractAtPoint:
    """Return a contract with its supply point.

    Raises:
        NoSuchContract: no contract has the number.
    """
    found = _at_points(session, _contracts().where(SupplyContract.contract_no == contract_no))
    if not found:
        raise NoSuchContract(contract_no=contract_no)
    return found[0]


def list_contracts(
    session: Session, *, customer_no: str | None, open_only: bool, limit: int, after: str | None
) -> list[ContractAtPoint]:
    """Return up to ``limit`` contracts in the order of numbers, after the number ``after``."""
    wanted = _contracts().order_by(SupplyContract.contract_no).limit(limit)
    if customer_no is not None:
        wanted = wanted.where(Customer.customer_no == customer_no)
    if open_only:
        wanted = wanted.where(SupplyContract.closed_at.is_(None))
    if after is not None:
        wanted = wanted.where(SupplyContract.contract_no > after)
    return _at_points(session, wanted)


def _contracts() -> Select[SupplyContract, SupplyPoint, str]:
    return (
        select(SupplyContract, SupplyPoint, Customer.customer_no)
        .join(SupplyPoint, SupplyPoint.id == SupplyContract.supply_point_id)
        .join(Customer, Customer.id == SupplyPoint.customer_id)
    )


def _at_points(session: Session, wanted: Select[SupplyContract, SupplyPoint, str]) -> list[ContractAtPoint]:
    return [ContractAtPoint(*row) for row in session.execute(wanted)]


def open_contract_of(session: Session, supply_point_id: UUID) -> SupplyContract | None:
    return session.scalar(
        select(SupplyContract).where(
            SupplyContract.supply_point_id == supply_point_id, SupplyContract.closed_at.is_(None)
        )
    )


def open_contracts_of(session: Session, supply_point_ids: Iterable[UUID]) -> dict[UUID, SupplyContract]:
    """Return the open contracts of many supply points by their ids; without one a point is missing."""
    rows = session.scalars(
        select(SupplyContract).where(
            SupplyContract.supply_point_id.in_(list(supply_point_ids)), SupplyContract.closed_at.is_(None)
        )
    )
    return {row.supply_point_id: row for row in rows}


def price_in_force(session: Session, contract_id: UUID, *, at: datetime) -> PriceInForce:
    """Return the price whose validity holds ``at``: the latest begun one, unless it has ended."""
    row = session.execute(
        select(PurchasePrice.yuan_per_kwh, PurchasePrice.valid_until)
        .where(PurchasePrice.contract_id == contract_id, PurchasePrice.valid_from <= at)
        .order_by(PurchasePrice.valid_from.desc())
        .limit(1)
    ).first()
    if row is None:
        return PriceInForce(yuan_per_kwh=None, expired_at=None)
    if row.valid_until is not None and row.valid_until <= at:
        return PriceInForce(yuan_per_kwh=None, expired_at=row.valid_until)
    return PriceInForce(yuan_per_kwh=row.yuan_per_kwh, expired_at=None)


def list_prices(session: Session, contract_id: UUID, *, limit: int, before_id: UUID | None) -> list[PurchasePrice]:
    """Return up to ``limit`` prices of a contract, the one set last first, set before the one with ``before_id``."""
    wanted = (
        select(PurchasePrice)
        .where(PurchasePrice.contract_id == contract_id)
        .order_by(PurchasePrice.id.desc())
        .limit(limit)
    )
    if before_id is not None:
        wanted = wanted.where(PurchasePrice.id < before_id)
    return list(session.scalars(wanted))
