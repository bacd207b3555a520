"""Let people in, show them out, and give keys to clients."""

import hashlib
import math
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.access import queries
from app.access.models import ApiKey, SignIn, SignInAttempt
from app.access.rules import (
    MAX_ADDRESS_KEPT,
    MAX_CLIENT_KEPT,
    MAX_NAME_KEPT,
    EndedBecause,
    Outcome,
    check_administrator_remains,
    check_client_roles,
    check_expiry,
    check_resets_another,
    check_scopes,
    locked_until,
    network_of,
    slowed_until,
)
from app.audit import service as audit
from app.audit.rules import Deed
from app.database import Actor, act_for, new_id
from app.errors import Conflict, Refused
from app.roles import Role
from app.staff import service as staff
from app.staff.models import StaffMember
from app.staff.queries import find_by_sign_in_name, get_staff_member, lock_staff_member, lock_with_administrators
from app.staff.rules import Kind, check_password, sign_in_name_of

KEY_PREFIX = "wgk_"
_KEY_BYTES = 32
#: Read out and typed: without 0, o, 1, l and i. Sixteen of them are 79 random bits.
_EASILY_READ = "abcdefghjkmnpqrstuvwxyz23456789"
_PASSWORD_LENGTH = 16

# The name before the address, always: of two attempts neither waits for the other in a circle.
_ONE_AFTER_THE_OTHER = text("""
    SELECT pg_advisory_xact_lock(hashtextextended('sign in ' || :name, 0)),
           pg_advisory_xact_lock(hashtextextended('sign in from ' || :address, 0))
""")
#: So long a name that has signed in from an address is not held up by what others fail from there.
KNOWN_FOR = timedelta(days=30)


class PasswordWrong(Refused):
    """A change needs the password that is in force: a token that was left lying about must not be enough."""

    title = "The old password is not right"


class IsNoClient(Conflict):
    title = "This is a person, not a client"


class ClientInactive(Conflict):
    title = "The client is no longer active"


@dataclass(frozen=True, kw_only=True)
class AttemptLimits:
    """So many failures within so long; then nothing is tried any more for a name, and from an address only slowly."""

    for_a_name: int
    from_an_address: int
    window: timedelta
    slow: timedelta


@dataclass(frozen=True, kw_only=True)
class Knock:
    """Somebody who wants to be let in: the name as typed, from where, and what their program calls itself."""

    name: str
    address: str
    client: str

    @property
    def kept_name(self) -> str:
        return sign_in_name_of(self.name)[:MAX_NAME_KEPT]

    @property
    def kept_address(self) -> str:
        return self.address[:MAX_ADDRESS_KEPT]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What a password is compared with; when ``wait_s`` is above 0 it is not compared at all."""

    id: UUID
    wait_s: int = 0
    staff_member_id: UUID | None = None
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """What a key shall be good for."""

    label: str
    scopes: Collection[Role]
    networks: Sequence[str] = ()
    expires_at: datetime | None = None


def begin_attempt(session: Session, knock: Knock, *, limits: AttemptLimits, now: datetime) -> Attempt:
    """Write down that a password is about to be tried, unless too many were.

    The row counts as a failure until :func:`finish_attempt`, so guesses that arrive together cannot pass together,
    and neither database nor lock is held while the password is compared.
    """
    session.execute(_ONE_AFTER_THE_OTHER, {"name": knock.kept_name, "address": knock.kept_address})
    ends = (
        _name_waits_until(session, knock, limits=limits, now=now),
        _address_waits_until(session, knock, limits=limits, now=now),
    )
    wait_s = max((math.ceil((end - now).total_seconds()) for end in ends if end is not None), default=0)
    if wait_s > 0:
        return Attempt(id=new_id(), wait_s=wait_s)
    person = find_by_sign_in_name(session, name=knock.name)
    attempt = SignInAttempt(
        id=new_id(),
        name=knock.kept_name,
        staff_member_id=None if person is None else person.id,
        address=knock.kept_address,
        at=now,
        outcome=Outcome.UNFINISHED.value,
    )
    session.add(attempt)
    session.flush()
    return Attempt(
        id=attempt.id,
        staff_member_id=attempt.staff_member_id,
        password_hash=None if person is None else person.password_hash,
    )


def _name_waits_until(session: Session, knock: Knock, *, limits: AttemptLimits, now: datetime) -> datetime | None:
    failed = queries.failed_for_name(
        session, name=knock.kept_name, since=now - limits.window, limit=limits.for_a_name
    )
    return locked_until(failed, limit=limits.for_a_name, window=limits.window)


def _address_waits_until(session: Session, knock: Knock, *, limits: AttemptLimits, now: datetime) -> datetime | None:
    """Slow an address, but nobody who is known there: a whole office comes from one."""
    address = knock.kept_address
    failed = queries.failed_from_address(
        session, address=address, since=now - limits.window, limit=limits.from_an_address
    )
    end = slowed_until(failed, limit=limits.from_an_address, window=limits.window, slow=limits.slow)
    if end is None or queries.is_known_at(session, name=knock.kept_name, address=address, since=now - KNOWN_FOR):
        return None
    return end


def finish_attempt(session: Session, attempt: Attempt, *, right: bool) -> StaffMember | None:
    """Write down how an attempt ended; return the person, locked, when it may go on."""
    person = None
    if right and attempt.staff_member_id is not None:
        person = lock_staff_member(session, staff_member_id=attempt.staff_member_id)
        if not person.active or person.password_hash != attempt.password_hash:
            person = None
    outcome = Outcome.REFUSED if person is None else Outcome.RIGHT
    session.execute(update(SignInAttempt).where(SignInAttempt.id == attempt.id).values(outcome=outcome.value))
    return person


def sign_in(session: Session, person: StaffMember, knock: Knock, *, lifetime: timedelta, now: datetime) -> SignIn:
    """Let a person in for ``lifetime`` of machine time."""
    made = SignIn(
        id=new_id(),
        staff_member_id=person.id,
        created_at=now,
        expires_at=now + lifetime,
        address=knock.kept_address,
        client=knock.client[:MAX_CLIENT_KEPT],
    )
    session.add(made)
    session.flush()
    act_for(session, Actor(staff_member_id=person.id, name=person.sign_in_name, address=knock.kept_address))
    _record(session, person, action="person.signed_in", after={"sign_in_id": made.id, "client": made.client}, now=now)
    return made


def end_sign_in(session: Session, person: StaffMember, *, sign_in_id: UUID | None, now: datetime) -> None:
    """Sign a person out; a sign-in that has ended stays as it ended."""
    ended = update(SignIn).where(SignIn.id == sign_in_id, SignIn.ended_at.is_(None))
    session.execute(ended.values(ended_at=now, ended_because=EndedBecause.SIGNED_OUT.value))
    _record(session, person, action="person.signed_out", after={"sign_in_id": sign_in_id}, now=now)


def end_sign_ins(
    session: Session, *, staff_member_id: UUID, because: EndedBecause, now: datetime, but: UUID | None = None
) -> int:
    """End all sign-ins of a person, who is locked, but perhaps one; return how many ended."""
    running = select(SignIn.id).where(
        SignIn.staff_member_id == staff_member_id, SignIn.ended_at.is_(None), SignIn.expires_at > now
    )
    ids = [each for each in session.scalars(running) if each != but]
    session.execute(update(SignIn).where(SignIn.id.in_(ids)).values(ended_at=now, ended_because=because.value))
    return len(ids)


def show_out(session: Session, *, staff_member_id: UUID, now: datetime) -> int:
    """End all sign-ins of a person, who may sign in again."""
    person = lock_staff_member(session, staff_member_id=staff_member_id)
    ended = end_sign_ins(session, staff_member_id=person.id, because=EndedBecause.BY_ADMINISTRATOR, now=now)
    _record(session, person, action="person.shown_out", after={"sign_ins_ended": ended}, now=now)
    return ended


def leave(session: Session, *, staff_member_id: UUID, by: UUID, now: datetime) -> StaffMember:
    """Take a person or a client out of service: nobody signs in as them, and their sign-ins and keys end.

    Raises:
        LastAdministrator: see the rule.
    """
    person, administrators = lock_with_administrators(session, staff_member_id=staff_member_id)
    check_administrator_remains(administrators, without=person.id)
    person.active = False
    end_sign_ins(session, staff_member_id=person.id, because=EndedBecause.LEFT, now=now)
    session.execute(
        update(ApiKey)
        .where(ApiKey.staff_member_id == person.id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=by)
    )
    session.flush()
    _record(session, person, action="person.left", now=now)
    return person


def come_back(session: Session, *, staff_member_id: UUID, now: datetime) -> StaffMember:
    """Let a person who has left sign in again; keys that have ended stay ended."""
    person = lock_staff_member(session, staff_member_id=staff_member_id)
    person.active = True
    session.flush()
    _record(session, person, action="person.returned", now=now)
    return person


def change_roles(session: Session, *, staff_member_id: UUID, roles: Collection[Role], now: datetime) -> StaffMember:
    """Give other roles; a person's sign-ins end, since their tokens carry the old ones.

    Raises:
        LastAdministrator, ClientRolesUnusable: see the rules.
    """
    person, administrators = lock_with_administrators(session, staff_member_id=staff_member_id)
    if person.kind == Kind.CLIENT:
        check_client_roles(roles)
    if Role.ADMINISTRATOR not in roles:
        check_administrator_remains(administrators, without=person.id)
    before = {"roles": list(person.roles)}
    if set(person.roles) != set(roles):
        staff.change_roles(person, roles=roles)
        end_sign_ins(session, staff_member_id=person.id, because=EndedBecause.ROLES_CHANGED, now=now)
        session.flush()
    after = {"roles": list(person.roles)}
    _record(session, person, action="person.roles_changed", before=before, after=after, now=now)
    return person


def change_password(session: Session, person: StaffMember, *, password: str, but: UUID | None, now: datetime) -> int:
    """Give a person, who is locked, another password; return how many other sign-ins ended.

    Raises:
        PasswordUnusable, IsNoPerson: see the staff.
    """
    staff.change_password(person, password=password)
    session.flush()
    _record(session, person, action="person.password_changed", now=now)
    return end_sign_ins(session, staff_member_id=person.id, because=EndedBecause.PASSWORD_CHANGED, now=now, but=but)


def reset_password(session: Session, *, staff_member_id: UUID, by: UUID, now: datetime) -> tuple[str, int]:
    """Give a person who has forgotten theirs a password made by chance; return it and how many sign-ins ended.

    Raises:
        OwnPasswordReset: see the rule.
        IsNoPerson: it is a client.
    """
    check_resets_another(staff_member_id, by=by)
    person = lock_staff_member(session, staff_member_id=staff_member_id)
    drawn = [secrets.choice(_EASILY_READ) for _ in range(_PASSWORD_LENGTH)]
    password = "-".join("".join(drawn[at : at + 4]) for at in range(0, _PASSWORD_LENGTH, 4))
    staff.change_password(person, password=password)
    ended = end_sign_ins(session, staff_member_id=person.id, because=EndedBecause.PASSWORD_CHANGED, now=now)
    session.flush()
    _record(session, person, action=queries.PASSWORD_RESET, after={"sign_ins_ended": ended}, now=now)
    return password, ended


def check_new_password(password: str) -> None:
    """Refuse a password before the old one is compared, so that no attempt is spent on it."""
    check_password(password)


def make_key(session: Session, new: NewKey, *, client_id: UUID, by: UUID, now: datetime) -> tuple[ApiKey, str]:
    """Give a client a key; return what is kept and the key itself, which nobody can show again.

    Raises:
        IsNoClient, ClientInactive: only an active client has keys.
        ScopesUnusable, NetworkUnusable, ExpiryUnusable: see the rules.
    """
    client = lock_staff_member(session, staff_member_id=client_id)
    _check_is_client(client)
    if not client.active:
        raise ClientInactive(
            f"{client.sign_in_name} is no longer active", remedy="bring it back: POST /api/v1/staff/{id}/return"
        )
    check_scopes(new.scopes, roles=client.roles)
    check_expiry(new.expires_at, now=now)
    key_id = new_id()
    key = f"{KEY_PREFIX}{key_id.hex}_{secrets.token_urlsafe(_KEY_BYTES)}"
    made = ApiKey(
        id=key_id,
        staff_member_id=client.id,
        label=new.label,
        digest=hashlib.sha256(key.encode()).digest(),
        scopes=sorted(scope.value for scope in new.scopes),
        networks=[network_of(each) for each in new.networks],
        created_at=now,
        created_by=by,
        expires_at=new.expires_at,
    )
    session.add(made)
    session.flush()
    after = {"key_id": made.id, "label": made.label, "scopes": made.scopes, "expires_at": made.expires_at}
    _record(session, client, action="key.made", after=after, now=now)
    return made, key


def keys_of(session: Session, *, client_id: UUID) -> Sequence[ApiKey]:
    """Return all keys of a client, newest first.

    Raises:
        IsNoClient: it is a person.
    """
    _check_is_client(get_staff_member(session, staff_member_id=client_id))
    return queries.keys_of(session, client_id=client_id)


def revoke_key(session: Session, *, key_id: UUID, by: UUID, now: datetime) -> ApiKey:
    """End a key; one that has ended stays as it ended."""
    key = queries.get_key(session, key_id=key_id)
    revoked = update(ApiKey).where(ApiKey.id == key.id, ApiKey.revoked_at.is_(None))
    session.execute(revoked.values(revoked_at=now, revoked_by=by))
    session.refresh(key)
    client = get_staff_member(session, staff_member_id=key.staff_member_id)
    _record(session, client, action="key.revoked", after={"key_id": key.id, "label": key.label}, now=now)
    return key


def note_used(session: Session, *, key_ids: Collection[UUID], now: datetime) -> None:
    """Write down that keys were used in the last minute."""
    session.execute(update(ApiKey).where(ApiKey.id.in_(sorted(key_ids))).values(last_used_at=now))


def _record(
    session: Session,
    person: StaffMember,
    *,
    action: str,
    now: datetime,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    deed = Deed(action=action, subject_kind="person", subject=person.sign_in_name, before=before, after=after)
    audit.record(session, deed, at=now)


def _check_is_client(member: StaffMember) -> None:
    if member.kind != Kind.CLIENT:
        raise IsNoClient(
            f"{member.sign_in_name} is a person, who signs in with a password",
            remedy="make a client for the program: POST /api/v1/clients",
        )
