"""HTTP shapes of emergency credit."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.emergency.models import EmergencyCredit

Words = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=2, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$"),
]


class EmergencyCreditWanted(BaseModel):
    """Energy to be lent to who asks for it; the next purchase gives it back first."""

    model_config = ConfigDict(extra="forbid")

    energy_wh: int = Field(ge=1, le=2**53, examples=[5_000_000])
    asked_by: Words = Field(description="who at the customer asked", examples=["王强"])
    reason: Words = Field(examples=["the bank is closed until Monday"])


class EmergencyCreditShown(BaseModel):
    id: UUID
    supply_point_id: UUID
    energy_wh: int
    paid_until_wh: int
    order_no: int
    command_id: UUID
    asked_by: str
    reason: str
    lent_by: UUID
    lent_at: datetime

    @classmethod
    def of(cls, credit: EmergencyCredit) -> Self:
        return cls.model_validate(credit, from_attributes=True)
