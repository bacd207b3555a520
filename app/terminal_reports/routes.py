"""HTTP in: what terminals told of a supply point, and what could not be read."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from app.customers.queries import supply_point
from app.http.moments import WrittenMoment
from app.http.paging import Page, PageRequest, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.refusals import CursorUnreadable
from app.http.transaction import Db
from app.quantities import MAX_BIGINT
from app.roles import Role
from app.terminal_reports import queries
from app.terminal_reports.models import TerminalEvent, TerminalReport
from app.terminal_reports.queries import Position, Span
from app.terminal_reports.schemas import EventShown, QuarantinedShown, ReportShown

router = APIRouter(tags=["reports"])


async def span_asked(
    begins_at: Annotated[
        WrittenMoment | None,
        Query(alias="from", description="at this moment or later", examples=["2026-03-01T00:00:00Z"]),
    ] = None,
    ends_at: Annotated[
        WrittenMoment | None, Query(alias="to", description="before this moment", examples=["2026-03-02T00:00:00Z"])
    ] = None,
) -> Span:
    return Span(begins_at=begins_at, ends_at=ends_at)


SpanAsked = Annotated[Span, Depends(span_asked)]


@router.get("/supply-points/{supply_point_id}/reports", summary="Reports", dependencies=[signed_in()])
def list_reports(supply_point_id: UUID, session: Db, paging: Paging, span: SpanAsked) -> Page[ReportShown]:
    """Newest first, back-filled ones in their place."""
    supply_point(session, supply_point_id)
    rows = queries.list_reports(
        session, supply_point_id, span=span, limit=paging.rows_wanted, before=_position(paging)
    )
    return page_of(rows, request=paging, key=_key, show=ReportShown.of)


@router.get("/supply-points/{supply_point_id}/events", summary="Events", dependencies=[signed_in()])
def list_events(supply_point_id: UUID, session: Db, paging: Paging, span: SpanAsked) -> Page[EventShown]:
    """Newest first."""
    supply_point(session, supply_point_id)
    rows = queries.list_events(
        session, supply_point_id, span=span, limit=paging.rows_wanted, before=_position(paging)
    )
    return page_of(rows, request=paging, key=_key, show=EventShown.of)


@router.get(
    "/quarantine",
    summary="Messages that could not be read",
    dependencies=[allow(Role.AUDITOR, Role.ADMINISTRATOR, Role.OPERATOR)],
)
def list_quarantined(session: Db, paging: Paging) -> Page[QuarantinedShown]:
    """Newest first, each with the reason."""
    rows = queries.list_quarantined(session, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.id, show=QuarantinedShown.of)


def _key(row: TerminalReport | TerminalEvent) -> str:
    return f"{row.at.isoformat()} {row.seq} {row.spool_id}"


def _position(paging: PageRequest) -> Position | None:
    """Read the cursor that :func:`_key` wrote."""
    if paging.after is None:
        return None
    try:
        at, seq, spool_id = paging.after.split(" ")
        position = Position(datetime.fromisoformat(at), int(seq), UUID(spool_id))
    except ValueError:
        position = None
    if position is None or position.at.tzinfo is None or not 0 <= position.seq <= MAX_BIGINT:
        raise CursorUnreadable(
            "the cursor was not made by this service",
            remedy="send `next_cursor` of the page before as it is, or no cursor for the first page",
        )
    return position
