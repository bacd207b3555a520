"""People sign in with name and password and are who their token says."""

from collections.abc import Iterator

import httpx
import pytest
from argon2 import PasswordHasher
from databases import Database
from people import HIRED_AT, PASSWORD, a_person, an_office, bearer
from running import running, settings_for
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.clock import Clock, monotonic_s, sleep
from app.database import transaction
from app.main import create_app
from app.roles import Role
from app.settings import Settings
from app.staff import service as staff
from app.staff.models import Office
from app.staff.queries import find_by_sign_in_name
from app.staff.service import OfficeCodeTaken, create_office, is_right

TOKEN = "/api/v1/auth/token"


@pytest.fixture
def settings(database: Database) -> Settings:
    """A clock that runs through a token's whole life in a moment, which must not sign anybody out."""
    now = Clock().now()
    fast = {"clock_factor": 100_000, "clock_started_at": now, "clock_shown_at": now}
    return settings_for(database.application_url).model_copy(update=fast)


@pytest.fixture
def office(database: Database) -> Office:
    return an_office(database.engine)


@pytest.fixture
def api(database: Database, settings: Settings) -> Iterator[httpx.Client]:
    with running(create_app(settings, engine=database.engine)) as client:
        yield client


def test_a_cashier_signs_in_and_is_known(database: Database, office: Office, api: httpx.Client) -> None:
    a_person(database.engine, office=office, role=Role.CASHIER, name="li.na")
    answer = api.post(TOKEN, data={"grant_type": "password", "username": " Li.Na", "password": PASSWORD})
    assert answer.status_code == 200
    token = answer.json()
    sleep(0.3)  # more than eight hours by the service's clock
    assert (token["token_type"], token["expires_in"]) == ("bearer", 8 * 3600)
    assert token["person"]["roles"] == ["cashier"]
    me = api.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token['access_token']}"})
    assert me.status_code == 200
    assert me.json() == token["person"]
    assert me.json()["name_zh"] == "李娜"


@pytest.mark.parametrize(("name", "password"), [("li.na", "wrong horse"), ("nobody", PASSWORD), ("left", PASSWORD)])
def test_every_refused_sign_in_looks_the_same(
    database: Database, office: Office, api: httpx.Client, name: str, password: str
) -> None:
    a_person(database.engine, office=office, role=Role.CASHIER, name="li.na")
    a_person(database.engine, office=office, role=Role.CASHIER, name="left")
    with transaction(database.engine) as session:
        session.execute(text("UPDATE staff_members SET active = false WHERE sign_in_name = 'left'"))
    answer = api.post(TOKEN, data={"username": name, "password": password})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {
        "type": "/problems/not-signed-in",
        "title": "A sign-in is needed",
        "status": 401,
        "detail": "the name and the password do not belong together, or the person is no longer active",
        "remedy": "check both, or ask an administrator",
        "instance": TOKEN,
    }


def test_passwords_are_hashed_at_the_least_cost_that_owasp_advises(hasher_of_the_product: PasswordHasher) -> None:
    assert hasher_of_the_product.hash(PASSWORD).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    database: Database, office: Office, hasher_of_the_product: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "hasher", hasher_of_the_product)
    a_person(database.engine, office=office, role=Role.CASHIER, name="li.na")
    # Turn by turn, so that a moment at which the machine is busy falls on both.
    pairs = [(_refusal_s(database, name="nobody"), _refusal_s(database, name="li.na")) for _ in range(7)]
    unknown_s, wrong_s = (min(taken) for taken in zip(*pairs, strict=True))
    assert 0.5 < unknown_s / wrong_s < 2


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"username=li.na", "body.password"),
        (b"password=x", "body.username"),
        (b"\xff", "body"),
        (b"&".join([b"a=b"] * 30), "body"),
    ],
)
def test_a_form_that_is_none_is_told_what_is_missing(api: httpx.Client, content: bytes, where: str) -> None:
    answer = api.post(TOKEN, content=content)
    assert answer.status_code == 422
    assert where in [error["where"] for error in answer.json()["errors"]]


def test_the_administrator_hires_and_the_new_person_signs_in(
    database: Database, office: Office, api: httpx.Client, settings: Settings
) -> None:
    chief = bearer(a_person(database.engine, office=office, role=Role.ADMINISTRATOR), settings=settings)
    wanted = {
        "sign_in_name": "Wang.Wei",
        "name_zh": "王伟",
        "name_en": "Wang Wei",
        "office_code": office.code,
        "password": "eight or more",
        "roles": ["operator", "approver"],
    }
    hired = api.post("/api/v1/staff", json=wanted, headers=chief)
    assert hired.status_code == 201
    assert hired.json()["sign_in_name"] == "wang.wei"
    assert "password" not in hired.text
    assert api.post(TOKEN, data={"username": "wang.wei", "password": "eight or more"}).status_code == 200
    again = api.post("/api/v1/staff", json=wanted, headers=chief)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/sign-in-name-taken")
    nowhere = api.post("/api/v1/staff", json=wanted | {"office_code": "XX"}, headers=chief)
    assert (nowhere.status_code, nowhere.json()["type"]) == (404, "/problems/office-unknown")
    short = api.post("/api/v1/staff", json=wanted | {"password": "seven 7"}, headers=chief)
    assert short.status_code == 422
    assert short.json()["errors"][0]["where"] == "body.password"
    assert "seven 7" not in short.text


def test_a_cashier_may_not_hire(database: Database, office: Office, api: httpx.Client, settings: Settings) -> None:
    cashier = bearer(a_person(database.engine, office=office, role=Role.CASHIER), settings=settings)
    answer = api.post("/api/v1/staff", json={}, headers=cashier)
    assert answer.status_code == 403
    assert answer.json()["roles_needed"] == ["administrator"]


def test_people_are_listed_page_by_page(
    database: Database, office: Office, api: httpx.Client, settings: Settings
) -> None:
    auditor = bearer(a_person(database.engine, office=office, role=Role.AUDITOR), settings=settings)
    for number in range(4):
        a_person(database.engine, office=office, role=Role.CASHIER, name=f"till.{number}")
    first = api.get("/api/v1/staff", params={"limit": 3}, headers=auditor).json()
    second = api.get("/api/v1/staff", params={"limit": 3, "cursor": first["next_cursor"]}, headers=auditor).json()
    names = [person["sign_in_name"] for person in first["items"] + second["items"]]
    assert names == ["auditor.one", "till.0", "till.1", "till.2", "till.3"]
    assert second["next_cursor"] is None
    offices = api.get("/api/v1/offices", headers=auditor).json()
    assert [each["code"] for each in offices["items"]] == [office.code]


def test_an_office_code_names_one_office(database: Database, office: Office) -> None:
    with pytest.raises(OfficeCodeTaken), transaction(database.engine) as session:
        create_office(session, code=office.code, name_zh="二", name_en="two", now=HIRED_AT)


@pytest.mark.parametrize("change", ["roles = '{king}'", "sign_in_name = 'Li.Na'"])
def test_the_database_itself_refuses_what_no_person_can_be(database: Database, office: Office, change: str) -> None:
    a_person(database.engine, office=office, role=Role.CASHIER)
    with pytest.raises(IntegrityError, match="ck_staff_members"), transaction(database.engine) as session:
        session.execute(text(f"UPDATE staff_members SET {change}"))  # noqa: S608 - text of this file


def _refusal_s(database: Database, *, name: str) -> float:
    started_s = monotonic_s()
    with transaction(database.engine) as session:
        person = find_by_sign_in_name(session, name=name)
    assert not is_right("wrong horse", password_hash=None if person is None else person.password_hash)
    return monotonic_s() - started_s
