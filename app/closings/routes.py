"""HTTP in: accounts are closed, with what is left or owed settled to the fen; and contracts that had nothing."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.closings import queries, service
from app.closings.schemas import ClosingQuote, ClosingShown, ClosingToAsk, Finish, ReleaseOfClosing
from app.customers.queries import contract_at_point
from app.customers.schemas import NUMBER_PATTERN, ContractShown
from app.http.idempotency import Keyed
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now, changes_nothing
from app.load_control.service import Pace
from app.roles import Role

router = APIRouter(prefix="/contracts/{contract_no}", tags=["closings"])

ContractNoInPath = Annotated[str, Path(pattern=NUMBER_PATTERN, max_length=100, examples=["HT-2026-0001"])]


@router.post(
    "/close",
    summary="Close a contract that never had anything",
    dependencies=[allow(Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR)],
)
def close_contract(contract_no: ContractNoInPath, session: Db, now: Now) -> ContractShown:
    """Where energy, money, debt or emergency credit stands, the account is closed instead, which settles it."""
    service.close_unused(session, contract_no, now=now)
    return ContractShown.of(contract_at_point(session, contract_no))


@router.post(
    "/closing/quote",
    summary="What the account would come to now",
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER), changes_nothing()],
)
def quote_closing(contract_no: ContractNoInPath, session: Db, now: Now, settings: AppSettings) -> ClosingQuote:
    """Refund, pay up, or nothing, by the terminal's last report; nothing is written."""
    return ClosingQuote.of(*service.would_settle(session, contract_no, pace=Pace.of(settings), now=now))


@router.post(
    "/closing",
    summary="Begin to close an account",
    status_code=201,
    response_model=ClosingShown,
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER)],
)
async def ask_closing(contract_no: ContractNoInPath, wanted: ClosingToAsk, request: Keyed) -> Response:
    """What remains leaves the books at once, the terminal by a refresh order; nothing is sold or cut any more."""
    new = service.NewClosing(contract_no=contract_no, reason=wanted.reason, asked_by=request.person.id)

    def ask(session: Session) -> tuple[int, ClosingShown]:
        service.ask(session, new, pace=Pace.of(request.settings), now=request.now)
        return 201, ClosingShown.seen(queries.closing_seen(session, contract_no))

    return await request.once(ask)


@router.get("/closing", summary="The closing of an account", dependencies=[signed_in()])
def read_closing(contract_no: ContractNoInPath, session: Db) -> ClosingShown:
    """The one that was asked for last."""
    return ClosingShown.seen(queries.closing_seen(session, contract_no))


@router.post(
    "/closing/release", summary="Let a closing be finished without the terminal", dependencies=[allow(Role.APPROVER)]
)
def release_closing(
    contract_no: ContractNoInPath, wanted: ReleaseOfClosing, session: Db, now: Now, person: CurrentPerson
) -> ClosingShown:
    """For a terminal that cannot show its last order; the approver answers for it, and has not asked for it."""
    service.release(session, contract_no, because=wanted.reason, approver_id=person.id, now=now)
    return ClosingShown.seen(queries.closing_seen(session, contract_no))


@router.post(
    "/closing/finish",
    summary="Settle the money and close the contract",
    response_model=ClosingShown,
    dependencies=[allow(Role.CASHIER)],
)
async def finish_closing(contract_no: ContractNoInPath, wanted: Finish, request: Keyed) -> Response:
    """At your till, when the terminal has shown its last order or an approver has released the closing."""

    def settle(session: Session) -> tuple[int, ClosingShown]:
        service.finish(session, contract_no, tenders=wanted.taken, cashier_id=request.person.id, now=request.now)
        return 200, ClosingShown.seen(queries.closing_seen(session, contract_no))

    return await request.once(settle)


@router.post(
    "/closing/withdraw",
    summary="Give the energy back instead",
    response_model=ClosingShown,
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER)],
)
async def withdraw_closing(contract_no: ContractNoInPath, request: Keyed) -> Response:
    """Paid-until is as it was, and energy is sold again."""

    def undo(session: Session) -> tuple[int, ClosingShown]:
        service.withdraw(session, contract_no, by=request.person.id, pace=Pace.of(request.settings), now=request.now)
        return 200, ClosingShown.seen(queries.closing_seen(session, contract_no))

    return await request.once(undo)
