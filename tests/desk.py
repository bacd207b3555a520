"""A desk of the utility: the running service, its database, and a header for each role that calls it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from databases import Database
from factories import a_person, an_open_shift
from people import bearer
from running import running, settings_for
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.clock import Clock
from app.database import new_id, transaction
from app.load_control.service import Pace
from app.main import create_app
from app.roles import Role
from app.settings import Settings
from app.staff.models import StaffMember

API = "/api/v1"


class Headers(dict[Role, dict[str, str]]):
    """A header for each role; its person is hired when first called for, since to hash a password takes its time."""

    def __init__(self, database: Database, *, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def __missing__(self, role: Role) -> dict[str, str]:
        with transaction(self._database.engine) as session:
            self.hired(session, role)
        return self[role]

    def hired(self, session: Session, role: Role) -> StaffMember:
        person = a_person(session, role=role, name=f"{role.value}.one")
        self[role] = bearer(person, settings=self._settings)
        return person


@dataclass(frozen=True, kw_only=True)
class Desk:
    database: Database
    http: httpx.Client
    settings: Settings
    headers: Headers

    @property
    def pace(self) -> Pace:
        return Pace(clock=Clock(), report_interval_s=self.settings.report_interval_s)

    def get(self, path: str, *, role: Role = Role.AUDITOR, **params: Any) -> httpx.Response:
        return self.http.get(API + path, params=params, headers=self.headers[role])

    def post(self, path: str, body: dict[str, Any], *, role: Role, key: str | None = None) -> httpx.Response:
        keyed = {"Idempotency-Key": key or str(new_id())}
        return self.http.post(API + path, json=body, headers=self.headers[role] | keyed)

    def cut(self, *orders: dict[str, Any], key: str | None = None) -> httpx.Response:
        """Have the operator ask for cuts and the approver approve them; returns the last answer that was given."""
        asked = self.post("/approvals/orders", {"orders": list(orders)}, role=Role.OPERATOR, key=key)
        return self.approved(asked) if asked.status_code == 201 else asked

    def approved(self, asked: httpx.Response) -> httpx.Response:
        """Have the approver look at what was asked for, and approve what they have seen."""
        seen = self.get(f"/approvals/{asked.json()['id']}", role=Role.APPROVER).json()
        return self.post(f"/approvals/{seen['id']}/approve", {"digest": seen["digest"]}, role=Role.APPROVER)

    def command_of(self, approved: httpx.Response) -> dict[str, Any]:
        """Return the one command that came of an approval."""
        (command_id,) = approved.json()["result"]["command_ids"]
        command: dict[str, Any] = self.get(f"/commands/{command_id}").json()
        return command

    def count(self, table: str) -> int:
        with self.database.engine.connect() as connection:
            counted = connection.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 - a name of our own
        assert isinstance(counted, int)
        return counted


@contextmanager
def a_desk(database: Database, *, staff: Iterable[Role] = (), **changes: Any) -> Iterator[Desk]:
    """Run the service at a desk with one cashier and their open shift.

    ``staff`` is hired before it opens; ``changes`` are settings that differ from those of other tests.
    """
    settings = settings_for(database.application_url).model_copy(update=changes)
    headers = Headers(database, settings=settings)
    with transaction(database.engine) as session:
        an_open_shift(session, cashier=headers.hired(session, Role.CASHIER))
        for role in set(staff) - {Role.CASHIER}:
            headers.hired(session, role)
    with running(create_app(settings, engine=database.engine)) as client:
        yield Desk(database=database, http=client, settings=settings, headers=headers)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return status and problem of a refused request; every one says what would be right."""
    problem = answer.json()
    assert problem["remedy"]
    return answer.status_code, problem["type"].removeprefix("/problems/")
