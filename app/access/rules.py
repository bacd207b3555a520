"""How often one may guess, what ends a sign-in, and what a key may be for."""

import ipaddress
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from app.errors import Refused
from app.roles import Role

MAX_NAME_KEPT = 63
MAX_CLIENT_KEPT = 200
MAX_ADDRESS_KEPT = 64
#: Moments at the end of the calendar cannot be read back in every time zone, and one such key would stop all reading.
LONGEST_KEY = timedelta(days=3653)


#: Nobody stands behind a program's request, so none may give rights to people or to itself.
#: Neither administers nor approves: a second pair of eyes is a person.
CLIENT_ROLES = frozenset(Role) - {Role.ADMINISTRATOR, Role.APPROVER}


class EndedBecause(StrEnum):
    SIGNED_OUT = "signed_out"
    BY_ADMINISTRATOR = "by_administrator"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason, not a password
    ROLES_CHANGED = "roles_changed"
    LEFT = "left"


class Outcome(StrEnum):
    UNFINISHED = "unfinished"
    REFUSED = "refused"
    RIGHT = "right"


class ScopesUnusable(Refused):
    """A key may do a part of what its client may, never more."""

    title = "The key cannot have these scopes"


class ClientRolesUnusable(Refused):
    """A program must not administer: it could give rights to people or to itself."""

    title = "A client cannot have these roles"


class NetworkUnusable(Refused):
    title = "The address network cannot be used"


class ExpiryUnusable(Refused):
    title = "The key cannot end at this moment"


class OwnPasswordReset(Refused):
    """A token that was left lying about must not be enough to change the password behind it."""

    title = "One does not reset one's own password"


class LastAdministrator(Refused):
    """Without an administrator nobody could let anybody in again."""

    title = "The last administrator must stay"


def locked_until(failed_at: Sequence[datetime], *, limit: int, window: timedelta) -> datetime | None:
    """Return until when further attempts are refused, or None while there were fewer than ``limit`` failures.

    With 5 failures allowed in 15 minutes and failures at 8:00, 8:01, 8:02, 8:03 and 8:04, attempts are refused until
    8:15, when the first of them no longer counts.

    Args:
        failed_at: moments of failures within the window, newest first.
        limit: how many are allowed.
        window: how long a failure counts.
    """
    return failed_at[limit - 1] + window if len(failed_at) >= limit else None


def slowed_until(failed_at: Sequence[datetime], *, limit: int, window: timedelta, slow: timedelta) -> datetime | None:
    """Return until when an address waits for its next attempt, or None while it had fewer than ``limit`` failures.

    With 30 failures allowed in 15 minutes and the newest of 30 at 8:04:10, there is one attempt every 30 seconds: the
    next at 8:04:40, or sooner when the first of the 30 no longer counts.

    Args:
        failed_at: moments of failures within the window, newest first.
        limit: how many are allowed at the usual pace.
        window: how long a failure counts.
        slow: from one attempt to the next above that.
    """
    locked = locked_until(failed_at, limit=limit, window=window)
    return None if locked is None else min(locked, failed_at[0] + slow)


def check_client_roles(roles: Collection[Role]) -> None:
    """Refuse a client that would administer: ``{cashier}`` passes, ``{cashier, administrator}`` does not.

    Raises:
        ClientRolesUnusable: the administrator is among them.
    """
    if not CLIENT_ROLES.issuperset(roles):
        raise ClientRolesUnusable(
            "a client cannot be an administrator or an approver",
            remedy="give it the roles of its work; people administer and approve",
        )


def check_scopes(scopes: Collection[Role], *, roles: Collection[str]) -> None:
    """Refuse scopes beyond the client's roles: ``{auditor}`` of ``{auditor, cashier}`` passes.

    Raises:
        ScopesUnusable: names the scopes that the client lacks as roles.
    """
    lacking = sorted(set(scopes) - set(roles))
    if lacking:
        raise ScopesUnusable(
            f"the client does not have the roles {', '.join(lacking)}",
            remedy="choose scopes among the client's roles, or change its roles first",
            roles=sorted(roles),
        )


def network_of(typed: str) -> str:
    """Return a network as it is kept: ``"10.1.0.0/16"`` stays, ``"10.1.2.3"`` becomes ``"10.1.2.3/32"``.

    Raises:
        NetworkUnusable: it is no IPv4 or IPv6 network, or has bits behind its prefix, as ``"10.1.2.3/16"`` does.
    """
    try:
        return str(ipaddress.ip_network(typed.strip()))
    except ValueError as error:
        raise NetworkUnusable(
            f"{typed!r} is not an address network",
            remedy="write an address, or a network such as 10.1.0.0/16 or 2001:db8::/32, nothing after its prefix",
        ) from error


def check_expiry(expires_at: datetime | None, *, now: datetime) -> None:
    """Refuse a key that would be over before its first use, or in more than ten years; None is until it is revoked.

    On 2026-03-02 at 8:00 a key may end on 2027-12-31; it may not end at 8:00, nor in 2037.

    Raises:
        ExpiryUnusable: the moment has passed, or is too far away.
    """
    if expires_at is not None and not now < expires_at <= now + LONGEST_KEY:
        raise ExpiryUnusable(
            f"{expires_at.isoformat()} has passed or is more than ten years away",
            remedy="give a moment within the next ten years, or none",
        )


def check_resets_another(person: object, *, by: object) -> None:
    """Refuse to reset one's own password without the old one: ``a`` may for ``b``, not for ``a``.

    Raises:
        OwnPasswordReset: it is one's own.
    """
    if person == by:
        raise OwnPasswordReset(
            "your own password is changed with the old one",
            remedy="POST /api/v1/auth/password, or have another administrator reset it",
        )


def check_administrator_remains(administrators: Collection[object], *, without: object) -> None:
    """Refuse to take away the one who is left: of ``{a, b}`` either may go, of ``{a}`` not ``a``.

    Raises:
        LastAdministrator: nobody else is an active administrator.
    """
    if set(administrators) == {without}:
        raise LastAdministrator(
            "nobody else is an active administrator", remedy="make another person administrator first"
        )
