"""Who may call what: access tokens, the person behind a request, and a policy on every route."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Protocol
from uuid import UUID

import jwt
from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from fastapi.security.base import SecurityBase

from app.clock import Clock
from app.http.rates import Rates
from app.http.refusals import NotAllowed, NotSignedIn

TOKEN_PATH = "/api/v1/auth/token"  # noqa: S105 - an address, not a secret
KEY_PREFIX = "wgk_"

_ALGORITHM = "HS256"
_CLOCKS_DIFFER_BY = timedelta(seconds=5)
_SIGN_IN = f"sign in at POST {TOKEN_PATH} and send the token as 'Authorization: Bearer …'"
#: Tokens live in machine time: a clock that runs fast for a demo must not sign people out.
_machine = Clock()
_bearer = OAuth2PasswordBearer(tokenUrl=TOKEN_PATH, auto_error=False, description="An access token of a person")
_TOKENS_REMEMBERED = 4096


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is behind a request; ``roles`` are those at the time of the sign-in, or the scopes of an API key."""

    id: UUID
    sign_in_name: str
    roles: frozenset[str]
    #: The sign-in of the access token; None behind an API key.
    sign_in_id: UUID | None = None


class Standing(Protocol):
    """Who is still in good standing; it answers without asking the database."""

    def refuse_ended(self, sign_in_id: UUID | None) -> None:
        """Refuse a sign-in that has ended before its token expires."""

    def person_of_key(self, key: str, *, address: str) -> Person:
        """Return the client of an API key, or refuse the key."""


class Policy(SecurityBase):
    """A dependency that lets a request pass or refuses it; made by :func:`allow` and its two siblings.

    It runs before what a route asks for and leaves the person with the request. It reads the token itself, since
    each dependency of a dependency costs every request as much as a short statement.
    """

    model = _bearer.model
    scheme_name = _bearer.scheme_name

    def __init__(self, *, roles: frozenset[str] | None, keys: bool = True) -> None:
        self.roles = roles
        self.keys = keys

    async def __call__(self, request: Request) -> None:
        token = await _bearer(request)
        state = request.app.state
        rates: Rates = state.rates
        try:
            person = _person_behind(token, request=request, standing=state.standing)
        except NotSignedIn:
            rates.take_for_address(address_of(request), counted=_counted_at_the_door(request))
            raise
        rates.take_for_person(person.id)
        request.state.person = person
        if person.sign_in_id is None and not self.keys:
            raise NotAllowed(
                "an API key has no sign-in and no password", remedy="sign in as a person, or leave this out"
            )
        if self.roles is None or self.roles & person.roles:
            return
        needed = sorted(self.roles)
        raise NotAllowed(
            f"{person.sign_in_name} does not have a role that may do this",
            remedy=f"ask a person who is {' or '.join(needed)}, or an administrator for that role",
            roles_needed=needed,
        )


class OpenPolicy:
    """A dependency that lets everybody pass, said out loud."""

    def __init__(self, *, writes: bool, limited: bool) -> None:
        self.writes = writes
        self._limited = limited

    async def __call__(self, request: Request) -> None:
        if self._limited:
            rates: Rates = request.app.state.rates
            rates.take_for_address(address_of(request), counted=_counted_at_the_door(request))


def allow(role: str, *others: str, keys: bool = True) -> Any:
    """Return the dependency for people that have at least one of these roles, and for API keys unless told not."""
    return Depends(Policy(roles=frozenset({role, *others}), keys=keys))


def signed_in(*, keys: bool = True) -> Any:
    """Return the dependency for every person, whatever the roles; API keys pass unless ``keys`` is false."""
    return Depends(Policy(roles=None, keys=keys))


def anyone(*, writes: bool = False, limited: bool = True) -> Any:
    """Return the dependency for requests without a person: sign-in, health, metrics.

    Args:
        writes: the route may change something although nobody is known; others than GET need it.
        limited: an address may ask only so often; false for the machines that watch.
    """
    return Depends(OpenPolicy(writes=writes, limited=limited))


def address_of(request: Request) -> str:
    """Return from where a request comes, as the server or a proxy that it trusts says; empty on a Unix socket."""
    return "" if request.client is None else request.client.host


def _counted_at_the_door(request: Request) -> bool:
    """Tell whether the door has counted the request already, as it does with those that do not say who they are."""
    return "authorization" not in request.headers


def _person_behind(token: str | None, *, request: Request, standing: Standing) -> Person:
    if token is None:
        raise NotSignedIn("the request carries no access token", remedy=_SIGN_IN)
    if token.startswith(KEY_PREFIX):
        return standing.person_of_key(token, address=address_of(request))
    person = read_token(token, secret=request.app.state.token_secret)
    standing.refuse_ended(person.sign_in_id)
    return person


def write_token(person: Person, *, secret: str, lifetime_s: int) -> str:
    """Sign an access token that lasts ``lifetime_s`` of machine time."""
    issued_at = _machine.now()
    claims = {
        "sub": str(person.id),
        "sid": str(person.sign_in_id),
        "name": person.sign_in_name,
        "roles": sorted(person.roles),
        "iat": issued_at,
        "exp": issued_at + timedelta(seconds=lifetime_s),
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def read_token(token: str, *, secret: str) -> Person:
    """Return the person of a token.

    Whether its sign-in has ended is another question: :class:`Standing` answers it.

    Raises:
        NotSignedIn: the token has expired, or was not signed here.
    """
    person, expires_at = _verified(token, secret)
    if _machine.now() > expires_at + _CLOCKS_DIFFER_BY:
        raise NotSignedIn("the access token has expired", remedy=_SIGN_IN)
    return person


@lru_cache(maxsize=_TOKENS_REMEMBERED)
def _verified(token: str, secret: str) -> tuple[Person, datetime]:
    """Check a signature once; a person sends the same token with every request of a shift."""
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[_ALGORITHM],
            leeway=_CLOCKS_DIFFER_BY,
            options={"require": ["sub", "sid", "name", "roles", "iat", "exp"], "verify_exp": False},
        )
        person = Person(
            id=UUID(claims["sub"]),
            sign_in_name=claims["name"],
            roles=frozenset(claims["roles"]),
            sign_in_id=UUID(claims["sid"]),
        )
        return person, datetime.fromtimestamp(claims["exp"], UTC)
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError):
        raise NotSignedIn("the access token was not made by this service", remedy=_SIGN_IN) from None


async def current_person(request: Request) -> Person:
    """Return whom the policy of the route let pass."""
    person: Person = request.state.person
    return person


CurrentPerson = Annotated[Person, Depends(current_person)]
