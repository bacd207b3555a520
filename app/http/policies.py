"""Who may call what: access tokens, the person behind a request, and a policy on every route."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from fastapi.security import OAuth2PasswordBearer
from fastapi.security.base import SecurityBase

from app.clock import Clock
from app.http.refusals import NotAllowed, NotSignedIn

TOKEN_PATH = "/api/v1/auth/token"  # noqa: S105 - an address, not a secret

#: Pages of the documentation, which FastAPI and Starlette serve without dependencies.
OPEN_PATHS = frozenset({"/openapi.json", "/docs", "/docs/oauth2-redirect", "/docs/assets"})

_ALGORITHM = "HS256"
_CLOCKS_DIFFER_BY = timedelta(seconds=5)
_SIGN_IN = f"sign in at POST {TOKEN_PATH} and send the token as 'Authorization: Bearer …'"
#: Tokens live in machine time: a clock that runs fast for a demo must not sign people out.
_machine = Clock()
_bearer = OAuth2PasswordBearer(tokenUrl=TOKEN_PATH, auto_error=False, description="An access token of a person")
_TOKENS_REMEMBERED = 4096


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is behind a request, as the access token says; ``roles`` are those at the time of the sign-in."""

    id: UUID
    sign_in_name: str
    roles: frozenset[str]


class UnprotectedRoute(RuntimeError):
    """A route without exactly one policy; the service does not start with it."""


class Policy(SecurityBase):
    """A dependency that lets a request pass or refuses it; made by :func:`allow` and its two siblings.

    It runs before what a route asks for and leaves the person with the request. It reads the token itself, since
    each dependency of a dependency costs every request as much as a short statement.
    """

    model = _bearer.model
    scheme_name = _bearer.scheme_name

    def __init__(self, *, roles: frozenset[str] | None) -> None:
        self._roles = roles

    async def __call__(self, request: Request) -> None:
        token = await _bearer(request)
        if token is None:
            raise NotSignedIn("the request carries no access token", remedy=_SIGN_IN)
        person = read_token(token, secret=request.app.state.token_secret)
        request.state.person = person
        if self._roles is None or self._roles & person.roles:
            return
        needed = sorted(self._roles)
        raise NotAllowed(
            f"{person.sign_in_name} does not have a role that may do this",
            remedy=f"ask a person who is {' or '.join(needed)}, or an administrator for that role",
            roles_needed=needed,
        )


class OpenPolicy:
    """A dependency that lets everybody pass, said out loud."""

    async def __call__(self) -> None:
        return


def allow(role: str, *others: str) -> Any:
    """Return the dependency for people who have at least one of these roles."""
    return Depends(Policy(roles=frozenset({role, *others})))


def signed_in() -> Any:
    """Return the dependency for every person, whatever the roles."""
    return Depends(Policy(roles=None))


def anyone() -> Any:
    """Return the dependency for requests without a person: sign-in, health, metrics."""
    return Depends(OpenPolicy())


def write_token(person: Person, *, secret: str, lifetime_s: int) -> str:
    """Sign an access token that lasts ``lifetime_s`` of machine time."""
    issued_at = _machine.now()
    claims = {
        "sub": str(person.id),
        "name": person.sign_in_name,
        "roles": sorted(person.roles),
        "iat": issued_at,
        "exp": issued_at + timedelta(seconds=lifetime_s),
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def read_token(token: str, *, secret: str) -> Person:
    """Return the person of a token.

    The database is not asked: who leaves keeps what the token says until it expires.

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
            options={"require": ["sub", "name", "roles", "iat", "exp"], "verify_exp": False},
        )
        person = Person(id=UUID(claims["sub"]), sign_in_name=claims["name"], roles=frozenset(claims["roles"]))
        return person, datetime.fromtimestamp(claims["exp"], UTC)
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError):
        raise NotSignedIn("the access token was not made by this service", remedy=_SIGN_IN) from None


async def current_person(request: Request) -> Person:
    """Return whom the policy of the route let pass."""
    person: Person = request.state.person
    return person


CurrentPerson = Annotated[Person, Depends(current_person)]


def refuse_unprotected(app: FastAPI, *, also_open: Iterable[str] = ()) -> None:
    """Look at every route once, at the start.

    Args:
        app: with all its routers and mounts.
        also_open: paths of mounts that look after themselves.

    Raises:
        UnprotectedRoute: names method and path of each route that has no policy, or more than one.
    """
    exempt = OPEN_PATHS | set(also_open)
    faults = []
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        found = 0 if dependant is None else sum(1 for _ in _policies(dependant))
        if found != 1 and not (dependant is None and route.path in exempt):
            methods = "|".join(sorted(route.methods or {"ANY"}))
            faults.append(f"{methods} {route.path} has {found} policies")
    if faults:
        raise UnprotectedRoute(
            "every route needs exactly one of allow(…), signed_in() and anyone(): " + "; ".join(faults)
        )


def _policies(dependant: Dependant) -> Iterator[Policy | OpenPolicy]:
    if isinstance(dependant.call, Policy | OpenPolicy):
        yield dependant.call
    for child in dependant.dependencies:
        yield from _policies(child)
