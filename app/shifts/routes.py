"""HTTP in: tills are set up, and cashiers open their shifts at them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import Db, Now
from app.roles import Role
from app.shifts import queries, service
from app.shifts.rules import ShiftState
from app.shifts.schemas import ShiftShown, ShiftToOpen, ShiftWhole, TillNo, TillShown, TillToOpen, own_only
from app.staff.queries import get_office

router = APIRouter(tags=["tills"])

_READERS = allow(Role.CASHIER, Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR)


@router.post("/tills", summary="Set up a till", status_code=201, dependencies=[allow(Role.ADMINISTRATOR)])
def open_till(wanted: TillToOpen, session: Db, now: Now) -> TillShown:
    """A place where money is taken; its receipts are numbered from 1 without a gap."""
    office = get_office(session, code=wanted.office_code)
    new = service.NewTill(till_no=wanted.till_no, office_id=office.id, name_zh=wanted.name_zh, name_en=wanted.name_en)
    return TillShown.of(service.open_till(session, new, now=now))


@router.get("/tills", summary="List tills", dependencies=[signed_in()])
def list_tills(session: Db, paging: Paging) -> Page[TillShown]:
    """In the order of their numbers."""
    rows = queries.list_tills(session, limit=paging.rows_wanted, after=paging.after)
    return page_of(rows, request=paging, key=lambda row: row.till_no, show=TillShown.of)


@router.post(
    "/shifts",
    summary="Open a shift",
    status_code=201,
    response_model=ShiftShown,
    dependencies=[allow(Role.CASHIER)],
)
async def open_shift(wanted: ShiftToOpen, request: Keyed) -> Response:
    """The float goes from the safe into the till; from now on you answer for it."""

    def begin(session: Session) -> tuple[int, ShiftShown]:
        shift = service.open_shift(
            session,
            till_no=wanted.till_no,
            cashier_id=request.person.id,
            float_fen=wanted.float_fen,
            now=request.now,
        )
        return 201, ShiftShown.of(shift, till_no=wanted.till_no)

    return await request.once(begin)


@router.get("/shifts", summary="List shifts", dependencies=[_READERS])
def list_shifts(
    session: Db,
    paging: Paging,
    person: CurrentPerson,
    till_no: Annotated[TillNo | None, Query()] = None,
    state: Annotated[ShiftState | None, Query()] = None,
) -> Page[ShiftShown]:
    """Newest first; a cashier sees their own, who looks after others sees all."""
    wanted = queries.Wanted(cashier_id=own_only(person), till_no=till_no, state=state)
    rows = queries.list_shifts(session, wanted, limit=paging.rows_wanted, before=paging.after_id)
    return page_of(
        rows,
        request=paging,
        key=lambda row: row.shift.id,
        show=lambda row: ShiftShown.of(row.shift, till_no=row.till_no),
    )


@router.get("/shifts/{shift_id}", summary="A shift, its counts, and its totals once sealed", dependencies=[_READERS])
def read_shift(shift_id: UUID, session: Db, person: CurrentPerson) -> ShiftWhole:
    """Before the close it says nothing of what the books expect."""
    return ShiftWhole.of_whole(queries.get_shift(session, shift_id, cashier_id=own_only(person)))
