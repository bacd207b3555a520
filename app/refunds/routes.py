"""HTTP in: purchases are taken back, paid out, released by an approver, or withdrawn."""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now, changes_nothing
from app.load_control.service import Pace
from app.refunds import queries, service
from app.refunds.rules import RefundState
from app.refunds.schemas import PayOut, RefundQuote, RefundShown, RefundToAsk, Release
from app.roles import Role

router = APIRouter(prefix="/refunds", tags=["refunds"])


@router.post(
    "/quote",
    summary="What could be taken back now",
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER), changes_nothing()],
)
def quote_refund(
    wanted: RefundToAsk, session: Db, now: Now, settings: AppSettings, person: CurrentPerson
) -> RefundQuote:
    """Asks what the terminal has used and whether the energy can be spared; nothing is written."""
    new = wanted.to_ask(asked_by=person.id)
    return RefundQuote.of(*service.would_take_back(session, new, pace=Pace.of(settings), now=now))


@router.post(
    "",
    summary="Take a purchase back",
    status_code=201,
    response_model=RefundShown,
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER)],
)
async def ask_refund(wanted: RefundToAsk, request: Keyed) -> Response:
    """The energy leaves the books at once and the terminal by a refresh order; the money is set aside.

    Above an amount that the utility sets it needs a second person: ask at `POST /api/v1/approvals/refunds`.
    """
    new = wanted.to_ask(asked_by=request.person.id)

    def ask(session: Session) -> tuple[int, RefundShown]:
        alone_fen = request.settings.refund_alone_fen
        refund = service.ask(session, new, alone_fen=alone_fen, pace=Pace.of(request.settings), now=request.now)
        return 201, RefundShown.of(queries.refund_seen(session, refund.id))

    return await request.once(ask)


@router.get("", summary="List refunds", dependencies=[signed_in()])
def list_refunds(session: Db, paging: Paging, state: RefundState | None = None) -> Page[RefundShown]:
    """Newest first."""
    rows = queries.list_refunds(session, state=state, limit=paging.rows_wanted, before=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.refund.id, show=RefundShown.of)


@router.get("/{refund_id}", summary="A refund", dependencies=[signed_in()])
def read_refund(refund_id: UUID, session: Db) -> RefundShown:
    return RefundShown.of(queries.refund_seen(session, refund_id))


@router.post(
    "/{refund_id}/release", summary="Let the money go without the terminal", dependencies=[allow(Role.APPROVER)]
)
def release_refund(refund_id: UUID, wanted: Release, session: Db, now: Now, person: CurrentPerson) -> RefundShown:
    """For a terminal that cannot show it any more; the approver answers for it, and has not asked for it."""
    service.release(session, refund_id, because=wanted.reason, approver_id=person.id, now=now)
    return RefundShown.of(queries.refund_seen(session, refund_id))


@router.post(
    "/{refund_id}/pay-out",
    summary="Pay the money out",
    response_model=RefundShown,
    dependencies=[allow(Role.CASHIER)],
)
async def pay_out(refund_id: UUID, wanted: PayOut, request: Keyed) -> Response:
    """At your till, when the terminal has shown the order or an approver has released the money; gives a receipt."""

    def pay(session: Session) -> tuple[int, RefundShown]:
        service.pay_out(session, refund_id, tender=wanted.as_tender(), cashier_id=request.person.id, now=request.now)
        return 200, RefundShown.of(queries.refund_seen(session, refund_id))

    return await request.once(pay)


@router.post(
    "/{refund_id}/withdraw",
    summary="Give the energy back instead",
    response_model=RefundShown,
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER)],
)
async def withdraw(refund_id: UUID, request: Keyed) -> Response:
    """The money that was set aside buys energy again, at the price of the purchase."""

    def undo(session: Session) -> tuple[int, RefundShown]:
        service.withdraw(session, refund_id, by=request.person.id, pace=Pace.of(request.settings), now=request.now)
        return 200, RefundShown.of(queries.refund_seen(session, refund_id))

    return await request.once(undo)
