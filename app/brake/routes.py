"""HTTP in: people pull the brake, look, release it, and say what an hour may bring."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.brake import queries, service
from app.brake.rules import WINDOW, LetThrough, Limit, Scope
from app.brake.schemas import BrakeShown, BrakeToPull, BrakeToRelease, LimitShown, LimitToSet, PullShown
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.roles import Role

router = APIRouter(prefix="/brake", tags=["brake"])

_SHOWN_AT_MOST = 100


@router.get("", summary="The brake on cuts", dependencies=[signed_in()])
def read_brake(session: Db, now: Now, settings: AppSettings) -> BrakeShown:
    """What an hour may bring, what the last one has brought, and where cuts are held."""
    since = now - settings.clock.lived(WINDOW.total_seconds())
    (of_all,) = queries.standings(session, {Scope.ALL: ""}, since=since)
    through: LetThrough = of_all.through
    pulls = queries.list_pulls(session, on=True, limit=_SHOWN_AT_MOST, before_id=None)
    return BrakeShown.of(queries.limits(session), through, pulls)


@router.get("/pulls", summary="Every pull of the brake", dependencies=[signed_in()])
def list_pulls(
    session: Db,
    paging: Paging,
    on: Annotated[bool | None, Query(description="only where it is on, or only where it was released")] = None,
) -> Page[PullShown]:
    """Newest first."""
    rows = queries.list_pulls(session, on=on, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.pull.id, show=PullShown.of)


@router.post(
    "/pulls",
    summary="Pull the brake",
    status_code=201,
    dependencies=[allow(Role.OPERATOR, Role.APPROVER)],
)
def pull_brake(wanted: BrakeToPull, session: Db, now: Now, person: CurrentPerson) -> PullShown:
    """Every cut there is held from now on, whoever or whatever wants it; restores go on."""
    seen = service.pull(session, wanted.scope, wanted.place, by=person.id, because=wanted.reason, now=now)
    return PullShown.of(seen)


@router.post("/pulls/{pull_id}/release", summary="Release the brake", dependencies=[allow(Role.APPROVER)])
def release_brake(pull_id: UUID, wanted: BrakeToRelease, session: Db, now: Now, person: CurrentPerson) -> PullShown:
    """After a look at why so much was to be cut. The hour begins anew, and nobody releases a pull of their own."""
    return PullShown.of(service.release(session, pull_id, by=person.id, because=wanted.reason, now=now))


@router.put("/limits/{scope}", summary="What an hour may bring", dependencies=[allow(Role.ADMINISTRATOR)])
def set_limit(scope: Scope, wanted: LimitToSet, session: Db, now: Now, person: CurrentPerson) -> LimitShown:
    """Cuts and power that may go out in one such place within an hour, before a person must look.

    More than before needs a second person: ask at `POST /api/v1/approvals/brake-limits`.
    """
    limit = Limit(scope=scope, cuts=wanted.cuts_per_hour, power_w=wanted.power_w_per_hour)
    return LimitShown.of(service.lower_limit(session, limit, by=person.id, because=wanted.reason, now=now))
