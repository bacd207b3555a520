"""HTTP in: everybody sees under which policy the service cuts."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.http.paging import Page, Paging, page_of
from app.http.policies import signed_in
from app.http.transaction import Db, Now
from app.policies import queries
from app.policies.schemas import PolicyShown

router = APIRouter(tags=["trip policies"])


@router.get("/trip-policies", summary="Trip policies", dependencies=[signed_in()])
def list_policies(
    session: Db,
    now: Now,
    paging: Paging,
    in_force: Annotated[bool | None, Query(description="only those in force now, or only the others")] = None,
) -> Page[PolicyShown]:
    """Every version that two people have approved, newest first."""
    rows = queries.list_policies(
        session, in_force=in_force, limit=paging.rows_wanted, before_id=paging.after_id, now=now
    )
    return page_of(rows, request=paging, key=lambda row: row.policy.id, show=PolicyShown.of)


@router.get("/offices/{code}/trip-policy", summary="The trip policy in force", dependencies=[signed_in()])
def read_policy(code: str, session: Db, now: Now) -> PolicyShown:
    """What the service may cut by itself at an office's supply points; 404 where nothing is in force."""
    return PolicyShown.of(queries.policy_of_office(session, code, now=now))
