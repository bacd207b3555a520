"""Notes each print of a receipt, so that there is one original."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.receipts import queries
from app.shifts.models import ReceiptPrint
from app.shifts.service import lock_till


def note_print(session: Session, receipt_no: str, *, printed_by: UUID, now: datetime) -> int:
    """Note a print and return its number: 0 for the original, n for the n-th copy.

    Raises:
        NoSuchReceipt: none has the number.
    """
    receipt = queries.receipt(session, receipt_no)
    # Receipts are only ever added and cannot be locked; their till can, so that two prints are not both the original.
    lock_till(session, receipt.till_id)
    made = session.scalar(select(func.count()).where(ReceiptPrint.receipt_id == receipt.id)) or 0
    session.add(ReceiptPrint(receipt_id=receipt.id, copy_no=made, printed_at=now, printed_by=printed_by))
    session.flush()
    deed = Deed(action="receipt.printed", subject_kind="receipt", subject=receipt_no, after={"copy_no": made})
    audit.record(session, deed, at=now)
    return made
