"""HTTP shapes of receipts and prints."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.quantities import fen_to_yuan
from app.receipts.queries import Printed
from app.shifts.models import Receipt
from app.shifts.rules import ReceiptKind


class PrintShown(BaseModel):
    copy_no: int = Field(description="0 is the original, n the n-th copy")
    printed_at: datetime
    printed_by: str


class ReceiptShown(BaseModel):
    """A receipt with all that it says, as it was when it was written, and the prints made of it."""

    receipt_no: str = Field(examples=["PD-1-0000001"])
    kind: ReceiptKind
    amount_fen: int
    amount_yuan: str = Field(examples=["50000.00"])
    issued_at: datetime
    shift_id: UUID
    content: dict[str, Any]
    prints: list[PrintShown]

    @classmethod
    def of(cls, receipt: Receipt, *, prints: Sequence[Printed]) -> Self:
        return cls(
            receipt_no=receipt.receipt_no,
            kind=ReceiptKind(receipt.kind),
            amount_fen=receipt.amount_fen,
            amount_yuan=f"{fen_to_yuan(receipt.amount_fen):f}",
            issued_at=receipt.issued_at,
            shift_id=receipt.shift_id,
            content=receipt.content,
            prints=[PrintShown(**each.__dict__) for each in prints],
        )
