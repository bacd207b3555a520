"""Reads of customers, supply points, contracts and prices."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import select
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


def customer_by_no(session: Session, customer_no: str) -> Customer:
    found = session.scalar(select(Customer).where(Customer.customer_no == customer_no))
    if found is None:
        raise NoSuchCustomer(customer_no=customer_no)
    return found


def contacts_of(session: Session, customer_id: UUID) -> list[Contact]:
    return list(session.scalars(select(Contact).where(Contact.customer_id == customer_id).order_by(Contact.id)))


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


def open_contract_of(session: Session, supply_point_id: UUID) -> SupplyContract | None:
    return session.scalar(
        select(SupplyContract).where(
            SupplyContract.supply_point_id == supply_point_id, SupplyContract.closed_at.is_(None)
        )
    )


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
