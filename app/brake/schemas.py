"""HTTP shapes of the brake."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.brake.queries import PullSeen
from app.brake.rules import LetThrough, Limit, Scope

Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Place = Annotated[str, StringConstraints(strip_whitespace=True, max_length=60, pattern=r"^[^\x00-\x1f\x7f]*$")]


class BrakeToPull(BaseModel):
    """Where cuts are to be held, and why."""

    model_config = ConfigDict(extra="forbid")

    scope: Scope = Field(examples=["feeder"])
    place: Place = Field(
        default="",
        description="office: its code; feeder: as supply points name it; operator: the sign-in name; all: empty",
        examples=["10 kV Zhangjiang 1"],
    )
    reason: Words = Field(examples=["readings of this feeder look wrong"])

    @model_validator(mode="after")
    def _place_fits_its_scope(self) -> Self:
        if (self.scope is Scope.ALL) != (self.place == ""):
            raise ValueError("name the place for office, feeder or operator, and none for all")
        return self


class BrakeToRelease(BaseModel):
    """What was found when somebody looked."""

    model_config = ConfigDict(extra="forbid")

    reason: Words = Field(examples=["all fifteen are overdue, and were told in time"])


class LimitToSet(BaseModel):
    """What an hour may bring."""

    model_config = ConfigDict(extra="forbid")

    cuts_per_hour: int = Field(ge=1, le=10_000, examples=[10])
    power_w_per_hour: int = Field(ge=1, le=2**40, examples=[10_000_000])
    reason: Words = Field(examples=["the office serves twice as many customers now"])


class LimitShown(BaseModel):
    scope: Scope
    cuts_per_hour: int
    power_w_per_hour: int

    @classmethod
    def of(cls, limit: Limit) -> Self:
        return cls(scope=limit.scope, cuts_per_hour=limit.cuts, power_w_per_hour=limit.power_w)


class PullShown(BaseModel):
    """The brake, on in one place from `pulled_at` until `released_at`."""

    id: UUID
    scope: Scope
    place: str
    pulled_at: datetime
    pulled_by: str | None = Field(description="sign-in name; null: the service")
    because: str
    released_at: datetime | None
    released_by: str | None
    released_because: str | None

    @classmethod
    def of(cls, seen: PullSeen) -> Self:
        pull = seen.pull
        return cls(
            id=pull.id,
            scope=Scope(pull.scope),
            place=pull.place,
            pulled_at=pull.pulled_at,
            pulled_by=seen.pulled_by,
            because=pull.because,
            released_at=pull.released_at,
            released_by=seen.released_by,
            released_because=pull.released_because,
        )


class BrakeShown(BaseModel):
    """What an hour may bring, what this one has brought in all, and where the brake is on."""

    limits: list[LimitShown]
    cuts_last_hour: int
    power_w_last_hour: int
    on: list[PullShown]

    @classmethod
    def of(cls, limits: list[Limit], through: LetThrough, pulls: list[PullSeen]) -> Self:
        return cls(
            limits=[LimitShown.of(limit) for limit in limits],
            cuts_last_hour=through.cuts,
            power_w_last_hour=through.power_w,
            on=[PullShown.of(pull) for pull in pulls],
        )
