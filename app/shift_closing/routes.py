"""HTTP in: a cashier counts, a supervisor compares, asks again or closes, and the sealed totals are printed."""

from datetime import tzinfo
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.http.idempotency import Keyed
from app.http.policies import CurrentPerson, allow
from app.http.problems import PROBLEM_JSON
from app.http.transaction import AppSettings, Db
from app.papers.answers import PAPER, PRINTED, PrintMade, PrintWanted, page_answer, print_answer
from app.papers.paper import Both, Format, Paper
from app.papers.receipt import copy_mark
from app.papers.totals import totals_paper
from app.roles import Role
from app.shift_closing import service
from app.shift_closing.schemas import ComparisonShown, CountToGive, RecountToAsk, ShiftToClose
from app.shifts.queries import closed_shift, get_shift
from app.shifts.schemas import ShiftWhole, own_only

router = APIRouter(prefix="/shifts/{shift_id}", tags=["tills"])

_VIEW_ONLY = Both(zh="仅供查看", en="VIEW ONLY")
#: What a GET answers here before its time; OpenAPI expects no such answer of other GETs.
_NOT_YET: dict[int | str, dict[str, Any]] = {
    409: {
        "description": "The shift has not come that far",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
_READERS = allow(Role.CASHIER, Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR)


@router.post("/count", summary="Count your till", response_model=ShiftWhole, dependencies=[allow(Role.CASHIER)])
async def count_shift(shift_id: UUID, wanted: CountToGive, request: Keyed) -> Response:
    """Blind: nothing tells what the books expect before a supervisor has closed the shift. The till sells no more."""

    def count(session: Session) -> tuple[int, ShiftWhole]:
        new = wanted.as_count()
        service.count(session, shift_id, new, cashier_id=request.person.id, now=request.now)
        return 200, ShiftWhole.of_whole(get_shift(session, shift_id))

    return await request.once(count)


@router.get(
    "/comparison",
    summary="What was counted beside what the books expect",
    responses=_NOT_YET,
    dependencies=[allow(Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR)],
)
def compare_shift(shift_id: UUID, session: Db, person: CurrentPerson) -> ComparisonShown:
    """Only once it was counted, and never of one's own shift before it is closed."""
    return ComparisonShown.of(service.judge(session, shift_id, supervisor_id=person.id))


@router.post(
    "/recount",
    summary="Have a shift counted once more",
    response_model=ShiftWhole,
    dependencies=[allow(Role.APPROVER)],
)
async def recount_shift(shift_id: UUID, wanted: RecountToAsk, request: Keyed) -> Response:
    """Every count is kept. The till stays shut."""

    def ask(session: Session) -> tuple[int, ShiftWhole]:
        service.ask_again(session, shift_id, reason=wanted.reason, supervisor_id=request.person.id, now=request.now)
        return 200, ShiftWhole.of_whole(get_shift(session, shift_id))

    return await request.once(ask)


@router.post(
    "/close", summary="Close and seal a shift", response_model=ShiftWhole, dependencies=[allow(Role.APPROVER)]
)
async def close_shift(shift_id: UUID, wanted: ShiftToClose, request: Keyed) -> Response:
    """The cash goes to the safe, what is over or short is booked with its reason, and the totals are sealed."""

    def close(session: Session) -> tuple[int, ShiftWhole]:
        service.close(session, shift_id, wanted.as_close(request.person.id), now=request.now)
        return 200, ShiftWhole.of_whole(get_shift(session, shift_id))

    return await request.once(close)


@router.get(
    "/page",
    summary="The sealed totals to look at",
    response_class=Response,
    responses=PAPER | _NOT_YET,
    dependencies=[_READERS],
)
def show_totals(
    shift_id: UUID,
    session: Db,
    settings: AppSettings,
    person: CurrentPerson,
    format_: Annotated[Format, Query(alias="format")] = Format.A5,
) -> Response:
    paper = _paper(session, shift_id, cashier_id=own_only(person), mark=_VIEW_ONLY, zone=settings.zone)
    return page_answer(paper, format_)


@router.post(
    "/prints",
    summary="Print the sealed totals",
    status_code=201,
    response_class=Response,
    responses=PRINTED,
    dependencies=[allow(Role.CASHIER, Role.APPROVER)],
)
async def print_totals(shift_id: UUID, wanted: PrintWanted, request: Keyed) -> Response:
    """The first print is the original; each later one says that it is a copy, and when it was printed."""
    own = own_only(request.person)

    def note(session: Session) -> tuple[int, PrintMade]:
        closed_shift(session, shift_id, cashier_id=own)
        copy_no = service.note_print(session, shift_id, printed_by=request.person.id, now=request.now)
        return 201, PrintMade(copy_no=copy_no, printed_at=request.now)

    def lay_out(session: Session, made: PrintMade) -> Paper:
        zone = request.settings.zone
        mark = copy_mark(made.copy_no, printed_at=made.printed_at, zone=zone)
        return _paper(session, shift_id, cashier_id=own, mark=mark, zone=zone)

    return await print_answer(request, wanted, note=note, lay_out=lay_out)


def _paper(session: Session, shift_id: UUID, *, cashier_id: UUID | None, mark: Both | None, zone: tzinfo) -> Paper:
    closed = closed_shift(session, shift_id, cashier_id=cashier_id)
    return totals_paper(closed.totals, seal=closed.seal, mark=mark, zone=zone)
