"""Sign-in, and the lists of people and offices."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, Person, allow, anyone, signed_in, write_token
from app.http.refusals import NotSignedIn
from app.http.transaction import AppSettings, Db, Now
from app.roles import Role
from app.staff import queries, service
from app.staff.schemas import AccessToken, OfficeShown, PersonShown, SignInForm, StaffMemberToHire

router = APIRouter(tags=["people"])

_FORM_IN_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {"application/x-www-form-urlencoded": {"schema": SignInForm.model_json_schema()}},
    }
}


async def sign_in_form(request: Request) -> SignInForm:
    """Read the form by hand: two short fields need no parser of uploads."""
    try:
        fields = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=20))
        return SignInForm.model_validate(fields)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_input=False)]
        raise RequestValidationError(found) from None
    except ValueError:
        message = "should be a form of UTF-8 text with the fields username and password"
        raise RequestValidationError([{"type": "form", "loc": ("body",), "msg": message}]) from None


@router.post(
    "/auth/token",
    summary="Sign in",
    dependencies=[anyone()],
    responses={401: {"description": "Name or password is wrong"}},
    openapi_extra=_FORM_IN_OPENAPI,
)
def create_token(
    form: Annotated[SignInForm, Depends(sign_in_form)], session: Db, now: Now, settings: AppSettings
) -> AccessToken:
    """Exchange name and password, sent as a form, for an access token."""
    try:
        member = service.sign_in(session, name=form.username, password=form.password.get_secret_value(), now=now)
    except service.SignInRefused as refusal:
        raise NotSignedIn(refusal.detail, remedy=refusal.remedy) from None
    person = Person(id=member.id, sign_in_name=member.sign_in_name, roles=frozenset(member.roles))
    token = write_token(person, secret=settings.token_secret.get_secret_value(), lifetime_s=settings.token_lifetime_s)
    return AccessToken(access_token=token, expires_in=settings.token_lifetime_s, person=PersonShown.of(member))


@router.get("/auth/me", summary="Who am I", dependencies=[signed_in()])
def read_me(person: CurrentPerson, session: Db) -> PersonShown:
    return PersonShown.of(queries.get_staff_member(session, staff_member_id=person.id))


@router.get("/staff", summary="List people", dependencies=[allow(Role.ADMINISTRATOR, Role.AUDITOR)])
def list_staff(session: Db, paging: Paging) -> Page[PersonShown]:
    """People in the order of their sign-in names, those who have left included."""
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
