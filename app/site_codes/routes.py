"""HTTP in: site codes are asked for and listed."""

from uuid import UUID

from fastapi import APIRouter

from app.customers.queries import supply_point
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.mqtt.site_codes import SiteCode, write
from app.roles import Role
from app.site_codes import queries, service
from app.site_codes.schemas import SiteCodeOut, SiteCodeShown
from app.terminals.routes import SiteSecretMissing, site_secret_of

router = APIRouter(prefix="/supply-points/{supply_point_id}", tags=["site codes"])


@router.post(
    "/site-code",
    summary="Give out a site code",
    dependencies=[allow(Role.CASHIER, Role.OPERATOR)],
)
def give_site_code(
    supply_point_id: UUID, session: Db, now: Now, person: CurrentPerson, settings: AppSettings
) -> SiteCodeOut:
    """For a terminal that stays off line: 25 digits to be typed at its keypad, which bring what was paid for.

    Asked again, the answer is the same code, and each time it stands in the record who has asked.
    """
    secret = site_secret_of(settings)
    if secret is None:
        raise SiteSecretMissing(
            "the service has no secret to make site codes of",
            remedy="bring the terminal online; for codes in future, ask the people who run the service to set "
            "WATTGATE_SITE_SECRET_FILE",
        )
    asked = service.Asked(supply_point_id=supply_point_id, site_key_id=secret.id, asked_by=person.id)
    issued = service.give(session, asked, clock=settings.clock, now=now)
    code = SiteCode(
        order_no=issued.order_no,
        paid_until_wh=issued.paid_until_wh,
        release_rounds=issued.release_rounds,
        lift_limit=issued.lift_limit,
    )
    given = queries.code_given(session, issued.id)
    return SiteCodeOut.whole(given, code=write(code, secret.key_of(issued.terminal_id)))


@router.get("/site-codes", summary="Site codes that were given out", dependencies=[signed_in()])
def list_site_codes(supply_point_id: UUID, session: Db, paging: Paging) -> Page[SiteCodeShown]:
    """Newest first, without their digits."""
    point_id = supply_point(session, supply_point_id).id
    rows = queries.codes_at(session, point_id, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.code.id, show=SiteCodeShown.of)
