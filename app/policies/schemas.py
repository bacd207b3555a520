"""HTTP shapes of trip policies."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.policies.queries import PolicySeen


class PolicyShown(BaseModel):
    """What the service may cut by itself, how long before it tells, and which two people answer for it."""

    id: UUID
    version: int = Field(examples=[3])
    office: str | None = Field(description="code of the office; null: every office that has none of its own")
    jurisdiction: str = Field(examples=["上海 Shanghai"])
    source: str = Field(description="where it is written", examples=["provincial supply rules, article 30"])
    automatic_limits: bool = Field(description="whether the service may limit by itself")
    automatic_trips: bool = Field(description="whether the service may trip by itself")
    written_notice_s: int = Field(description="from written notice to trip, at least", examples=[259_200])
    second_notice_s: int = Field(description="from second notice to trip, at least", examples=[1800])
    valid_from: datetime
    proposed_by: str = Field(description="sign-in name", examples=["operator"])
    approved_by: str = Field(description="sign-in name", examples=["approver"])
    approved_at: datetime
    in_force: bool = Field(description="begun, and followed by no later one of the same office")

    @classmethod
    def of(cls, seen: PolicySeen) -> Self:
        row = seen.policy
        return cls(
            id=row.id,
            version=row.version,
            office=seen.office,
            jurisdiction=row.jurisdiction,
            source=row.source,
            automatic_limits=row.automatic_limits,
            automatic_trips=row.automatic_trips,
            written_notice_s=row.written_notice_s,
            second_notice_s=row.second_notice_s,
            valid_from=row.valid_from,
            proposed_by=seen.proposed_by,
            approved_by=seen.approved_by,
            approved_at=row.approved_at,
            in_force=seen.in_force,
        )
