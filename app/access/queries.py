"""Who is signed in, who tried to be, and which keys are live."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from app.access.models import ApiKey, SignIn
from app.audit import queries as audit
from app.audit.queries import Wanted
from app.errors import NotFound

PASSWORD_RESET = "person.password_reset"  # noqa: S105 - an action, not a password

#: Clocks of several machines differ a little, and tokens are taken for that much longer.
_CLOCKS_DIFFER_BY = timedelta(minutes=1)

_FAILED_FOR_NAME = text("""
    SELECT at FROM sign_in_attempts
     WHERE name = :name AND at > :since AND outcome <> 'right'
       AND at > COALESCE((SELECT max(at) FROM sign_in_attempts
                           WHERE name = :name AND at > :since AND outcome = 'right'), '-infinity')
     ORDER BY at DESC LIMIT :limit
""")
_FAILED_FROM_ADDRESS = text("""
    SELECT at FROM sign_in_attempts
     WHERE address = :address AND at > :since AND outcome <> 'right'
     ORDER BY at DESC LIMIT :limit
""")
_KNOWN_AT_ADDRESS = text("""
    SELECT EXISTS (SELECT FROM sign_in_attempts
                    WHERE name = :name AND address = :address AND at > :since AND outcome = 'right')
""")
_LIVE_KEYS = text("""
    SELECT k.id, k.digest, k.expires_at, k.networks, s.id AS client_id, s.sign_in_name,
           ARRAY(SELECT unnest(k.scopes) INTERSECT SELECT unnest(s.roles)) AS roles
      FROM api_keys k JOIN staff_members s ON s.id = k.staff_member_id
     WHERE k.revoked_at IS NULL AND s.active AND (k.expires_at IS NULL OR k.expires_at > :now)
""")


class ApiKeyUnknown(NotFound):
    title = "There is no such key"


def failed_for_name(session: Session, *, name: str, since: datetime, limit: int) -> list[datetime]:
    """Return the newest failures for a name since its last success; an attempt under way counts as one.

    Once there are ``limit`` of them, those from before its password was last reset do not count: whoever has
    forgotten it has usually used them up.
    """
    failed = list(session.scalars(_FAILED_FOR_NAME, {"name": name, "since": since, "limit": limit}))
    if len(failed) < limit:
        return failed
    # Asked for only here, since the record of a name grows with every sign-in.
    resets = Wanted(action=PASSWORD_RESET, subject_kind="person", subject=name, since=since)
    reset = audit.search(session, resets, limit=1, before=None)
    return [at for at in failed if not reset or at > reset[0].event.at]


def failed_from_address(session: Session, *, address: str, since: datetime, limit: int) -> list[datetime]:
    """Return the newest failures from an address; a success resets nothing, lest one's own helps to guess.

    An attempt under way counts as one.
    """
    return list(session.scalars(_FAILED_FROM_ADDRESS, {"address": address, "since": since, "limit": limit}))


def is_known_at(session: Session, *, name: str, address: str, since: datetime) -> bool:
    """Tell whether somebody has signed in under this name from this address."""
    return bool(session.scalar(_KNOWN_AT_ADDRESS, {"name": name, "address": address, "since": since}))


def current_sign_ins(session: Session, *, staff_member_id: UUID, now: datetime) -> Sequence[SignIn]:
    """Return where a person is signed in, newest first."""
    statement = select(SignIn).where(
        SignIn.staff_member_id == staff_member_id, SignIn.ended_at.is_(None), SignIn.expires_at > now
    )
    return session.scalars(statement.order_by(SignIn.id.desc())).all()


def ended_early(session: Session, *, now: datetime) -> frozenset[UUID]:
    """Return the sign-ins that have ended although their tokens have not expired."""
    statement = select(SignIn.id).where(SignIn.ended_at.is_not(None), SignIn.expires_at > now - _CLOCKS_DIFFER_BY)
    return frozenset(session.scalars(statement))


def live_keys(session: Session, *, now: datetime) -> Sequence[Row[Any]]:
    """Return keys with their clients; ``roles`` are the scopes that the client still has as roles."""
    return session.execute(_LIVE_KEYS, {"now": now}).all()


def keys_of(session: Session, *, client_id: UUID) -> Sequence[ApiKey]:
    """Return all keys that a client ever had, newest first."""
    return session.scalars(select(ApiKey).where(ApiKey.staff_member_id == client_id).order_by(ApiKey.id.desc())).all()


def get_key(session: Session, *, key_id: UUID) -> ApiKey:
    key = session.get(ApiKey, key_id)
    if key is None:
        raise ApiKeyUnknown(f"there is no key {key_id}", remedy="GET /api/v1/clients/{id}/keys lists a client's keys")
    return key
