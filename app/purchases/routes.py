"""HTTP in: quote, sell, receipts."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.transaction import Db, Now, changes_nothing
from app.load_control.service import Pace
from app.purchases import queries, service
from app.purchases.schemas import (
    ContractNo,
    PurchaseOut,
    PurchaseRequest,
    PurchaseWholeOut,
    QuoteOut,
    ReceiptOut,
    SaleRequest,
)
from app.roles import Role
from app.site_codes.queries import code_carrying

router = APIRouter(prefix="/purchases", tags=["purchases"])


@router.post(
    "/quote",
    summary="What would an amount buy now",
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER), changes_nothing()],
)
def quote_purchase(wanted: PurchaseRequest, session: Db, now: Now) -> QuoteOut:
    """Nothing is written; the price may change before the sale."""
    return QuoteOut.of(
        *service.quote_sale(session, contract_no=wanted.contract_no, paid_fen=wanted.paid_fen, now=now)
    )


@router.post(
    "",
    summary="Sell energy",
    status_code=201,
    response_model=PurchaseOut,
    dependencies=[allow(Role.CASHIER)],
)
async def create_purchase(wanted: SaleRequest, request: Keyed) -> Response:
    """Old debt is paid first, the rest becomes energy at the price in force, and the terminal is told at once.

    Send a fresh `Idempotency-Key`, keep it, and send the same request again whenever the answer did not arrive: it
    is sold once, and every answer has the same bytes. A refusal is not stored, so the same key may succeed later.
    """
    settings = request.settings
    pace = Pace.of(settings)
    sale = service.Sale(
        contract_no=wanted.contract_no,
        paid_fen=wanted.paid_fen,
        cashier_id=request.person.id,
        tenders=wanted.taken,
    )

    def sell(session: Session, _locked: None, *answers: Any) -> tuple[int, PurchaseOut]:
        opened = service.Opened(*answers)
        return 201, PurchaseOut.of_sale(service.sell_opened(session, sale, opened, pace=pace, now=request.now))

    return await request.once(sell, ahead=service.opening_of(sale, now=request.now))


@router.get("", summary="List purchases", dependencies=[signed_in()])
def list_purchases(
    session: Db,
    paging: Paging,
    contract_no: Annotated[ContractNo | None, Query()] = None,
) -> Page[ReceiptOut]:
    """Newest first."""
    rows = queries.receipts(session, contract_no=contract_no, before=paging.after_id, limit=paging.rows_wanted)
    return page_of(rows, request=paging, key=lambda row: row.purchase.id, show=ReceiptOut.of)


@router.get("/{purchase_no}", summary="A receipt, and how far its credit has come", dependencies=[signed_in()])
def read_purchase(
    purchase_no: Annotated[str, Path(pattern=r"^P[0-9]{8}-[0-9]{7,12}$")], session: Db
) -> PurchaseWholeOut:
    found = queries.receipt(session, purchase_no)
    bought = found.purchase
    site_code = code_carrying(session, bought.terminal_id, order_no=bought.order_no) if bought.command_id else None
    return PurchaseWholeOut.whole(found, site_code=site_code)
