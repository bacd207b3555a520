"""HTTP in: administrators set when nobody may be cut off; everybody sees it."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from app.calendars import queries, service
from app.calendars.rules import spans
from app.calendars.schemas import NoCutShown, NoCutTimes, NoCutToSet
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.roles import Role

router = APIRouter(tags=["calendars"])


@router.get("/no-cut-rules", summary="Rules that bar cuts", dependencies=[signed_in()])
def list_rules(
    session: Db,
    paging: Paging,
    in_force: Annotated[bool | None, Query(description="only those not ended, or only the others")] = None,
) -> Page[NoCutShown]:
    """Newest first."""
    rows = queries.list_rules(session, in_force=in_force, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.rule.id, show=NoCutShown.of)


@router.post(
    "/no-cut-rules", summary="Bar cuts at certain times", status_code=201, dependencies=[allow(Role.ADMINISTRATOR)]
)
def set_rule(wanted: NoCutToSet, session: Db, now: Now, settings: AppSettings, person: CurrentPerson) -> NoCutShown:
    """No trip goes out then, by hand or by the service; notices name the first moment after it.

    To end a rule needs a second person: ask at `POST /api/v1/approvals/no-cut-rule-ends`.
    """
    rule = wanted.rule(settings.zone)
    seen = service.set_rule(session, rule, office=wanted.office, source=wanted.source, by=person.id, now=now)
    return NoCutShown.of(seen)


@router.get("/offices/{code}/no-cut-times", summary="When nobody may be cut off", dependencies=[signed_in()])
def read_times(
    code: str, session: Db, now: Now, days: Annotated[int, Query(ge=1, le=31, description="from now on")] = 7
) -> NoCutTimes:
    """From now on, span by span, with the rule that says so."""
    rules = queries.rules_of_office(session, code)
    return NoCutTimes.of(code, spans(rules, since=now, until=now + timedelta(days=days)))
