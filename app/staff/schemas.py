"""People and offices as the API shows them."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.roles import Role
from app.staff.models import Office, StaffMember
from app.staff.rules import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class SignInForm(BaseModel):
    """The password form of OAuth 2 (RFC 6749, section 4.3.2); its other fields are not used."""

    username: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["li.na"])
    password: SecretStr = Field(min_length=1, max_length=1000)


class PersonShown(BaseModel):
    id: UUID
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
            sign_in_name=person.sign_in_name,
            name_zh=person.name_zh,
            name_en=person.name_en,
            roles=[Role(role) for role in person.roles],
            office_id=person.office_id,
            active=person.active,
            created_at=person.created_at,
        )


class AccessToken(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int = Field(description="seconds of life, whatever the speed of the service's clock")
    person: PersonShown


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
