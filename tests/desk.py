"""A desk of the utility: the running service, its database, and a header for each role that calls it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from databases import Database
from factories import a_person, an_open_shift
from people import bearer
from running import running, settings_for
from sqlalchemy import text

from app.clock import Clock
from app.database import new_id, transaction
from app.load_control.service import Pace
from app.main import create_app
from app.roles import Role
from app.settings import Settings

API = "/api/v1"


@dataclass(frozen=True, kw_only=True)
class Desk:
    database: Database
    http: httpx.Client
    settings: Settings
    headers: dict[Role, dict[str, str]]

    @property
    def pace(self) -> Pace:
        return Pace(clock=Clock(), report_interval_s=self.settings.report_interval_s)

    def get(self, path: str, *, role: Role = Role.AUDITOR, **params: Any) -> httpx.Response:
        return self.http.get(API + path, params=params, headers=self.headers[role])

    def post(self, path: str, body: dict[str, Any], *, role: Role, key: str | None = None) -> httpx.Response:
        keyed = {"Idempotency-Key": key or str(new_id())}
        return self.http.post(API + path, json=body, headers=self.headers[role] | keyed)

    def count(self, table: str) -> int:
        with self.database.engine.connect() as connection:
            counted = connection.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 - a name of our own
        assert isinstance(counted, int)
        return counted


@contextmanager
def a_desk(database: Database, *, signing_key_file: Path | None = None) -> Iterator[Desk]:
    settings = settings_for(database.application_url)
    if signing_key_file is not None:
        settings = settings.model_copy(update={"signing_key_file": signing_key_file})
    with transaction(database.engine) as session:
        people = {role: a_person(session, role=role, name=f"{role.value}.one") for role in Role}
        an_open_shift(session, cashier=people[Role.CASHIER])
    headers = {role: bearer(person, settings=settings) for role, person in people.items()}
    with running(create_app(settings, engine=database.engine)) as client:
        yield Desk(database=database, http=client, settings=settings, headers=headers)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return status and problem of a refused request; every one says what would be right."""
    problem = answer.json()
    assert problem["remedy"]
    return answer.status_code, problem["type"].removeprefix("/problems/")
