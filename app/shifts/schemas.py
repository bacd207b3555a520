"""HTTP shapes of tills and shifts."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.http.policies import Person
from app.roles import Role
from app.shifts.models import Shift, Till
from app.shifts.queries import ShiftAtTill
from app.shifts.rules import ShiftState

#: A float above a million yuan is a slip of the finger.
_LARGEST_FLOAT_FEN = 1_000_000 * 100

_SEE_ALL = {Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR}

TillNo = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Z0-9-]{0,18}[A-Z0-9]$")]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"),
]


class TillToOpen(BaseModel):
    model_config = ConfigDict(extra="forbid")

    till_no: TillNo = Field(examples=["PD-1"])
    office_code: str = Field(min_length=1, max_length=50, pattern=r"^[^\x00]+$", examples=["SH-PD"])
    name_zh: Name = Field(examples=["一号收费台"])
    name_en: Name = Field(examples=["Till 1"])


class TillShown(BaseModel):
    id: UUID
    till_no: str = Field(examples=["PD-1"])
    office_id: UUID
    name_zh: str
    name_en: str
    last_receipt_no: int = Field(description="receipts of this till are numbered from 1 to this one")
    open_shift_id: UUID | None
    created_at: datetime

    @classmethod
    def of(cls, till: Till) -> Self:
        return cls.model_validate(till, from_attributes=True)


class ShiftToOpen(BaseModel):
    """Open the till with money from the safe."""

    model_config = ConfigDict(extra="forbid")

    till_no: TillNo = Field(examples=["PD-1"])
    float_fen: int = Field(default=0, ge=0, le=_LARGEST_FLOAT_FEN, examples=[50_000])


class ShiftShown(BaseModel):
    """A shift; nothing here says what the books expect before it is closed."""

    id: UUID
    till_no: str = Field(examples=["PD-1"])
    shift_no: int = Field(examples=[1])
    cashier_id: UUID
    state: ShiftState
    opened_at: datetime
    float_fen: int
    closed_at: datetime | None
    recount_reason: str | None = Field(description="why a supervisor has asked for another count, the last time")

    @classmethod
    def of(cls, shift: Shift, *, till_no: str) -> Self:
        return cls(**_of_shift(shift, till_no=till_no))


class CountShown(BaseModel):
    """A count as the cashier gave it."""

    id: UUID
    counted_at: datetime
    cash_fen: int
    slips_fen: dict[str, int]
    denominations: dict[str, int] | None


class ShiftWhole(ShiftShown):
    """A shift with its counts, and once it is closed with its sealed totals."""

    counts: list[CountShown]
    reason: str | None = Field(description="why something was over or short")
    totals: dict[str, Any] | None = Field(description="sealed at the close; null before")
    seal: str | None = Field(description="SHA-256 of the totals' canonical text, as hexadecimal digits")

    @classmethod
    def of_whole(cls, found: ShiftAtTill) -> Self:
        shift = found.shift
        return cls(
            **_of_shift(shift, till_no=found.till_no),
            counts=[
                CountShown(
                    id=count.id,
                    counted_at=count.counted_at,
                    cash_fen=count.cash_fen,
                    slips_fen=count.slips,
                    denominations=count.denominations,
                )
                for count in found.counts
            ],
            reason=shift.reason,
            totals=shift.totals,
            seal=None if shift.seal is None else shift.seal.hex(),
        )


def own_only(person: Person) -> UUID | None:
    """Return whose shifts a person may see: None means everybody's, which is for those who look after others."""
    return None if person.roles & _SEE_ALL else person.id


def _of_shift(shift: Shift, *, till_no: str) -> dict[str, Any]:
    return {
        "id": shift.id,
        "till_no": till_no,
        "shift_no": shift.shift_no,
        "cashier_id": shift.cashier_id,
        "state": ShiftState(shift.state),
        "opened_at": shift.opened_at,
        "float_fen": shift.float_fen,
        "closed_at": shift.closed_at,
        "recount_reason": shift.recount_reason,
    }
