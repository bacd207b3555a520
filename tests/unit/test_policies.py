"""Tokens say who it is, and every route says who may."""

from typing import Any

import jwt
import pytest
from fastapi import APIRouter, FastAPI

from app.database import new_id
from app.http.policies import (
    Person,
    UnprotectedRoute,
    allow,
    anyone,
    read_token,
    refuse_unprotected,
    signed_in,
    write_token,
)
from app.http.refusals import NotSignedIn

SECRET = "a secret of the tests, long enough to sign with"
PERSON = Person(id=new_id(), sign_in_name="li.na", roles=frozenset({"cashier", "operator"}))


def do_nothing() -> None:
    return None


def an_api(*dependencies: Any, method: str = "POST") -> FastAPI:
    inner = APIRouter(prefix="/things")
    inner.add_api_route("/{thing}", do_nothing, methods=[method], dependencies=list(dependencies))
    outer = APIRouter()
    outer.include_router(inner)
    api = FastAPI(redoc_url=None)
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
        jwt.encode({"sub": str(PERSON.id), "name": "x", "roles": [], "iat": 0, "exp": 2**33}, "", "none"),
        jwt.encode({"sub": str(PERSON.id), "exp": 2**33}, SECRET, "HS256"),
        jwt.encode({"sub": "x", "name": "x", "roles": [], "iat": 0, "exp": 2**33}, SECRET, "HS256"),
        jwt.encode({"sub": str(PERSON.id), "name": "x", "roles": 7, "iat": 0, "exp": 2**33}, SECRET, "HS256"),
    ],
    ids=["empty", "nonsense", "foreign", "unsigned", "without claims", "not an id", "not roles"],
)
def test_a_token_of_another_make_is_refused(token: str) -> None:
    with pytest.raises(NotSignedIn, match="not made by this service"):
        read_token(token, secret=SECRET)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("policy", [allow("cashier"), allow("cashier", "operator"), signed_in(), anyone()])
def test_one_policy_is_right(policy: Any, method: str) -> None:
    refuse_unprotected(an_api(policy, method=method))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_no_policy_keeps_the_service_from_starting(method: str) -> None:
    with pytest.raises(UnprotectedRoute, match=rf"{method} /api/v1/things/\{{thing\}} has 0 policies"):
        refuse_unprotected(an_api(method=method))


def test_two_policies_are_one_too_many() -> None:
    with pytest.raises(UnprotectedRoute, match=r"POST /api/v1/things/\{thing\} has 2 policies"):
        refuse_unprotected(an_api(allow("cashier"), signed_in()))


def test_a_mount_must_be_named_to_pass() -> None:
    api = an_api(anyone())
    api.mount("/console", FastAPI())
    with pytest.raises(UnprotectedRoute, match="ANY /console has 0 policies"):
        refuse_unprotected(api)
    refuse_unprotected(api, also_open=["/console"])


async def a_passer_by(_request: Any) -> None:
    return None


def test_a_plain_route_beside_the_api_is_refused() -> None:
    api = an_api(anyone())
    api.add_route("/back-door", a_passer_by, methods=["POST"])
    with pytest.raises(UnprotectedRoute, match="POST /back-door"):
        refuse_unprotected(api)
