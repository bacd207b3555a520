"""Reads for the end of a shift: what its receipts brought, and the names on its totals."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.shift_closing.rules import Flow
from app.shifts.rules import ReceiptKind, TenderKind

# In the order of code points, as the invariant of seals sorts them, and as Python would.
_FLOWS = text("""
    SELECT receipt.kind, tender.kind AS tender, count(DISTINCT receipt.id) AS number,
           coalesce(sum(tender.amount_fen) FILTER (WHERE tender.amount_fen > 0), 0)::bigint AS in_fen,
           coalesce(-sum(tender.amount_fen) FILTER (WHERE tender.amount_fen < 0), 0)::bigint AS out_fen
      FROM receipts AS receipt JOIN tenders AS tender ON tender.receipt_id = receipt.id
     WHERE receipt.shift_id = :shift_id
     GROUP BY receipt.kind, tender.kind
     ORDER BY receipt.kind COLLATE "C", tender.kind COLLATE "C"
""")
_NUMBERS = text("""
    SELECT count(*) AS number, min(receipt.number) AS first_number, max(receipt.number) AS last_number
      FROM receipts AS receipt WHERE receipt.shift_id = :shift_id
""")
_NAMES = text("""
    SELECT till.till_no, office.name_zh AS office_zh, office.name_en AS office_en,
           cashier.sign_in_name AS cashier, cashier.name_zh AS cashier_zh, cashier.name_en AS cashier_en,
           supervisor.sign_in_name AS supervisor, supervisor.name_zh AS supervisor_zh,
           supervisor.name_en AS supervisor_en
      FROM shifts AS shift
      JOIN tills AS till ON till.id = shift.till_id
      JOIN offices AS office ON office.id = till.office_id
      JOIN staff_members AS cashier ON cashier.id = shift.cashier_id
      JOIN staff_members AS supervisor ON supervisor.id = :supervisor_id
     WHERE shift.id = :shift_id
""")


class Numbers(NamedTuple):
    """How many receipts a shift wrote, and from which number to which."""

    number: int
    first_number: int | None
    last_number: int | None


def flows(session: Session, shift_id: UUID) -> tuple[Flow, ...]:
    """Return what the receipts of a shift brought in and gave out, by kind and tender."""
    return tuple(
        Flow(
            kind=ReceiptKind(row.kind),
            tender=TenderKind(row.tender),
            number=row.number,
            in_fen=row.in_fen,
            out_fen=row.out_fen,
        )
        for row in session.execute(_FLOWS, {"shift_id": shift_id})
    )


def numbers(session: Session, shift_id: UUID) -> Numbers:
    return Numbers(*session.execute(_NUMBERS, {"shift_id": shift_id}).one())


def names(session: Session, shift_id: UUID, *, supervisor_id: UUID) -> dict[str, Any]:
    """Return the names that stand on a shift's totals, as they are now."""
    row = session.execute(_NAMES, {"shift_id": shift_id, "supervisor_id": supervisor_id}).one()
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
