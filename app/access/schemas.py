"""Sign-ins, clients and keys as the API shows them."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.access.models import ApiKey, SignIn
from app.roles import Role
from app.staff.rules import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH
from app.staff.schemas import Name, PersonShown

_MOST_NETWORKS = 20

_Network = Annotated[str, StringConstraints(min_length=2, max_length=64)]


class SignInForm(BaseModel):
    """The password form of OAuth 2 (RFC 6749, section 4.3.2); its other fields are not used."""

    username: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["li.na"])
    password: SecretStr = Field(min_length=1, max_length=1000)


class AccessToken(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int = Field(description="seconds of life, whatever the speed of the service's clock")
    person: PersonShown


class SignInShown(BaseModel):
    id: UUID
    created_at: datetime
    expires_at: datetime
    address: str = Field(examples=["10.1.7.23"])
    client: str = Field(description="what the browser or program calls itself", examples=["Mozilla/5.0"])
    current: bool = Field(description="the sign-in of this request")

    @classmethod
    def of(cls, found: SignIn, *, current: UUID | None) -> Self:
        return cls(
            id=found.id,
            created_at=found.created_at,
            expires_at=found.expires_at,
            address=found.address,
            client=found.client,
            current=found.id == current,
        )


class SignInsShown(BaseModel):
    items: list[SignInShown] = Field(description="newest first")


class PasswordReset(BaseModel):
    """The only answer that ever shows this password."""

    password: str = Field(description="for the person, who changes it at once", examples=["k7mv-q2xd-9hrt-4wzp"])
    ended: int = Field(description="so many sign-ins of the person ended")


class SignInsEnded(BaseModel):
    ended: int = Field(description="how many sign-ins have ended by this", examples=[2])


class PasswordChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old_password: SecretStr = Field(min_length=1, max_length=1000)
    new_password: SecretStr = Field(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH)


class RolesChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    roles: set[Role] = Field(min_length=1, examples=[["cashier", "approver"]])


class ClientToTakeIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=2, max_length=63, examples=["bank-gateway"])
    name_zh: Name = Field(examples=["银行代收网关"])
    name_en: Name = Field(examples=["Bank payment gateway"])
    office_code: str = Field(min_length=1, max_length=50, examples=["SH-PD"])
    roles: set[Role] = Field(min_length=1, examples=[["cashier"]])


class KeyToMake(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Name = Field(description="what tells this key from others", examples=["production 2026"])
    scopes: set[Role] = Field(min_length=1, description="roles among the client's", examples=[["cashier"]])
    expires_at: AwareDatetime | None = Field(default=None, description="never when it is left out")
    networks: list[_Network] = Field(
        default_factory=list,
        max_length=_MOST_NETWORKS,
        description="addresses or networks from which it may be used; everywhere when it is left out",
        examples=[["10.1.0.0/16"]],
    )


class KeyShown(BaseModel):
    id: UUID
    client_id: UUID
    label: str
    scopes: list[Role]
    networks: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls(**_shown(key))


class KeyMade(KeyShown):
    key: str = Field(description="shown this once: send it as 'Authorization: Bearer wgk_…'")

    @classmethod
    def with_key(cls, made: ApiKey, *, key: str) -> Self:
        return cls(**_shown(made), key=key)


class KeysShown(BaseModel):
    items: list[KeyShown] = Field(description="newest first, with those that are over")


def _shown(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "client_id": key.staff_member_id,
        "label": key.label,
        "scopes": [Role(scope) for scope in key.scopes],
        "networks": key.networks,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
