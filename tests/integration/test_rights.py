"""Every operation as nobody, as every role and as every kind of key: the answers are what docs/rights.md says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from databases import Database
from factories import a_person, an_office
from people import bearer
from running import running, settings_for

from app.access.rules import CLIENT_ROLES
from app.access.service import NewKey, make_key
from app.clock import Clock
from app.database import new_id, transaction
from app.main import create_app, document_of_rights
from app.roles import Role
from app.settings import Settings
from app.staff.models import StaffMember
from app.staff.service import NewClient, take_in_client

DOCUMENT = Path(__file__).parents[2] / "docs" / "rights.md"
REFUSALS = {"/problems/not-signed-in": 401, "/problems/not-allowed": 403}
#: Pages, which OpenAPI leaves out.
BESIDE_OPENAPI = {"GET /problems", "GET /problems/{slug}"}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Somebody of the table: a column, and who they are in the database."""

    column: str
    settings: Settings
    member: StaffMember | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def fresh_headers(self) -> dict[str, str]:
        """Of a sign-in of its own, since some operations end the one that they are called with."""
        return self.headers if self.member is None else bearer(self.member, settings=self.settings)


def rows() -> dict[str, dict[str, str]]:
    """Return the table: for each operation what stands in each column."""
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0].strip("`"): dict(zip(head[2:], cells[2:], strict=True)) for cells in body}


def column_of(role: Role) -> str:
    return role.value.replace("_", " ")


@pytest.fixture
def settings(database: Database) -> Settings:
    return settings_for(database.application_url)


@pytest.fixture
def callers(database: Database, settings: Settings) -> list[Caller]:
    now = Clock().now()
    with transaction(database.engine) as session:
        office = an_office(session)
        people = {role: a_person(session, role=role, office=office) for role in Role}
        by = people[Role.ADMINISTRATOR].id
        keys = {}
        for role in sorted(CLIENT_ROLES):
            new = NewClient(name=f"program.{role.value}", name_zh="程序", name_en="Program", roles=[role])
            client = take_in_client(session, new, office=office, now=now)
            _, keys[role] = make_key(
                session, NewKey(label="test", scopes=[role]), client_id=client.id, by=by, now=now
            )
    return [
        Caller(column="nobody", settings=settings),
        *(Caller(column=column_of(role), settings=settings, member=person) for role, person in people.items()),
        *(
            Caller(column=f"API key {column_of(role)}", settings=settings, headers={"Authorization": f"Bearer {key}"})
            for role, key in keys.items()
        ),
    ]


@pytest.fixture
def api(database: Database, settings: Settings, callers: list[Caller]) -> Iterator[httpx.Client]:
    assert callers
    with running(create_app(settings, engine=database.engine)) as client:
        yield client


def test_the_document_is_what_the_routes_say_now() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document_of_rights(), "run: wattgate rights > docs/rights.md"


@pytest.mark.takes(seconds=15)
@pytest.mark.no_cover
def test_every_operation_answers_everybody_as_the_table_says(api: httpx.Client, callers: list[Caller]) -> None:
    described = api.get("/openapi.json").json()["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    table = rows()
    assert set(table) == operations | BESIDE_OPENAPI

    wrong = [
        f"{operation} as {caller.column}: {answer.status_code} {answer.text[:200]}"
        for operation, row in table.items()
        for caller in callers
        for answer in [call(api, operation, headers=caller.fresh_headers())]
        if refusal_of(answer) != expected_refusal(row, column=caller.column)
    ]
    assert wrong == []


def call(api: httpx.Client, operation: str, *, headers: dict[str, str]) -> httpx.Response:
    """Call with ids of nothing and without a useful body: the door is asked before what stands behind it."""
    method, path = operation.split(" ")
    filled = re.sub(r"\{(\w+)\}", lambda found: "x" if not found[1].endswith("_id") else str(new_id()), path)
    body: dict[str, Any] = {} if method == "GET" else {"json": {}}
    return api.request(method, filled, headers=headers | {"Idempotency-Key": str(new_id())}, **body)


def refusal_of(answer: httpx.Response) -> int | None:
    """Return the status when the door refused; what comes from behind it does not count, whatever its status."""
    kind = answer.json()["type"] if answer.status_code in (401, 403) else ""
    if answer.status_code >= 500:
        return answer.status_code
    return REFUSALS.get(kind)


def expected_refusal(row: dict[str, str], *, column: str) -> int | None:
    if column == "nobody":
        return None if row["nobody"] else 401
    if column.startswith("API key "):
        passes = row["API key"] == "✓" or (row["API key"] == "by scope" and row[column.removeprefix("API key ")])
        return None if passes else 403
    return None if row[column] else 403
