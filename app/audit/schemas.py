"""HTTP shapes of the record."""

import json
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from app.audit.queries import Found, Head, Wanted
from app.http.moments import Moment

Word = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\x00]+$")]


class RecordSearch(BaseModel):
    """What is sought; what is left out does not matter."""

    office: Word | None = Field(default=None, description="a code; - for the service itself", examples=["SH-PD"])
    actor: Word | None = Field(default=None, description="a sign-in name", examples=["li.na"])
    action: Word | None = Field(default=None, examples=["price.set"])
    subject_kind: Word | None = Field(default=None, examples=["contract"])
    subject: Word | None = Field(default=None, examples=["HT-2026-0001"])
    q: Word | None = Field(default=None, description="part of what was recorded")
    since: Moment | None = Field(default=None, examples=["2026-03-01T00:00:00Z"])
    until: Moment | None = Field(default=None, examples=["2026-04-01T00:00:00Z"])

    def wanted(self) -> Wanted:
        return Wanted(**self.model_dump(exclude={"q"}), containing=self.q)


class EventShown(BaseModel):
    """A deed: who, when, from where, what, before and after."""

    office: str = Field(description="code of the office whose chain it stands in; - for the service itself")
    seq: int = Field(description="its number in that chain, without gaps")
    at: datetime
    actor: str = Field(examples=["li.na"])
    actor_id: UUID | None
    address: str | None = Field(examples=["192.0.2.17"])
    request_id: str | None
    action: str = Field(examples=["price.set"])
    subject_kind: str = Field(examples=["contract"])
    subject: str = Field(examples=["HT-2026-0001"])
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    transaction_ids: list[UUID] = Field(description="transactions of the books that it made")
    hash: str

    @classmethod
    def of(cls, found: Found) -> Self:
        event = found.event
        told = json.loads(event.payload)
        return cls(
            office=found.office,
            seq=event.seq,
            at=event.at,
            actor=told["actor"],
            actor_id=event.actor_id,
            address=told["address"],
            request_id=told["request_id"],
            action=event.action,
            subject_kind=event.subject_kind,
            subject=event.subject,
            before=told["before"],
            after=told["after"],
            transaction_ids=event.transaction_ids,
            hash=event.hash.hex(),
        )


class HeadShown(BaseModel):
    """Where a chain ends; written down elsewhere, it shows later that nothing before it was changed."""

    office: str
    seq: int
    hash: str

    @classmethod
    def of(cls, head: Head) -> Self:
        return cls(office=head.office, seq=head.seq, hash=head.hash.hex())
