"""HTTP shapes of counts, comparisons and closes."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.shift_closing.rules import Compared, Flow
from app.shift_closing.service import Close, Judgement, NewCount
from app.shifts.rules import ReceiptKind, TenderKind

_LARGEST_FEN = 10**13
_MOST_PIECES = 1_000_000

Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$"),
]
Pieces = Annotated[int, Field(ge=0, le=_MOST_PIECES)]
#: The values of notes and coins in fen, as JSON writes keys.
Value = Literal["10000", "5000", "2000", "1000", "500", "100", "50", "10", "5", "2", "1"]
Slip = Literal["transfer", "cheque", "card", "online"]
SlipSum = Annotated[int, Field(ge=-_LARGEST_FEN, le=_LARGEST_FEN)]


class CountToGive(BaseModel):
    """What you found in the till."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "cash_fen": 150_000,
                    "denominations": {"10000": 14, "5000": 2},
                    "slips_fen": {"transfer": 4_900_000},
                }
            ]
        },
    )

    cash_fen: int = Field(ge=0, le=_LARGEST_FEN, description="all notes and coins, the float among them")
    denominations: dict[Value, Pieces] | None = Field(
        default=None, description="how many of each note and coin, by its value in fen; must make `cash_fen`"
    )
    slips_fen: dict[Slip, SlipSum] = Field(
        default={}, description="the sum of slips by tender, less what went out; what is left out counts as none"
    )

    def as_count(self) -> NewCount:
        return NewCount(
            cash_fen=self.cash_fen,
            slips_fen={TenderKind(kind): amount_fen for kind, amount_fen in self.slips_fen.items()},
            denominations=None
            if self.denominations is None
            else {int(value): pieces for value, pieces in self.denominations.items()},
        )


class RecountToAsk(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(description="the cashier reads it; do not tell what is expected", examples=["请重新清点"])


class ShiftToClose(BaseModel):
    """Close what you have seen: `count_id` is that of the comparison."""

    model_config = ConfigDict(extra="forbid")

    count_id: UUID
    reason: Reason | None = Field(default=None, description="needed where something is over or short")

    def as_close(self, supervisor_id: UUID) -> Close:
        return Close(count_id=self.count_id, reason=self.reason, supervisor_id=supervisor_id)


class ComparedShown(BaseModel):
    tender: TenderKind
    expected_fen: int
    counted_fen: int
    difference_fen: int = Field(description="above zero: over; below: short")

    @classmethod
    def of(cls, compared: Compared) -> Self:
        return cls(
            tender=compared.tender,
            expected_fen=compared.expected_fen,
            counted_fen=compared.counted_fen,
            difference_fen=compared.difference_fen,
        )


class FlowShown(BaseModel):
    kind: ReceiptKind
    tender: TenderKind
    number: int = Field(description="receipts of this kind with this tender")
    in_fen: int
    out_fen: int

    @classmethod
    def of(cls, flow: Flow) -> Self:
        return cls(**flow.__dict__)


class ComparisonShown(BaseModel):
    """What was counted beside what the books expect."""

    shift_id: UUID
    count_id: UUID = Field(description="name it when you close")
    counted_at: datetime
    compared: list[ComparedShown]
    flows: list[FlowShown] = Field(description="from which receipts the expectation comes")

    @classmethod
    def of(cls, found: Judgement) -> Self:
        return cls(
            shift_id=found.count.shift_id,
            count_id=found.count.id,
            counted_at=found.count.counted_at,
            compared=[ComparedShown.of(each) for each in found.compared],
            flows=[FlowShown.of(each) for each in found.flows],
        )
