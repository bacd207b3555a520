"""HTTP in: energy is lent to who asks for it."""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.customers.queries import supply_point
from app.emergency import queries, service
from app.emergency.schemas import EmergencyCreditShown, EmergencyCreditWanted
from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.transaction import Db
from app.load_control.service import Pace
from app.roles import Role

router = APIRouter(prefix="/supply-points/{supply_point_id}/emergency-credits", tags=["emergency credit"])


@router.post(
    "",
    summary="Lend energy",
    status_code=201,
    response_model=EmergencyCreditShown,
    dependencies=[allow(Role.OPERATOR, Role.CASHIER, Role.ACCOUNT_MANAGER)],
)
async def lend_energy(supply_point_id: UUID, wanted: EmergencyCreditWanted, request: Keyed) -> Response:
    """Where the contract agrees on it, up to its limit, and only when energy runs out; supply comes back at once."""
    settings = request.settings
    pace = Pace.of(settings)

    def lend(session: Session) -> tuple[int, EmergencyCreditShown]:
        new = service.Wanted(supply_point_id=supply_point_id, lent_by=request.person.id, **wanted.model_dump())
        return 201, EmergencyCreditShown.of(service.lend(session, new, pace=pace, now=request.now))

    return await request.once(lend)


@router.get("", summary="Emergency credits of a supply point", dependencies=[signed_in()])
def list_credits(supply_point_id: UUID, session: Db, paging: Paging) -> Page[EmergencyCreditShown]:
    """Newest first."""
    supply_point(session, supply_point_id)
    rows = queries.list_credits(session, supply_point_id, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.id, show=EmergencyCreditShown.of)
