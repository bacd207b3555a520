"""Which route asks for what: refuses to start with a route that nobody guards, and writes the table of rights."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from app.http.policies import OpenPolicy, Policy

READING = frozenset({"GET", "HEAD"})

_TICK = "✓"


class UnprotectedRoute(RuntimeError):
    """A route that nobody guards, or two policies guard; the service does not start with it."""


@dataclass(frozen=True, kw_only=True)
class Right:
    """Who may call one operation; ``roles`` None is everybody, or everybody who is signed in."""

    method: str
    path: str
    says: str
    needs_person: bool
    roles: frozenset[str] | None = None
    keys: bool = True

    def allows(self, role: str) -> bool:
        return self.roles is None or role in self.roles

    def allows_any(self, roles: Iterable[str]) -> bool:
        return any(self.allows(role) for role in roles)


def refuse_unprotected(app: FastAPI, *, open_routes: Iterable[object] = ()) -> None:
    """Look at every route, at the start.

    Args:
        app: with all its routers and mounts.
        open_routes: routes and mounts without dependencies, themselves, that look after themselves and only read.

    Raises:
        UnprotectedRoute: names each route that has no policy or more than one, that lets nobody write without saying
            so, or whose policy cannot work: one that is overridden, or that stands on something else than a request.
    """
    exempt = {id(route) for route in open_routes}
    faults = [
        f"{_named(route)} {fault}"
        for route in iter_route_contexts(app.routes)
        if id(getattr(route, "original_route", route)) not in exempt
        for fault in _faults(route)
    ]
    if any(isinstance(call, Policy | OpenPolicy) for call in app.dependency_overrides):
        faults.append("a policy is overridden")
    if faults:
        raise UnprotectedRoute(
            "every route needs exactly one of allow(…), signed_in() and anyone(): " + "; ".join(faults)
        )


def rights_of(app: FastAPI) -> list[Right]:
    """Return the right of each operation that has a policy, in the order of the routes."""
    return [
        _right(route, method=method)
        for route in iter_route_contexts(app.routes)
        for method in sorted(getattr(route, "methods", None) or ())
        if _policies(route)
    ]


def rights_document(rights: Sequence[Right], *, roles: Sequence[str], key_roles: Collection[str], before: str) -> str:
    """Write the table that people read: a tick for each role that may; keys have ``key_roles`` only."""
    head = ["route", "does", "nobody", *(role.replace("_", " ") for role in roles), "API key"]
    rows = [
        [
            f"`{right.method} {right.path}`",
            right.says,
            *_ticks(right, roles=roles),
            _of_a_key(right, key_roles=key_roles),
        ]
        for right in rights
    ]
    lines = [head, ["---", "---", *(":-:" for _ in head[2:])], *rows]
    return before + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _faults(route: Any) -> Iterator[str]:
    policies = _policies(route)
    if len(policies) != 1:
        yield f"has {len(policies)} policies"
        return
    methods = getattr(route, "methods", None)
    if not methods:
        yield "takes no requests, so its policy cannot be asked"
    elif isinstance(policies[0], OpenPolicy) and not policies[0].writes and not READING.issuperset(methods):
        yield "lets nobody write: say anyone(writes=True) if that is meant"


def _named(route: Any) -> str:
    methods = "|".join(sorted(getattr(route, "methods", None) or {"ANY"}))
    return f"{methods} {getattr(route, 'path', None) or repr(getattr(route, 'original_route', route))}"


def _policies(route: Any) -> list[Policy | OpenPolicy]:
    dependant = getattr(route, "dependant", None)
    return [] if dependant is None else list(_inside(dependant))


def _inside(dependant: Dependant) -> Iterator[Policy | OpenPolicy]:
    if isinstance(dependant.call, Policy | OpenPolicy):
        yield dependant.call
    for child in dependant.dependencies:
        yield from _inside(child)


def _right(route: Any, *, method: str) -> Right:
    (policy,) = _policies(route)
    says = getattr(route, "summary", None) or str(route.name).replace("_", " ")
    if isinstance(policy, OpenPolicy):
        return Right(method=method, path=route.path, says=says, needs_person=False)
    return Right(method=method, path=route.path, says=says, needs_person=True, roles=policy.roles, keys=policy.keys)


def _ticks(right: Right, *, roles: Sequence[str]) -> list[str]:
    return [
        "" if right.needs_person else _TICK,
        *(_TICK if right.allows(role) else "" for role in roles),
    ]


def _of_a_key(right: Right, *, key_roles: Collection[str]) -> str:
    if right.keys and right.roles is None:
        return _TICK
    return "by scope" if right.keys and right.allows_any(key_roles) else ""
