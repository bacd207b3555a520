"""Tokens say who it is, and every route says who may."""

from typing import Any

import jwt
import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import Host

from app.database import new_id
from app.http.policies import (
    Person,
    allow,
    anyone,
    read_token,
    signed_in,
    write_token,
)
from app.http.refusals import NotSignedIn
from app.http.rights import UnprotectedRoute, refuse_unprotected

SECRET = "a secret of the tests, long enough to sign with"
PERSON = Person(id=new_id(), sign_in_name="li.na", roles=frozenset({"cashier", "operator"}), sign_in_id=new_id())
CLAIMS = {"sub": str(PERSON.id), "sid": str(PERSON.id), "name": "x", "roles": [], "iat": 0, "exp": 2**33}


def do_nothing() -> None:
    return None


def an_api(*dependencies: Any, method: str = "POST") -> FastAPI:
    inner = APIRouter(prefix="/things")
    inner.add_api_route("/{thing}", do_nothing, methods=[method], dependencies=list(dependencies))
    outer = APIRouter()
    outer.include_router(inner)
    api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    api.include_router(outer, prefix="/api/v1")
    return api


def test_a_token_gives_its_person_back() -> None:
    assert read_token(write_token(PERSON, secret=SECRET, lifetime_s=60), secret=SECRET) == PERSON


def test_an_expired_token_says_so() -> None:
    with pytest.raises(NotSignedIn, match="has expired"):
        read_token(write_token(PERSON, secret=SECRET, lifetime_s=-60), secret=SECRET)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        write_token(PERSON, secret=SECRET[::-1], lifetime_s=60),
        jwt.encode(CLAIMS, "", "none"),
        jwt.encode({"sub": str(PERSON.id), "exp": 2**33}, SECRET, "HS256"),
        jwt.encode(CLAIMS | {"sub": "x"}, SECRET, "HS256"),
        jwt.encode(CLAIMS | {"roles": 7}, SECRET, "HS256"),
        jwt.encode({name: value for name, value in CLAIMS.items() if name != "sid"}, SECRET, "HS256"),
        write_token(Person(id=PERSON.id, sign_in_name="x", roles=frozenset()), secret=SECRET, lifetime_s=60),
    ],
    ids=[
        "empty",
        "nonsense",
        "foreign",
        "unsigned",
        "without claims",
        "not an id",
        "not roles",
        "no sid",
        "sid None",
    ],
)
def test_a_token_of_another_make_is_refused(token: str) -> None:
    with pytest.raises(NotSignedIn, match="not made by this service"):
        read_token(token, secret=SECRET)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("policy", [allow("cashier"), allow("cashier", "operator"), signed_in(), anyone(writes=True)])
def test_one_policy_is_right(policy: Any, method: str) -> None:
    refuse_unprotected(an_api(policy, method=method))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_no_policy_keeps_the_service_from_starting(method: str) -> None:
    with pytest.raises(UnprotectedRoute, match=rf"{method} /api/v1/things/\{{thing\}} has 0 policies"):
        refuse_unprotected(an_api(method=method))


def test_two_policies_are_one_too_many() -> None:
    with pytest.raises(UnprotectedRoute, match=r"POST /api/v1/things/\{thing\} has 2 policies"):
        refuse_unprotected(an_api(allow("cashier"), signed_in()))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_write_that_is_open_must_say_so(method: str) -> None:
    with pytest.raises(UnprotectedRoute, match="lets nobody write"):
        refuse_unprotected(an_api(anyone(), method=method))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_may_be_open(method: str) -> None:
    refuse_unprotected(an_api(anyone(), method=method))


@pytest.mark.parametrize("path", ["/console", "", "/docs", "/openapi.json"])
def test_a_mount_must_be_handed_over_itself_to_pass(path: str) -> None:
    api = an_api(signed_in())
    api.mount(path, FastAPI())
    with pytest.raises(UnprotectedRoute, match="has 0 policies"):
        refuse_unprotected(api)
    refuse_unprotected(api, open_routes=[api.routes[-1]])


def test_a_mount_inside_a_router_is_found() -> None:
    api = an_api(signed_in())
    inner = APIRouter()
    inner.mount("/console", FastAPI())
    api.include_router(inner, prefix="/api/v1")
    with pytest.raises(UnprotectedRoute, match="/console has 0 policies"):
        refuse_unprotected(api)


def test_another_host_is_no_way_round() -> None:
    api = an_api(signed_in())
    api.router.routes.append(Host("back.example", FastAPI()))
    with pytest.raises(UnprotectedRoute, match="has 0 policies"):
        refuse_unprotected(api)


@pytest.mark.parametrize(("dependencies", "fault"), [([], "has 0 policies"), ([signed_in()], "takes no requests")])
def test_a_web_socket_is_refused_with_and_without_a_policy(dependencies: list[Any], fault: str) -> None:
    api = an_api(signed_in())
    api.add_api_websocket_route("/live", a_passer_by, dependencies=dependencies)
    with pytest.raises(UnprotectedRoute, match=fault):
        refuse_unprotected(api)


def test_an_overridden_policy_is_refused() -> None:
    policy = signed_in()
    api = an_api(policy)
    api.dependency_overrides[policy.dependency] = do_nothing
    with pytest.raises(UnprotectedRoute, match="a policy is overridden"):
        refuse_unprotected(api)


async def a_passer_by(_request: Any) -> None:
    return None


def test_a_plain_route_beside_the_api_is_refused() -> None:
    api = an_api(signed_in())
    api.add_route("/back-door", a_passer_by, methods=["POST"])
    with pytest.raises(UnprotectedRoute, match="POST /back-door"):
        refuse_unprotected(api)
