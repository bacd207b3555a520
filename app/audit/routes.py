"""HTTP in: auditors search the record and read where its chains end."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.audit import queries
from app.audit.queries import Found
from app.audit.schemas import EventShown, HeadShown, RecordSearch
from app.http.paging import Page, PageRequest, Paging, page_of, unreadable
from app.http.policies import allow
from app.http.transaction import Db
from app.roles import Role

router = APIRouter(prefix="/audit", tags=["audit"], dependencies=[allow(Role.AUDITOR, Role.ADMINISTRATOR)])


@router.get("", summary="Search the record")
def search_record(session: Db, paging: Paging, sought: Annotated[RecordSearch, Query()]) -> Page[EventShown]:
    """Newest first."""
    rows = queries.search(session, sought.wanted(), limit=paging.rows_wanted, before=_place_in(paging))
    return page_of(rows, request=paging, key=_place_of, show=EventShown.of)


@router.get("/heads", summary="Where each office's chain ends")
def read_heads(session: Db) -> list[HeadShown]:
    """Write them down outside: what was recorded up to here can then not be changed unseen."""
    return [HeadShown.of(head) for head in queries.heads(session)]


def _place_of(found: Found) -> str:
    event = found.event
    return f"{event.at.isoformat()} {event.stream} {event.seq}"


def _place_in(paging: PageRequest) -> tuple[datetime, UUID, int] | None:
    if paging.after is None:
        return None
    try:
        at, stream, seq = paging.after.split(" ")
        place = (datetime.fromisoformat(at), UUID(stream), int(seq))
    except ValueError:
        raise unreadable() from None
    if place[0].tzinfo is None or place[2] >= 1 << 63:
        raise unreadable()
    return place
