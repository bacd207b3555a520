"""HTTP in: receipts as data, as a page to look at, and as prints."""

from datetime import tzinfo
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.http.idempotency import Keyed
from app.http.policies import allow, signed_in
from app.http.transaction import AppSettings, Db
from app.papers.answers import PAPER, PRINTED, PrintMade, PrintWanted, page_answer, print_answer
from app.papers.paper import Both, Format, Paper
from app.papers.receipt import Kept, copy_mark, receipt_paper
from app.receipts import queries, service
from app.receipts.schemas import ReceiptShown
from app.roles import Role
from app.shifts.models import Receipt

router = APIRouter(prefix="/receipts", tags=["receipts"])

ReceiptNo = Annotated[str, Path(pattern=r"^[A-Z0-9-]{1,40}$", examples=["PD-1-0000001"])]

_VIEW_ONLY = Both(zh="仅供查看", en="VIEW ONLY — not a receipt")


@router.get("/{receipt_no}", summary="A receipt, and the prints made of it", dependencies=[signed_in()])
def read_receipt(receipt_no: ReceiptNo, session: Db) -> ReceiptShown:
    found = queries.receipt(session, receipt_no)
    return ReceiptShown.of(found, prints=queries.prints(session, found))


@router.get(
    "/{receipt_no}/page",
    summary="A receipt to look at",
    response_class=Response,
    responses=PAPER,
    dependencies=[signed_in()],
)
def show_receipt(
    receipt_no: ReceiptNo,
    session: Db,
    settings: AppSettings,
    format_: Annotated[Format, Query(alias="format")] = Format.A5,
) -> Response:
    """The page says that it is no receipt; `POST /api/v1/receipts/{receipt_no}/prints` makes one."""
    paper = _paper(queries.receipt(session, receipt_no), mark=_VIEW_ONLY, zone=settings.zone)
    return page_answer(paper, format_)


@router.post(
    "/{receipt_no}/prints",
    summary="Print a receipt",
    status_code=201,
    response_class=Response,
    responses=PRINTED,
    dependencies=[allow(Role.CASHIER, Role.APPROVER)],
)
async def print_receipt(receipt_no: ReceiptNo, wanted: PrintWanted, request: Keyed) -> Response:
    """The first print is the original; each later one says that it is a copy, and when it was printed.

    The same key gives the same print again, so an original that got lost on its way is no copy.
    """

    def note(session: Session) -> tuple[int, PrintMade]:
        copy_no = service.note_print(session, receipt_no, printed_by=request.person.id, now=request.now)
        return 201, PrintMade(copy_no=copy_no, printed_at=request.now)

    def lay_out(session: Session, made: PrintMade) -> Paper:
        zone = request.settings.zone
        mark = copy_mark(made.copy_no, printed_at=made.printed_at, zone=zone)
        return _paper(queries.receipt(session, receipt_no), mark=mark, zone=zone)

    return await print_answer(request, wanted, note=note, lay_out=lay_out)


def _paper(receipt: Receipt, *, mark: Both | None, zone: tzinfo) -> Paper:
    kept = Kept(
        kind=receipt.kind,
        receipt_no=receipt.receipt_no,
        amount_fen=receipt.amount_fen,
        issued_at=receipt.issued_at,
        content=receipt.content,
    )
    return receipt_paper(kept, mark=mark, zone=zone)
