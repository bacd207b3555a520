"""Open offices, hire people, and let them in."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.database import new_id
from app.errors import Conflict
from app.roles import Role
from app.staff.models import Office, StaffMember
from app.staff.rules import Kind, check_password, check_sign_in_name, sign_in_name_of

#: Argon2id at the least cost that OWASP advises (19 MiB, 2 passes): all tills sign in within the same minute
#: of a morning, and each sign-in holds that memory while it is checked.
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class OfficeCodeTaken(Conflict):
    title = "The office code is taken"


class SignInNameTaken(Conflict):
    title = "The sign-in name is taken"


class IsNoPerson(Conflict):
    title = "This is a client, not a person"


@dataclass(frozen=True, kw_only=True)
class NewStaffMember:
    """A person to hire; the password in clear is hashed and forgotten."""

    sign_in_name: str
    name_zh: str
    name_en: str
    password: str
    roles: Collection[Role]


def create_office(session: Session, *, code: str, name_zh: str, name_en: str, now: datetime) -> Office:
    """Open an office.

    Raises:
        OfficeCodeTaken: another office has this code.
    """
    office = Office(id=new_id(), code=code, name_zh=name_zh, name_en=name_en)
    session.add(office)
    try:
        session.flush()
    except IntegrityError as error:
        raise OfficeCodeTaken(f"there is an office {code!r} already", remedy="choose another code") from error
    after = {"name_zh": name_zh, "name_en": name_en}
    audit.record(session, Deed(action="office.opened", subject_kind="office", subject=code, after=after), at=now)
    return office


def hire(session: Session, new: NewStaffMember, *, office: Office, now: datetime) -> StaffMember:
    """Take a person in, able to sign in from this transaction's end.

    Raises:
        SignInNameUnusable, PasswordUnusable: see the rules.
        SignInNameTaken: somebody, perhaps one who has left, has this name.
    """
    name = sign_in_name_of(new.sign_in_name)
    check_sign_in_name(name)
    check_password(new.password)
    return _take_in(
        session,
        StaffMember(
            id=new_id(),
            kind=Kind.PERSON.value,
            sign_in_name=name,
            name_zh=new.name_zh,
            name_en=new.name_en,
            office_id=office.id,
            password_hash=hasher.hash(new.password),
            roles=_kept(new.roles),
            active=True,
            created_at=now,
        ),
        office=office,
        now=now,
    )


@dataclass(frozen=True, kw_only=True)
class NewClient:
    """A program of others that shall call with keys."""

    name: str
    name_zh: str
    name_en: str
    roles: Collection[Role]


def take_in_client(session: Session, new: NewClient, *, office: Office, now: datetime) -> StaffMember:
    """Take a client in; it can do nothing until it is given a key.

    Raises:
        SignInNameUnusable: see the rule.
        SignInNameTaken: a person or a client has this name.
    """
    name = sign_in_name_of(new.name)
    check_sign_in_name(name)
    return _take_in(
        session,
        StaffMember(
            id=new_id(),
            kind=Kind.CLIENT.value,
            sign_in_name=name,
            name_zh=new.name_zh,
            name_en=new.name_en,
            office_id=office.id,
            password_hash=None,
            roles=_kept(new.roles),
            active=True,
            created_at=now,
        ),
        office=office,
        now=now,
    )


def change_password(person: StaffMember, *, password: str) -> None:
    """Give a person another password.

    Raises:
        PasswordUnusable: see the rule.
        IsNoPerson: it is a client.
    """
    if person.kind != Kind.PERSON:
        raise IsNoPerson(
            f"{person.sign_in_name} is a client and has no password", remedy="give it a key: POST /api/v1/clients"
        )
    check_password(password)
    person.password_hash = hasher.hash(password)


def change_roles(person: StaffMember, *, roles: Collection[Role]) -> None:
    """Give a person or a client other roles, for what is signed in or called from then on."""
    person.roles = _kept(roles)


def is_right(password: str, *, password_hash: str | None) -> bool:
    """Tell whether it is the password; without a hash it takes as long, so that time does not tell names apart."""
    try:
        hasher.verify(password_hash or _hash_of_nobody(hasher), password)
    except VerifyMismatchError:
        return False
    return password_hash is not None


def _take_in(session: Session, member: StaffMember, *, office: Office, now: datetime) -> StaffMember:
    session.add(member)
    try:
        session.flush()
    except IntegrityError as error:
        raise SignInNameTaken(
            f"somebody signs in as {member.sign_in_name!r} already", remedy="choose another name"
        ) from error
    after = {
        "kind": member.kind,
        "name_zh": member.name_zh,
        "name_en": member.name_en,
        "office": office.code,
        "roles": member.roles,
    }
    deed = Deed(action="person.hired", subject_kind="person", subject=member.sign_in_name, after=after)
    audit.record(session, deed, at=now)
    return member


def _kept(roles: Collection[Role]) -> list[str]:
    return sorted({role.value for role in roles})


@functools.cache
def _hash_of_nobody(by: PasswordHasher) -> str:
    return by.hash("the password of nobody")
