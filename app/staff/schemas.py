"""People and offices as the API shows them."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.roles import Role
from app.staff.models import Office, StaffMember
from app.staff.rules import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, Kind

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class PersonShown(BaseModel):
    id: UUID
    kind: Kind = Field(description="a client is a program that calls with keys", examples=["person"])
    sign_in_name: str = Field(examples=["li.na"])
    name_zh: str = Field(examples=["李娜"])
    name_en: str = Field(examples=["Li Na"])
    roles: list[Role] = Field(examples=[["cashier"]])
    office_id: UUID
    active: bool
    created_at: datetime

    @classmethod
    def of(cls, person: StaffMember) -> Self:
        return cls(
            id=person.id,
            kind=Kind(person.kind),
            sign_in_name=person.sign_in_name,
            name_zh=person.name_zh,
            name_en=person.name_en,
            roles=[Role(role) for role in person.roles],
            office_id=person.office_id,
            active=person.active,
            created_at=person.created_at,
        )


class StaffMemberToHire(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sign_in_name: str = Field(min_length=2, max_length=63, examples=["li.na"])
    name_zh: Name = Field(examples=["李娜"])
    name_en: Name = Field(examples=["Li Na"])
    office_code: str = Field(min_length=1, max_length=50, examples=["SH-PD"])
    password: SecretStr = Field(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH)
    roles: set[Role] = Field(min_length=1, examples=[["cashier"]])


class OfficeShown(BaseModel):
    id: UUID
    code: str = Field(examples=["SH-PD"])
    name_zh: str = Field(examples=["浦东营业厅"])
    name_en: str = Field(examples=["Pudong office"])

    @classmethod
    def of(cls, office: Office) -> Self:
        return cls(id=office.id, code=office.code, name_zh=office.name_zh, name_en=office.name_en)
