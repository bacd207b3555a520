"""Reads of receipts and of their prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.shifts.models import Receipt, ReceiptPrint
from app.staff.models import StaffMember


class NoSuchReceipt(NotFound):
    title = "There is no such receipt"

    def __init__(self, *, receipt_no: str) -> None:
        super().__init__(
            f"No receipt has the number {receipt_no!r}.",
            remedy="Read the number from the paper, or from the purchase: GET /api/v1/purchases.",
            receipt_no=receipt_no,
        )


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One print: 0 is the original, n the n-th copy."""

    copy_no: int
    printed_at: datetime
    printed_by: str


def receipt(session: Session, receipt_no: str) -> Receipt:
    """Return a receipt.

    Raises:
        NoSuchReceipt: none has the number.
    """
    found = session.scalar(select(Receipt).where(Receipt.receipt_no == receipt_no))
    if found is None:
        raise NoSuchReceipt(receipt_no=receipt_no)
    return found


def prints(session: Session, found: Receipt) -> Sequence[Printed]:
    """Return the prints that were made of a receipt, the original first."""
    rows = session.execute(
        select(ReceiptPrint.copy_no, ReceiptPrint.printed_at, StaffMember.sign_in_name)
        .join(StaffMember, StaffMember.id == ReceiptPrint.printed_by)
        .where(ReceiptPrint.receipt_id == found.id)
        .order_by(ReceiptPrint.copy_no)
    )
    return [Printed(copy_no=copy_no, printed_at=at, printed_by=name) for copy_no, at, name in rows]
