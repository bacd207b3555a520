"""An office, its people, and their access tokens."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from app.database import new_id, transaction
from app.http.policies import Person, write_token
from app.roles import Role
from app.settings import Settings
from app.staff.models import Office, StaffMember
from app.staff.service import NewStaffMember, create_office, hire

PASSWORD = "correct horse"
HIRED_AT = datetime(2026, 3, 1, 1, 0, tzinfo=UTC)


def an_office(engine: Engine, *, code: str = "SH-PD") -> Office:
    with transaction(engine) as session:
        return create_office(session, code=code, name_zh="浦东营业厅", name_en="Pudong office", now=HIRED_AT)


def a_person(engine: Engine, *, office: Office, role: Role, name: str | None = None) -> StaffMember:
    new = NewStaffMember(
        sign_in_name=name or f"{role.value}.one",
        name_zh="李娜",
        name_en="Li Na",
        password=PASSWORD,
        roles=[role],
    )
    with transaction(engine) as session:
        return hire(session, new, office=office, now=HIRED_AT)


def bearer(member: StaffMember, *, settings: Settings) -> dict[str, str]:
    """Return the header with which this person calls the API, from a sign-in of which the database has no row."""
    person = Person(
        id=member.id, sign_in_name=member.sign_in_name, roles=frozenset(member.roles), sign_in_id=new_id()
    )
    token = write_token(person, secret=settings.token_secret.get_secret_value(), lifetime_s=600)
    return {"Authorization": f"Bearer {token}"}
