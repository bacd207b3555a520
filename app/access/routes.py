"""Signing in and out, passwords, what administrators change about people, and clients with their keys."""

from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.access import queries, service
from app.access.rules import check_client_roles
from app.access.schemas import (
    AccessToken,
    ClientToTakeIn,
    KeyMade,
    KeyShown,
    KeysShown,
    KeyToMake,
    PasswordChange,
    PasswordReset,
    RolesChange,
    SignInForm,
    SignInsEnded,
    SignInShown,
    SignInsShown,
)
from app.access.service import Attempt, Knock
from app.database import act_for, in_transaction
from app.http.policies import CurrentPerson, Person, address_of, allow, anyone, signed_in, write_token
from app.http.refusals import NotSignedIn, TooManyAttempts
from app.http.standing import READ_AGAIN_AFTER
from app.http.transaction import AppEngine, AppSettings, Db, MachineNow, Now, actor_behind
from app.roles import Role
from app.settings import Settings
from app.staff import queries as staff_queries
from app.staff import service as staff
from app.staff.models import StaffMember
from app.staff.schemas import PersonShown

router = APIRouter(tags=["people"])

_ADMINISTRATOR = allow(Role.ADMINISTRATOR)
_FORM_IN_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {"application/x-www-form-urlencoded": {"schema": SignInForm.model_json_schema()}},
    }
}

_log = structlog.get_logger(__name__)


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


@router.post("/auth/token", summary="Sign in", dependencies=[anyone(writes=True)], openapi_extra=_FORM_IN_OPENAPI)
def create_token(
    form: Annotated[SignInForm, Depends(sign_in_form)],
    request: Request,
    engine: AppEngine,
    settings: AppSettings,
    now: MachineNow,
) -> AccessToken:
    """Exchange name and password, sent as a form, for an access token.

    After too many failures for the name nothing is compared for a while, whoever asks; from an address with too many,
    names that have not signed in from there are tried slowly.
    """
    knock = _knock(request, name=form.username)
    attempt, right = _try(engine, knock, password=form.password.get_secret_value(), settings=settings, now=now)

    def let_in(session: Session) -> AccessToken | None:
        member = service.finish_attempt(session, attempt, right=right)
        if member is None:
            return None
        lifetime = timedelta(seconds=settings.token_lifetime_s)
        made = service.sign_in(session, member, knock, lifetime=lifetime, now=now)
        return _token(member, sign_in_id=made.id, settings=settings)

    token = in_transaction(engine, let_in)
    _tell(knock, outcome="refused" if token is None else "signed in")
    if token is None:
        raise NotSignedIn(
            "the name and the password do not belong together, or the person is no longer active",
            remedy="check both, or ask an administrator",
        )
    return token


@router.get("/auth/me", summary="Who am I", dependencies=[signed_in()])
def read_me(person: CurrentPerson, session: Db) -> PersonShown:
    return PersonShown.of(staff_queries.get_staff_member(session, staff_member_id=person.id))


@router.get("/auth/sign-ins", summary="Where am I signed in", dependencies=[signed_in(keys=False)])
def list_sign_ins(person: CurrentPerson, session: Db, now: MachineNow) -> SignInsShown:
    found = queries.current_sign_ins(session, staff_member_id=person.id, now=now)
    return SignInsShown(items=[SignInShown.of(each, current=person.sign_in_id) for each in found])


@router.post("/auth/sign-out", summary="Sign out", dependencies=[signed_in(keys=False), READ_AGAIN_AFTER])
def sign_out(person: CurrentPerson, session: Db, now: MachineNow) -> SignInsEnded:
    """End the sign-in of this request; its token is refused from then on."""
    member = staff_queries.get_staff_member(session, staff_member_id=person.id)
    service.end_sign_in(session, member, sign_in_id=person.sign_in_id, now=now)
    return SignInsEnded(ended=1)


@router.post(
    "/auth/password", summary="Change one's own password", dependencies=[signed_in(keys=False), READ_AGAIN_AFTER]
)
def change_password(
    wanted: PasswordChange,
    person: CurrentPerson,
    request: Request,
    engine: AppEngine,
    settings: AppSettings,
    now: MachineNow,
) -> SignInsEnded:
    """All other sign-ins end. A wrong old password counts as a failed sign-in."""
    new = wanted.new_password.get_secret_value()
    service.check_new_password(new)
    knock = _knock(request, name=person.sign_in_name)
    attempt, right = _try(engine, knock, password=wanted.old_password.get_secret_value(), settings=settings, now=now)

    def change(session: Session) -> int | None:
        member = service.finish_attempt(session, attempt, right=right)
        if member is None:
            return None
        act_for(session, actor_behind(request))
        return service.change_password(session, member, password=new, but=person.sign_in_id, now=now)

    ended = in_transaction(engine, change)
    _tell(knock, outcome="old password wrong" if ended is None else "password changed")
    if ended is None:
        raise service.PasswordWrong(
            "the old password is not that of this person", remedy="type it again; too many failures close the door"
        )
    return SignInsEnded(ended=ended)


@router.post(
    "/staff/{staff_member_id}/end-sign-ins",
    summary="End a person's sign-ins",
    dependencies=[_ADMINISTRATOR, READ_AGAIN_AFTER],
)
def end_sign_ins(staff_member_id: UUID, session: Db, now: MachineNow) -> SignInsEnded:
    """The person may sign in again."""
    return SignInsEnded(ended=service.show_out(session, staff_member_id=staff_member_id, now=now))


@router.post(
    "/staff/{staff_member_id}/password",
    summary="Reset a forgotten password",
    dependencies=[_ADMINISTRATOR, READ_AGAIN_AFTER],
)
def reset_password(staff_member_id: UUID, by: CurrentPerson, session: Db, now: MachineNow) -> PasswordReset:
    """The new one is made by chance and shown in this answer only; all sign-ins of the person end."""
    password, ended = service.reset_password(session, staff_member_id=staff_member_id, by=by.id, now=now)
    return PasswordReset(password=password, ended=ended)


@router.post(
    "/staff/{staff_member_id}/leave",
    summary="Let a person or client leave",
    dependencies=[_ADMINISTRATOR, READ_AGAIN_AFTER],
)
def leave(staff_member_id: UUID, by: CurrentPerson, session: Db, now: MachineNow) -> PersonShown:
    """All sign-ins and keys end, and nobody signs in under the name. What was done stays under the name."""
    return PersonShown.of(service.leave(session, staff_member_id=staff_member_id, by=by.id, now=now))


@router.post(
    "/staff/{staff_member_id}/return", summary="Let a person or client come back", dependencies=[_ADMINISTRATOR]
)
def come_back(staff_member_id: UUID, session: Db, now: MachineNow) -> PersonShown:
    """With the roles and the password of before; keys that have ended stay ended."""
    return PersonShown.of(service.come_back(session, staff_member_id=staff_member_id, now=now))


@router.post(
    "/staff/{staff_member_id}/roles",
    summary="Give other roles",
    dependencies=[_ADMINISTRATOR, READ_AGAIN_AFTER],
)
def change_roles(staff_member_id: UUID, wanted: RolesChange, session: Db, now: MachineNow) -> PersonShown:
    """The person's sign-ins end, since tokens carry roles; a client's keys keep what is left of their scopes."""
    changed = service.change_roles(session, staff_member_id=staff_member_id, roles=wanted.roles, now=now)
    return PersonShown.of(changed)


@router.post("/clients", summary="Take in a client", status_code=201, dependencies=[_ADMINISTRATOR])
def take_in_client(wanted: ClientToTakeIn, session: Db, now: Now) -> PersonShown:
    """A client is a program of others; it can do nothing until it is given a key."""
    check_client_roles(wanted.roles)
    office = staff_queries.get_office(session, code=wanted.office_code)
    new = staff.NewClient(name=wanted.name, name_zh=wanted.name_zh, name_en=wanted.name_en, roles=wanted.roles)
    return PersonShown.of(staff.take_in_client(session, new, office=office, now=now))


@router.post(
    "/clients/{client_id}/keys",
    summary="Give a client a key",
    status_code=201,
    dependencies=[_ADMINISTRATOR, READ_AGAIN_AFTER],
)
def make_key(client_id: UUID, wanted: KeyToMake, by: CurrentPerson, session: Db, now: MachineNow) -> KeyMade:
    """The key is shown in this answer and never again."""
    new = service.NewKey(
        label=wanted.label, scopes=wanted.scopes, networks=wanted.networks, expires_at=wanted.expires_at
    )
    made, key = service.make_key(session, new, client_id=client_id, by=by.id, now=now)
    return KeyMade.with_key(made, key=key)


@router.get(
    "/clients/{client_id}/keys",
    summary="List a client's keys",
    dependencies=[allow(Role.ADMINISTRATOR, Role.AUDITOR)],
)
def list_keys(client_id: UUID, session: Db) -> KeysShown:
    """Never the keys themselves."""
    return KeysShown(items=[KeyShown.of(each) for each in service.keys_of(session, client_id=client_id)])


@router.post("/keys/{key_id}/revoke", summary="Revoke a key", dependencies=[_ADMINISTRATOR, READ_AGAIN_AFTER])
def revoke_key(key_id: UUID, by: CurrentPerson, session: Db, now: MachineNow) -> KeyShown:
    """It is refused from then on."""
    return KeyShown.of(service.revoke_key(session, key_id=key_id, by=by.id, now=now))


def _knock(request: Request, *, name: str) -> Knock:
    return Knock(name=name, address=address_of(request), client=request.headers.get("user-agent", ""))


def _try(engine: Engine, knock: Knock, *, password: str, settings: Settings, now: datetime) -> tuple[Attempt, bool]:
    """Compare a password between two transactions, so that nobody waits for a connection that only computes."""
    limits = service.AttemptLimits(
        for_a_name=settings.sign_in_failures_per_name,
        from_an_address=settings.sign_in_failures_per_address,
        window=timedelta(seconds=settings.sign_in_failures_window_s),
        slow=timedelta(seconds=settings.sign_in_slow_s),
    )
    attempt = in_transaction(engine, service.begin_attempt, knock, limits=limits, now=now)
    if attempt.wait_s > 0:
        _tell(knock, outcome="too many attempts")
        raise TooManyAttempts(
            "too many sign-ins have failed for this name or from this address",
            remedy=f"wait {attempt.wait_s} s, then try again with the right password",
            more_headers={"Retry-After": str(attempt.wait_s)},
        )
    return attempt, staff.is_right(password, password_hash=attempt.password_hash)


def _tell(knock: Knock, *, outcome: str) -> None:
    _log.info("sign-in", outcome=outcome, name=knock.kept_name, address=knock.kept_address, client=knock.client[:200])


def _token(member: StaffMember, *, sign_in_id: UUID, settings: Settings) -> AccessToken:
    person = Person(
        id=member.id,
        sign_in_name=member.sign_in_name,
        roles=frozenset(member.roles),
        sign_in_id=sign_in_id,
    )
    token = write_token(person, secret=settings.token_secret.get_secret_value(), lifetime_s=settings.token_lifetime_s)
    return AccessToken(access_token=token, expires_in=settings.token_lifetime_s, person=PersonShown.of(member))
