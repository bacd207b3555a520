"""HTTP in: operators order, call back, and record that a notice arrived; everybody reads what became of it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.commands import queries
from app.commands.rules import CommandState
from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.load_control.schemas import NoticeShown
from app.load_control.service import Pace
from app.orders import service
from app.orders.schemas import AnyOrder, CallBack, CommandShown, CommandWholeShown, NoticeServed
from app.roles import Role

router = APIRouter(tags=["orders"])

_POINT = "01960000-0000-7000-8000-000000000001"
_EXAMPLES = {
    "limit": {"value": {"action": "limit", "supply_point_id": _POINT, "power_w": 300_000, "reason": "dispatch asks"}},
    "trip": {"value": {"action": "trip", "supply_point_id": _POINT, "round": 1, "reason": "second notice has run"}},
    "notify": {
        "value": {
            "action": "notify",
            "supply_point_id": _POINT,
            "cut_not_before": "2026-03-04T02:00:00Z",
            "reason": "energy runs out",
        }
    },
    "guarantee": {"value": {"action": "guarantee", "supply_point_id": _POINT, "reason": "examination day"}},
}


@router.post(
    "/commands",
    summary="Order a staged command",
    status_code=201,
    response_model=CommandShown,
    dependencies=[allow(Role.OPERATOR)],
)
async def give_order(
    wanted: Annotated[AnyOrder, Body(discriminator="action", openapi_examples=_EXAMPLES)],
    request: Keyed,
) -> Response:
    """What takes supply away passes the interlocks first; a refusal names each of them and what would be right.

    A round that the stage keeps tripped is tripped again after a close, unless supply is guaranteed or paid for.
    """
    order = wanted.to_give(requested_by=request.person.id)

    def give(session: Session) -> tuple[int, CommandShown]:
        command = service.give(session, order, pace=Pace.of(request.settings), now=request.now)
        return 201, CommandShown.of(queries.command_given(session, command.id))

    return await request.once(give)


@router.get("/commands", summary="List commands", dependencies=[signed_in()])
def list_commands(
    session: Db,
    paging: Paging,
    supply_point_id: UUID | None = None,
    state: CommandState | None = None,
    held: Annotated[bool | None, Query(description="only credits that are held back now, or all but those")] = None,
) -> Page[CommandShown]:
    """Newest first, those of the service itself included."""
    rows = queries.list_commands(
        session,
        supply_point_id=supply_point_id,
        state=state,
        held=held,
        limit=paging.rows_wanted,
        before_id=paging.after_id,
    )
    return page_of(rows, request=paging, key=lambda row: row.command.id, show=CommandShown.of)


@router.get("/commands/{command_id}", summary="A command and its steps", dependencies=[signed_in()])
def read_command(command_id: UUID, session: Db) -> CommandWholeShown:
    """How far it is known to have come, who ordered it, and every answer of the terminal."""
    given = queries.command_given(session, command_id)
    return CommandWholeShown.whole(given, queries.steps_of(session, command_id))


@router.post("/commands/{command_id}/cancel", summary="Call a command back", dependencies=[allow(Role.OPERATOR)])
def call_back(command_id: UUID, wanted: CallBack, session: Db, now: Now, person: CurrentPerson) -> CommandWholeShown:
    """Possible while nothing that acts has been sent; the notice that it was to carry is withdrawn with it."""
    because = f"called back by {person.sign_in_name}: {wanted.reason}"
    service.call_back(session, command_id, because=because, now=now)
    given = queries.command_given(session, command_id)
    return CommandWholeShown.whole(given, queries.steps_of(session, command_id))


@router.post("/notices/{notice_id}/served", summary="A notice was handed over", dependencies=[allow(Role.OPERATOR)])
def note_served(notice_id: UUID, wanted: NoticeServed, session: Db, now: Now, settings: AppSettings) -> NoticeShown:
    """The proof is recorded once, and its period runs from now on."""
    return NoticeShown.of(service.note_served(session, notice_id, how=wanted.how, pace=Pace.of(settings), now=now))
