"""Open offices, hire people, and let them in."""

import functools
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.database import act_for, actor_of, new_id
from app.errors import Conflict, Refused
from app.roles import Role
from app.staff.models import Office, StaffMember
from app.staff.queries import find_by_sign_in_name
from app.staff.rules import check_password, check_sign_in_name, sign_in_name_of

#: Argon2id at the least cost that OWASP advises (19 MiB, 2 passes): all tills sign in within the same minute
#: of a morning, and each sign-in holds that memory while it is checked.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class OfficeCodeTaken(Conflict):
    title = "The office code is taken"


class SignInNameTaken(Conflict):
    title = "The sign-in name is taken"


class SignInRefused(Refused):
    """One answer for an unknown name, a wrong password and a person who has left: it tells guessers nothing."""

    title = "The sign-in was refused"


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
    person = StaffMember(
        id=new_id(),
        sign_in_name=name,
        name_zh=new.name_zh,
        name_en=new.name_en,
        office_id=office.id,
        password_hash=_hasher.hash(new.password),
        roles=sorted({role.value for role in new.roles}),
        active=True,
        created_at=now,
    )
    session.add(person)
    try:
        session.flush()
    except IntegrityError as error:
        raise SignInNameTaken(f"somebody signs in as {name!r} already", remedy="choose another name") from error
    after = {"name_zh": person.name_zh, "name_en": person.name_en, "office": office.code, "roles": person.roles}
    audit.record(session, Deed(action="person.hired", subject_kind="person", subject=name, after=after), at=now)
    return person


def sign_in(session: Session, *, name: str, password: str, now: datetime) -> StaffMember:
    """Return the person whose name and password these are.

    Raises:
        SignInRefused: no such name, another password, or no longer active.
    """
    person = find_by_sign_in_name(session, name=name)
    # An unknown name costs the same work as a known one, so that time does not tell names apart.
    password_hash = _hash_of_nobody() if person is None else person.password_hash
    if _is_right(password, password_hash=password_hash) and person is not None and person.active:
        act_for(session, replace(actor_of(session), staff_member_id=person.id, name=person.sign_in_name))
        deed = Deed(action="person.signed_in", subject_kind="person", subject=person.sign_in_name)
        audit.record(session, deed, at=now)
        return person
    raise SignInRefused(
        "the name and the password do not belong together, or the person is no longer active",
        remedy="check both, or ask an administrator",
    )


def _is_right(password: str, *, password_hash: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except VerifyMismatchError:
        return False


@functools.cache
def _hash_of_nobody() -> str:
    return _hasher.hash("the password of nobody")
