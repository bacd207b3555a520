"""People and offices."""

from fastapi import APIRouter

from app.http.paging import Page, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.transaction import Db, Now
from app.roles import Role
from app.staff import queries, service
from app.staff.schemas import OfficeShown, PersonShown, StaffMemberToHire

router = APIRouter(tags=["people"])


@router.get("/staff", summary="List people", dependencies=[allow(Role.ADMINISTRATOR, Role.AUDITOR)])
def list_staff(session: Db, paging: Paging) -> Page[PersonShown]:
    """People and clients in the order of their sign-in names, those who have left included."""
    rows = queries.list_staff(session, limit=paging.rows_wanted, after=paging.after)
    return page_of(rows, request=paging, key=lambda row: row.sign_in_name, show=PersonShown.of)


@router.post("/staff", summary="Hire a person", status_code=201, dependencies=[allow(Role.ADMINISTRATOR)])
def hire_staff_member(wanted: StaffMemberToHire, session: Db, now: Now) -> PersonShown:
    """Take a person in; a second request with the same sign-in name is refused."""
    office = queries.get_office(session, code=wanted.office_code)
    new = service.NewStaffMember(
        sign_in_name=wanted.sign_in_name,
        name_zh=wanted.name_zh,
        name_en=wanted.name_en,
        password=wanted.password.get_secret_value(),
        roles=wanted.roles,
    )
    return PersonShown.of(service.hire(session, new, office=office, now=now))


@router.get("/offices", summary="List offices", dependencies=[signed_in()])
def list_offices(session: Db, paging: Paging) -> Page[OfficeShown]:
    rows = queries.list_offices(session, limit=paging.rows_wanted, after=paging.after)
    return page_of(rows, request=paging, key=lambda row: row.code, show=OfficeShown.of)
