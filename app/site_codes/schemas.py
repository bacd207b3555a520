"""Site codes as the API shows them; the digits only to who asks for one."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.site_codes.queries import CodeGiven


class SiteCodeShown(BaseModel):
    """A code that was given out: what it carries, and by whom it was given first."""

    terminal_id: str = Field(description="no other takes it", examples=["SH-PD-0001"])
    command_id: UUID = Field(description="the credit that it carries")
    order_no: int = Field(examples=[301])
    paid_until_wh: int = Field(examples=[6_000_000])
    release_rounds: bool = Field(description="it closes the rounds that were tripped by order")
    lift_limit: bool = Field(description="it takes the power limit away")
    issued_at: datetime
    issued_by: str = Field(examples=["cashier"])

    @classmethod
    def of(cls, given: CodeGiven) -> Self:
        columns = {name: getattr(given.code, name) for name in SiteCodeShown.model_fields if name != "issued_by"}
        return cls(**columns, issued_by=given.issued_by)

    @classmethod
    def maybe(cls, given: CodeGiven | None) -> Self | None:
        return None if given is None else cls.of(given)


class SiteCodeOut(SiteCodeShown):
    code: str = Field(description="to be typed at the terminal's keypad", examples=["20424 27627 01006 39025 58775"])

    @classmethod
    def whole(cls, given: CodeGiven, *, code: str) -> Self:
        return cls(**SiteCodeShown.of(given).model_dump(), code=code)
