"""The same key gives the same bytes and one effect, whatever happens at the same time."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import httpx
import pytest
from databases import Database
from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from people import HIRED_AT, a_person, an_office, bearer
from pydantic import BaseModel
from running import running, settings_for
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.database import Actor, new_id, note_recorded, transaction
from app.errors import Refused
from app.http.idempotency import Keyed, KeyedRequest, answer_first
from app.http.policies import Person, allow
from app.http.refusals import FirstRequestStillRunning
from app.main import create_app
from app.roles import Role
from app.settings import Settings
from app.staff.service import create_office

router = APIRouter()


class WantedOffice(BaseModel):
    code: str
    refused: bool = False


class MadeOffice(BaseModel):
    id: str
    code: str


@router.post("/test/offices", dependencies=[allow(Role.CASHIER)])
async def make_an_office(wanted: WantedOffice, request: Keyed) -> Response:
    def make(session: Session) -> tuple[int, BaseModel]:
        offices = session.scalars(text("SELECT code FROM offices WHERE code LIKE 'allowed%'")).all()
        office = create_office(
            session, code=f"{wanted.code}-{new_id()}", name_zh="一", name_en="one", now=request.now
        )
        if wanted.refused and len(offices) == 0:
            raise Refused("not now", remedy="later")
        return 201, MadeOffice(id=str(office.id), code=office.code)

    return await request.once(make)


def a_keyed_request(database: Database, settings: Settings, *, staff_id: UUID) -> KeyedRequest:
    return KeyedRequest(
        key="k",
        route="POST /test",
        body_hash=b"hash",
        person=Person(id=staff_id, sign_in_name="x", roles=frozenset()),
        actor=Actor(staff_member_id=staff_id, name="x"),
        now=settings.clock.now(),
        settings=settings,
        engine=database.engine,
    )


@pytest.fixture
def settings(database: Database) -> Settings:
    return settings_for(database.application_url)


@pytest.fixture
def cashier(database: Database, settings: Settings) -> dict[str, str]:
    member = a_person(database.engine, office=an_office(database.engine, code="home"), role=Role.CASHIER)
    return bearer(member, settings=settings)


@pytest.fixture
def api(database: Database, settings: Settings) -> Iterator[httpx.Client]:
    service: FastAPI = create_app(settings, engine=database.engine)
    service.include_router(router)
    with running(service) as client:
        yield client


def count_offices(database: Database) -> int:
    with database.engine.connect() as connection:
        counted = connection.scalar(text("SELECT count(*) FROM offices WHERE code <> 'home'"))
        assert isinstance(counted, int)
        return counted


def keyed(cashier: dict[str, str], key: str) -> dict[str, str]:
    return cashier | {"Idempotency-Key": key}


def test_twenty_at_once_have_one_effect_and_equal_bytes(
    api: httpx.Client, database: Database, cashier: dict[str, str]
) -> None:
    together = threading.Barrier(20)

    def send(_number: int) -> httpx.Response:
        together.wait()
        return api.post("/test/offices", json={"code": "A"}, headers=keyed(cashier, "key-of-twenty"))

    with ThreadPoolExecutor(20) as senders:
        answers = list(senders.map(send, range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == [""] + ["true"] * 19
    assert count_offices(database) == 1


def test_another_body_is_refused_and_the_first_answer_stays(
    api: httpx.Client, database: Database, cashier: dict[str, str]
) -> None:
    first = api.post("/test/offices", json={"code": "A"}, headers=keyed(cashier, "k"))
    other = api.post("/test/offices", json={"code": "B"}, headers=keyed(cashier, "k"))
    again = api.post("/test/offices", json={"code": "A"}, headers=keyed(cashier, "k"))
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert count_offices(database) == 1


def test_the_same_key_of_two_people_is_two_requests(
    api: httpx.Client, database: Database, cashier: dict[str, str], settings: Settings
) -> None:
    office = an_office(database.engine, code="second home")
    second = bearer(a_person(database.engine, office=office, role=Role.CASHIER, name="two"), settings=settings)
    for person in (cashier, second):
        answer = api.post("/test/offices", json={"code": "A"}, headers=keyed(person, "k"))
        assert "idempotent-replayed" not in answer.headers
    assert count_offices(database) == 3


def test_a_refusal_is_not_kept(api: httpx.Client, database: Database, cashier: dict[str, str]) -> None:
    body = {"code": "A", "refused": True}
    assert api.post("/test/offices", json=body, headers=keyed(cashier, "k")).status_code == 409
    assert count_offices(database) == 0
    an_office(database.engine, code="allowed now")
    assert api.post("/test/offices", json=body, headers=keyed(cashier, "k")).status_code == 201


@pytest.mark.parametrize(
    "headers", [{}, {"Idempotency-Key": ""}, {"Idempotency-Key": "a b"}, {"Idempotency-Key": "x" * 201}]
)
def test_a_key_is_needed(
    api: httpx.Client, database: Database, cashier: dict[str, str], headers: dict[str, str]
) -> None:
    answer = api.post("/test/offices", json={"code": "A"}, headers=cashier | headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/idempotency-key-unusable")
    assert "fresh UUID" in answer.json()["remedy"]
    assert count_offices(database) == 0


def test_a_first_request_that_does_not_end_is_told(
    database: Database, settings: Settings, cashier: dict[str, str]
) -> None:
    assert cashier
    with database.engine.connect() as connection:
        staff_id = connection.scalar(text("SELECT id FROM staff_members"))
    assert staff_id is not None
    request = a_keyed_request(database, settings, staff_id=staff_id)

    def answer(session: Session) -> tuple[int, BaseModel]:
        note_recorded(session)
        return 201, MadeOffice(id="1", code="A")

    impatient = create_engine(
        database.application_url, connect_args={"options": "-c lock_timeout=100ms -c timezone=UTC"}
    )
    with transaction(database.engine) as first:
        answer_first(first, request=request, effect=answer)
        with pytest.raises(FirstRequestStillRunning):
            asyncio.run(replace(request, engine=impatient).once(answer))
    assert asyncio.run(request.once(answer)).headers["idempotent-replayed"] == "true"
    impatient.dispose()


def test_a_crash_leaves_neither_key_nor_effect(
    database: Database, settings: Settings, cashier: dict[str, str]
) -> None:
    assert cashier
    with database.engine.connect() as connection:
        staff_id = connection.scalar(text("SELECT id FROM staff_members"))
    assert staff_id is not None
    request = a_keyed_request(database, settings, staff_id=staff_id)

    def fall_over(session: Session) -> tuple[int, BaseModel]:
        create_office(session, code="half", name_zh="半", name_en="half", now=HIRED_AT)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(request.once(fall_over))
    with database.engine.connect() as connection:
        kept = connection.scalar(text("SELECT count(*) FROM idempotency_keys"))
    assert (kept, count_offices(database)) == (0, 0)
