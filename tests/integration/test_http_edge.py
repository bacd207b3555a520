"""The edge: one transaction per request, problems everywhere, limits, health, documentation."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from databases import Database
from fastapi import APIRouter, FastAPI, HTTPException
from people import a_person, an_office, bearer
from pydantic import BaseModel
from running import running, settings_for
from sqlalchemy import create_engine, text

from app.database import note_recorded
from app.errors import DomainError, Forbidden, NotFound, Refused
from app.http.policies import anyone
from app.http.problems import PROBLEM_JSON
from app.http.rights import UnprotectedRoute
from app.http.transaction import Db
from app.main import create_app
from app.roles import Role

router = APIRouter(prefix="/test", dependencies=[anyone(writes=True)])


class PriceExpired(Refused):
    title = "The price has expired"


class Amount(BaseModel):
    paid_fen: int


@router.post("/offices/{code}")
def write_an_office(code: str, session: Db, *, then_fail: bool = False, recorded: bool = True) -> str:
    if recorded:
        note_recorded(session)
    session.execute(text("INSERT INTO offices VALUES (gen_random_uuid(), :code, 'a', 'b')"), {"code": code})
    if then_fail:
        raise PriceExpired(
            "the price ended yesterday", remedy="ask for a new quote", price=Decimal("0.8130"), status=200
        )
    return code


@router.post("/failing-commit")
def fail_at_commit(session: Db) -> str:
    note_recorded(session)
    session.execute(text("CREATE TEMP TABLE once (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    session.execute(text("INSERT INTO once VALUES (1), (1)"))
    return "this answer must not go out"


@router.post("/lost-connection")
def lose_the_connection(session: Db) -> str:
    note_recorded(session)
    session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    return "not reached"


@router.post("/locked")
def wait_for_a_lock(session: Db) -> str:
    note_recorded(session)
    session.execute(text("SET LOCAL lock_timeout = '100ms'"))
    session.execute(text("SELECT pg_advisory_xact_lock(7)"))
    return "not reached"


@router.post("/fault")
def fall_over() -> str:
    raise ZeroDivisionError("a secret of the inside")


@router.post("/refusal/{kind}")
def refuse(kind: str) -> str:
    kinds: dict[str, type[DomainError]] = {"not-found": NotFound, "forbidden": Forbidden}
    raise kinds[kind]("no", remedy="yes")


@router.post("/http-error/{status}")
def raise_http_error(status: int) -> str:
    raise HTTPException(status, "as a library says it")


@router.post("/amount")
def take_an_amount(amount: Amount) -> int:
    return amount.paid_fen


@pytest.fixture
def service(database: Database) -> FastAPI:
    made = create_app(settings_for(database.application_url), engine=database.engine)
    made.include_router(router)
    return made


@pytest.fixture
def api(service: FastAPI) -> Iterator[httpx.Client]:
    with running(service) as client:
        yield client


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == PROBLEM_JSON
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    assert {"type", "title", "detail", "remedy", "instance"} <= problem.keys()
    return problem


def offices_in(database: Database) -> list[str]:
    with database.engine.connect() as connection:
        return list(connection.scalars(text("SELECT code FROM offices ORDER BY code")))


def test_work_is_committed_before_the_answer(api: httpx.Client, database: Database) -> None:
    assert api.post("/test/offices/A").status_code == 200
    assert offices_in(database) == ["A"]


def test_a_refusal_writes_nothing_and_shows_its_facts(api: httpx.Client, database: Database) -> None:
    problem = problem_of(api.post("/test/offices/A?then_fail=true"))
    assert offices_in(database) == []
    assert problem == {
        "type": "/problems/price-expired",
        "title": "The price has expired",
        "status": 409,
        "detail": "the price ended yesterday",
        "remedy": "ask for a new quote",
        "instance": "/test/offices/A",
        "price": "0.8130",
    }


def test_a_failed_commit_is_no_success(api: httpx.Client) -> None:
    answer = api.post("/test/failing-commit")
    assert answer.status_code == 500
    assert "must not go out" not in answer.text
    assert problem_of(answer)["type"] == "/problems/unexpected"


def test_a_lost_connection_is_told_as_such_and_the_next_request_works(api: httpx.Client) -> None:
    answer = api.post("/test/lost-connection")
    assert problem_of(answer)["type"] == "/problems/database-unreachable"
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert api.post("/test/offices/B").status_code == 200


def test_a_lock_that_others_hold_means_busy(api: httpx.Client, database: Database) -> None:
    with database.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(7)"))
        answer = api.post("/test/locked")
        connection.execute(text("SELECT pg_advisory_unlock(7)"))
    assert problem_of(answer)["type"] == "/problems/database-busy"
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_no_free_connection_means_busy(database: Database) -> None:
    narrow = create_engine(database.application_url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    service = create_app(settings_for(database.application_url), engine=narrow)
    service.include_router(router)
    with running(service) as api, narrow.connect():
        answer = api.post("/test/offices/A")
    assert (answer.status_code, problem_of(answer)["type"]) == (503, "/problems/database-busy")
    narrow.dispose()


def test_a_database_that_is_away_is_told_as_such() -> None:
    nowhere = settings_for("postgresql+psycopg://nobody@/nothing?host=/no/such/folder")
    with running(create_app(nowhere)) as api:
        answer = api.post("/api/v1/auth/token", data={"username": "a", "password": "b"})
        assert problem_of(answer)["type"] == "/problems/database-unreachable"
        assert (api.get("/healthz").status_code, api.get("/readyz").status_code) == (200, 503)


def test_a_fault_says_nothing_but_its_id(api: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    answer = api.post("/test/fault")
    problem = problem_of(answer)
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert re.fullmatch(r"[0-9a-f-]{36}", problem["id"])
    logged = capsys.readouterr().out
    assert problem["id"] in logged
    assert "a secret of the inside" in logged
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("kind", "status"), [("not-found", 404), ("forbidden", 403)])
def test_each_kind_has_its_status(api: httpx.Client, kind: str, status: int) -> None:
    assert problem_of(api.post(f"/test/refusal/{kind}"))["status"] == status


@pytest.mark.parametrize("status", [400, 401, 403, 418])
def test_an_error_of_a_library_is_a_problem_too(api: httpx.Client, status: int) -> None:
    problem = problem_of(api.post(f"/test/http-error/{status}"))
    assert (problem["status"], problem["detail"]) == (status, "as a library says it")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"paid_fen": "1.5"}', {"where": "body.paid_fen", "what": "valid integer"}),
        ("{}", {"where": "body.paid_fen", "what": "Field required"}),
        ('{"paid_fen": ', {"where": "body", "what": "not JSON at character 13"}),
    ],
)
def test_what_does_not_parse_is_told_where(api: httpx.Client, body: str, error: dict[str, str]) -> None:
    answer = api.post("/test/amount", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    (found,) = problem_of(answer)["errors"]
    assert found["where"] == error["where"]
    assert error["what"] in found["what"]


def test_an_unknown_address_and_a_wrong_method_are_problems(api: httpx.Client) -> None:
    assert problem_of(api.get("/api/v1/nothing"))["status"] == 404
    wrong = api.put("/api/v1/offices")
    assert problem_of(wrong)["status"] == 405
    assert wrong.headers["allow"] == "GET"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_too_large_is_refused(api: httpx.Client, announced: bool) -> None:  # noqa: FBT001
    body = b'{"paid_fen": 1' + b" " * 300_000 + b"}"
    content = body if announced else iter([body[:200_000], body[200_000:]])
    answer = api.post("/test/amount", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "262144 bytes at most" in problem_of(answer)["detail"]


def test_each_problem_has_a_page(api: httpx.Client) -> None:
    for name in ("no-such-page", "price-expired"):
        assert name in api.get("/problems").text
    assert "409" in api.get("/problems/price-expired").text
    assert problem_of(api.get("/problems/nothing"))["status"] == 404


def test_health_is_told_to_machines(api: httpx.Client, service: FastAPI) -> None:
    assert api.get("/healthz").json() == {"status": "alive"}
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["migration"]) == (200, service.state.migration_head)
    service.state.migration_head = "another"
    behind = api.get("/readyz")
    assert behind.status_code == 503
    assert "run `wattgate migrate`" in behind.json()["because"]


def test_metrics_count_by_template_and_never_by_raw_path(api: httpx.Client) -> None:
    api.get("/problems/nothing-7")
    api.get("/secret-path-7")
    api.request("BREW-7", "/healthz")
    figures = api.get("/metrics").text
    assert 'wattgate_http_request_seconds_count{method="GET",route="/problems/{slug}",status="404"}' in figures
    assert 'route="/test/amount"' not in figures
    assert "-7" not in figures


def test_the_api_page_needs_no_internet(api: httpx.Client) -> None:
    page = api.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(assets) == 3
    assert all(asset.startswith("/docs/assets/") for asset in assets)
    assert [api.get(asset).status_code for asset in assets] == [200, 200, 200]
    assert "http://" not in page
    assert "https://" not in page


def test_every_operation_documents_its_problems(api: httpx.Client) -> None:
    described = api.get("/openapi.json").json()
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len(operations) >= 8
    for operation in operations:
        assert {"500", "503"} <= operation["responses"].keys()
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == [PROBLEM_JSON]
    hire = described["paths"]["/api/v1/staff"]["post"]
    assert {"201", "401", "403", "409", "422"} <= hire["responses"].keys()
    assert "ValidationError" not in described["components"]["schemas"]


def test_every_answer_tells_browsers_to_run_nothing(api: httpx.Client) -> None:
    for path in ("/api/v1/offices", "/healthz", "/nothing", "/openapi.json", "/docs/assets/swagger-ui.css"):
        headers = api.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; base-uri 'none'"), path
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["permissions-policy"].startswith("camera=()")
        assert "access-control-allow-origin" not in headers
        assert "strict-transport-security" not in headers


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/problems", "/problems/no-such-page"])
def test_a_page_may_run_what_it_brings_and_nothing_else(api: httpx.Client, path: str) -> None:
    page = api.get(path)
    policies = page.headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert "unsafe" not in policies[0]
    inline = re.findall(r"<(script|style)>(.+?)</\1>", page.text, re.DOTALL)
    assert inline
    for _, text_of_it in inline:
        digest = base64.b64encode(hashlib.sha256(text_of_it.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policies[0]
    assert not re.search(r"\son\w+=|style=|javascript:", page.text)


def test_https_is_insisted_on_where_the_request_came_with_it(database: Database) -> None:
    settings = settings_for(database.application_url)
    with running(create_app(settings, engine=database.engine)) as api:
        assert "strict-transport-security" in api.get("/healthz", headers={"X-Forwarded-Proto": "https"}).headers
    strict = settings.model_copy(update={"https_only": True})
    with running(create_app(strict, engine=database.engine)) as api:
        assert api.get("/healthz").headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/healthz?" + "a" * 17_000, {}),
        ("/healthz", {"x-long": "a" * 17_000}),
        ("/healthz", {f"x-{number}": "a" for number in range(120)}),
    ],
    ids=["address", "header", "headers"],
)
def test_a_head_too_large_is_refused(api: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = api.get(path, headers=headers)
    assert (answer.status_code, problem_of(answer)["type"]) == (431, "/problems/head-too-large")


@pytest.mark.parametrize("opening", ['{"paid_fen":', "["])
def test_json_nested_without_end_harms_nothing(api: httpx.Client, opening: str) -> None:
    body = opening * (250_000 // len(opening))
    answer = api.post("/test/amount", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert problem_of(answer)["remedy"]
    assert api.get("/healthz").status_code == 200


def until_refused(api: httpx.Client, path: str, headers: dict[str, str]) -> tuple[int, httpx.Response]:
    """Ask as fast as one can until it is too often; returns the first status and the last answer."""
    first = answer = api.get(path, headers=headers)
    for _ in range(50):
        if answer.status_code == 429:
            break
        answer = api.get(path, headers=headers)
    return first.status_code, answer


def test_who_asks_too_often_is_told_when_to_come_again(database: Database) -> None:
    settings = settings_for(database.application_url).model_copy(update={"open_requests_per_s": 1})
    bogus, basic = {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic bm9ib2R5Om5vYm9keQ=="}
    with running(create_app(settings, engine=database.engine)) as api:
        first, _ = until_refused(api, "/api/v1/offices", bogus)
        assert first == 401
        for path in ("/api/v1/offices", "/problems"):
            for headers in ({}, bogus, basic):
                _, answer = until_refused(api, path, headers)
                assert (answer.status_code, problem_of(answer)["type"]) == (429, "/problems/too-many-requests")
                assert answer.headers["retry-after"] == "1"
        assert {api.get("/healthz", headers=headers).status_code for headers in ({}, bogus) for _ in range(5)} == {
            200
        }


def test_one_person_has_a_share_and_no_more(database: Database) -> None:
    settings = settings_for(database.application_url).model_copy(update={"requests_per_s": 1})
    office = an_office(database.engine)
    busy, calm = (
        bearer(a_person(database.engine, office=office, role=role), settings=settings)
        for role in (Role.CASHIER, Role.AUDITOR)
    )
    with running(create_app(settings, engine=database.engine)) as api:
        first, last = until_refused(api, "/api/v1/offices", busy)
        assert (first, last.status_code) == (200, 429)
        assert api.get("/api/v1/offices", headers=calm).status_code == 200


def test_a_route_added_later_keeps_the_service_from_starting(database: Database) -> None:
    late = create_app(settings_for(database.application_url), engine=database.engine)
    late.add_api_route("/back-door", fall_over, methods=["POST"])
    with pytest.raises(UnprotectedRoute, match="POST /back-door has 0 policies"):
        asyncio.run(late.router.lifespan_context(late).__aenter__())


def test_both_ways_to_say_who_one_is_are_described(api: httpx.Client) -> None:
    described = api.get("/openapi.json").json()
    assert set(described["components"]["securitySchemes"]) == {"OAuth2PasswordBearer", "ApiKey"}
    assert described["paths"]["/api/v1/purchases"]["post"]["security"] == [
        {"OAuth2PasswordBearer": []},
        {"ApiKey": []},
    ]
    assert described["paths"]["/api/v1/auth/sign-out"]["post"]["security"] == [{"OAuth2PasswordBearer": []}]
