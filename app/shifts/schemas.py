"""HTTP shapes of tills and shifts."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.shifts.models import Shift, Till
from app.shifts.rules import ShiftState

#: A float above a million yuan is a slip of the finger.
_LARGEST_FLOAT_FEN = 1_000_000 * 100

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
    id: UUID
    till_no: str = Field(examples=["PD-1"])
    shift_no: int = Field(examples=[1])
    cashier_id: UUID
    state: ShiftState
    opened_at: datetime
    float_fen: int

    @classmethod
    def of(cls, shift: Shift, *, till_no: str) -> Self:
        return cls(
            id=shift.id,
            till_no=till_no,
            shift_no=shift.shift_no,
            cashier_id=shift.cashier_id,
            state=ShiftState(shift.state),
            opened_at=shift.opened_at,
            float_fen=shift.float_fen,
        )
