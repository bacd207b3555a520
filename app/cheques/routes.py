"""HTTP in: cheques are taken in, cleared, returned and listed."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.cheques import queries, service
from app.cheques.rules import ChequeState
from app.cheques.schemas import ChequeShown, ChequeToClear, ChequeToReturn, ChequeToTake
from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import allow
from app.http.transaction import Db, Now
from app.load_control.service import Pace
from app.purchases.schemas import ContractNo, PurchaseOut
from app.roles import Role

router = APIRouter(prefix="/cheques", tags=["cheques"])

_READERS = allow(Role.CASHIER, Role.APPROVER, Role.ACCOUNT_MANAGER, Role.AUDITOR, Role.ADMINISTRATOR)


@router.post(
    "",
    summary="Take a cheque in for clearing",
    status_code=201,
    response_model=ChequeShown,
    dependencies=[allow(Role.CASHIER)],
)
async def take_in_cheque(wanted: ChequeToTake, request: Keyed) -> Response:
    """It is no purchase yet, and its receipt says so; it buys energy when the bank has cleared it."""

    def take(session: Session) -> tuple[int, ChequeShown]:
        new = wanted.as_cheque()
        cheque_id = service.take_in(
            session, new, cashier_id=request.person.id, zone=request.settings.zone, now=request.now
        )
        return 201, ChequeShown.of(queries.cheque(session, cheque_id), now=request.now)

    return await request.once(take)


@router.post(
    "/{cheque_id}/clear",
    summary="The bank has cleared a cheque: sell the energy",
    status_code=201,
    response_model=PurchaseOut,
    dependencies=[allow(Role.CASHIER)],
)
async def clear_cheque(cheque_id: UUID, wanted: ChequeToClear, request: Keyed) -> Response:
    """A sale like any other, at the price in force now, with a receipt of its own; the money lies at the bank."""
    settings = request.settings
    pace = Pace.of(settings)

    def clear(session: Session) -> tuple[int, PurchaseOut]:
        sold = service.clear(
            session,
            cheque_id,
            bank_reference=wanted.bank_reference,
            cashier_id=request.person.id,
            pace=pace,
            now=request.now,
        )
        return 201, PurchaseOut.of_sale(sold)

    return await request.once(clear)


@router.post(
    "/{cheque_id}/return",
    summary="The bank has returned a cheque",
    response_model=ChequeShown,
    dependencies=[allow(Role.CASHIER)],
)
async def return_cheque(cheque_id: UUID, wanted: ChequeToReturn, request: Keyed) -> Response:
    """Nothing was bought; a paper for the customer says that the receipt for the cheque is void."""

    def give_back(session: Session) -> tuple[int, ChequeShown]:
        service.give_back(session, cheque_id, reason=wanted.reason, cashier_id=request.person.id, now=request.now)
        return 200, ChequeShown.of(queries.cheque(session, cheque_id), now=request.now)

    return await request.once(give_back)


@router.get("", summary="List cheques, and for how long each has been in clearing", dependencies=[_READERS])
def list_cheques(
    session: Db,
    now: Now,
    paging: Paging,
    state: Annotated[ChequeState | None, Query()] = None,
    contract_no: Annotated[ContractNo | None, Query()] = None,
) -> Page[ChequeShown]:
    """The oldest first; `state=in_clearing` lists what the bank has not spoken of yet."""
    rows = queries.cheques(
        session, state=state, contract_no=contract_no, after=paging.after_id, limit=paging.rows_wanted
    )
    return page_of(rows, request=paging, key=lambda row: row.cheque.id, show=lambda row: ChequeShown.of(row, now=now))


@router.get("/{cheque_id}", summary="A cheque, and what became of it", dependencies=[_READERS])
def read_cheque(cheque_id: UUID, session: Db, now: Now) -> ChequeShown:
    return ChequeShown.of(queries.cheque(session, cheque_id), now=now)
