"""Reads of cheques."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.cheques.models import Cheque
from app.cheques.rules import ChequeState
from app.customers.models import Customer, SupplyContract, SupplyPoint
from app.customers.queries import NoSuchContract
from app.customers.rules import ContractClosed, ContractClosing
from app.errors import NotFound
from app.shifts.models import Receipt


class NoSuchCheque(NotFound):
    title = "There is no such cheque"

    def __init__(self, *, cheque_id: UUID) -> None:
        super().__init__(
            f"No cheque has the id {cheque_id}.", remedy="GET /api/v1/cheques lists them.", cheque_id=str(cheque_id)
        )


class Payer(NamedTuple):
    """Whose contract a cheque is for, as it stands on papers."""

    contract_id: UUID
    contract_no: str
    point_no: str
    customer_no: str
    customer_zh: str
    customer_en: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A cheque with the contract it is for and the numbers of its papers."""

    cheque: Cheque
    contract_no: str
    customer_no: str
    receipt_no: str
    return_receipt_no: str | None


def payer(session: Session, contract_no: str) -> Payer:
    """Return whose open contract this is.

    Raises:
        NoSuchContract: no contract has the number.
        ContractClosed, ContractClosing: it was closed, or its account is being closed.
    """
    row = session.execute(_payers().where(SupplyContract.contract_no == contract_no)).first()
    if row is None:
        raise NoSuchContract(contract_no=contract_no)
    if row.closed_at is not None:
        raise ContractClosed(contract_no=contract_no, closed_at=row.closed_at)
    if row.closing_since is not None:
        raise ContractClosing(contract_no=contract_no, closing_since=row.closing_since)
    return Payer(*row[:-2])


def payer_of(session: Session, contract_id: UUID) -> Payer:
    """Return whose contract this is, open or closed."""
    return Payer(*session.execute(_payers().where(SupplyContract.id == contract_id)).one()[:-2])


def _payers() -> Any:
    return (
        select(
            SupplyContract.id,
            SupplyContract.contract_no,
            SupplyPoint.point_no,
            Customer.customer_no,
            Customer.name_zh,
            Customer.name_en,
            SupplyContract.closed_at,
            SupplyContract.closing_since,
        )
        .join(SupplyPoint, SupplyPoint.id == SupplyContract.supply_point_id)
        .join(Customer, Customer.id == SupplyPoint.customer_id)
    )


def _cheques() -> Any:
    back = aliased(Receipt)
    return (
        select(Cheque, SupplyContract.contract_no, Customer.customer_no, Receipt.receipt_no, back.receipt_no)
        .join(SupplyContract, SupplyContract.id == Cheque.contract_id)
        .join(SupplyPoint, SupplyPoint.id == SupplyContract.supply_point_id)
        .join(Customer, Customer.id == SupplyPoint.customer_id)
        .join(Receipt, Receipt.id == Cheque.receipt_id)
        .outerjoin(back, back.id == Cheque.return_receipt_id)
    )


def _found(row: Any) -> Found:
    cheque, contract_no, customer_no, receipt_no, return_receipt_no = row
    return Found(
        cheque=cheque,
        contract_no=contract_no,
        customer_no=customer_no,
        receipt_no=receipt_no,
        return_receipt_no=return_receipt_no,
    )


def cheque(session: Session, cheque_id: UUID) -> Found:
    """Return a cheque.

    Raises:
        NoSuchCheque: none has the id.
    """
    row = session.execute(_cheques().where(Cheque.id == cheque_id)).first()
    if row is None:
        raise NoSuchCheque(cheque_id=cheque_id)
    return _found(row)


def cheques(
    session: Session,
    *,
    state: ChequeState | None,
    contract_no: str | None,
    after: UUID | None,
    limit: int,
) -> list[Found]:
    """Return cheques, the oldest first, after the one with id ``after``."""
    wanted = _cheques().order_by(Cheque.id).limit(limit)
    if state is not None:
        wanted = wanted.where(Cheque.state == state)
    if contract_no is not None:
        wanted = wanted.where(SupplyContract.contract_no == contract_no)
    if after is not None:
        wanted = wanted.where(Cheque.id > after)
    return [_found(row) for row in session.execute(wanted)]


class Waiting(NamedTuple):
    """How many cheques are in clearing, and how many of them for longer than they should be."""

    in_clearing: int
    overdue: int


def waiting(session: Session, *, now: datetime, overdue_days: int) -> Waiting:
    """Count the cheques in clearing, and those taken in more than ``overdue_days`` ago."""
    overdue = Cheque.taken_at < now - timedelta(days=overdue_days)
    row = session.execute(
        select(func.count(), func.count().filter(overdue))
        .select_from(Cheque)
        .where(Cheque.state == ChequeState.IN_CLEARING)
    ).one()
    return Waiting(*row)
