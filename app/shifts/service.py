"""Changes to tills: open one, open a shift at it, number a receipt, write it down."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.database import Step, new_id, together
from app.errors import Conflict, NotFound, Refused
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.shifts.models import Shift, Till
from app.shifts.rules import ReceiptKind, ShiftState, Tender, cash_of, check_cash

_OPEN_SHIFT = text("""
    SELECT shift.id FROM shifts AS shift JOIN tills AS till ON till.open_shift_id = shift.id
     WHERE shift.cashier_id = :cashier_id AND shift.state = 'open'
""")

# The shift is read from the till's own row, so that a shift closed by another transaction meanwhile gives no number.
_TAKE_NUMBER = text("""
    UPDATE tills AS till SET last_receipt_no = till.last_receipt_no + 1
      FROM shifts AS shift
      JOIN staff_members AS cashier ON cashier.id = shift.cashier_id
      JOIN tills AS place ON place.id = shift.till_id
      JOIN offices AS office ON office.id = place.office_id
     WHERE shift.cashier_id = :cashier_id AND shift.state = 'open' AND till.open_shift_id = shift.id
       AND shift.id = coalesce(CAST(:shift_id AS uuid), shift.id)
 RETURNING shift.id AS shift_id, till.id AS till_id, till.till_no, till.last_receipt_no AS number,
           cashier.sign_in_name AS cashier, cashier.name_zh AS cashier_zh, cashier.name_en AS cashier_en,
           office.name_zh AS office_zh, office.name_en AS office_en
""")

#: Writes a receipt and its tenders; to stand in front of the statement that writes what the receipt is for.
WRITE_RECEIPT = """
    WITH receipt AS (
        INSERT INTO receipts (id, till_id, number, receipt_no, shift_id, kind, subject_id, amount_fen, issued_at,
               content)
        VALUES (:receipt_id, :till_id, :number, :receipt_no, :shift_id, :receipt_kind, :subject_id, :amount_fen,
                :issued_at, CAST(:content AS jsonb))
    ), tendered AS (
        INSERT INTO tenders (receipt_id, line, kind, amount_fen, reference)
        SELECT :receipt_id, line, kind, amount_fen, reference
          FROM unnest(CAST(:tender_kinds AS text[]), CAST(:tender_amounts AS bigint[]),
                      CAST(:tender_references AS text[]))
               WITH ORDINALITY AS tender (kind, amount_fen, reference, line)
    )
"""
_WRITE_RECEIPT_ALONE = text(WRITE_RECEIPT + " SELECT 1")

_CASH_HELD = text("""
    SELECT shift.float_fen + coalesce(
               (SELECT sum(tender.amount_fen) FROM receipts AS receipt
                  JOIN tenders AS tender ON tender.receipt_id = receipt.id AND tender.kind = 'cash'
                 WHERE receipt.shift_id = shift.id), 0)::bigint
      FROM shifts AS shift WHERE shift.id = :shift_id
""")


class NoOpenShift(Refused):
    """Money is taken at a till that somebody answers for, so a cashier opens a shift first."""

    title = "No shift is open"

    def __init__(self) -> None:
        super().__init__(
            "You have no open shift, so there is no till that could take or give money.",
            remedy="Open a shift at a till: POST /api/v1/shifts.",
        )


class NoSuchTill(NotFound):
    title = "There is no such till"

    def __init__(self, *, till_no: str) -> None:
        super().__init__(
            f"No till has the number {till_no!r}.", remedy="GET /api/v1/tills lists them.", till_no=till_no
        )


class TillNumberTaken(Conflict):
    title = "The till's number is taken"

    def __init__(self, *, till_no: str) -> None:
        super().__init__(f"There is a till {till_no} already.", remedy="Choose another number.", till_no=till_no)


class ShiftOpenAlready(Conflict):
    """A till has one cashier at a time and a cashier one till, or nobody could answer for its money."""

    title = "A shift is open already"

    def __init__(self, *, till_no: str) -> None:
        super().__init__(
            f"Till {till_no} has a shift that is not closed, or you have one at another till.",
            remedy="Have that shift counted and closed first.",
            till_no=till_no,
        )


class Numbered(NamedTuple):
    """A receipt's number, the shift that answers for it, and the names that stand on the paper."""

    shift_id: UUID
    till_id: UUID
    till_no: str
    number: int
    cashier: str
    cashier_zh: str
    cashier_en: str
    office_zh: str
    office_en: str


@dataclass(frozen=True, kw_only=True)
class NewReceipt:
    """A receipt to be written: what it is for, its money, and all that the paper says."""

    kind: ReceiptKind
    subject_id: UUID
    amount_fen: int
    tenders: Sequence[Tender]
    content: dict[str, Any]


def to_know_shift(cashier_id: UUID) -> Step[UUID]:
    """Return the step that reads the id of the cashier's open shift, without its lock; see :func:`to_take_number`."""

    def read(rows: list[Any]) -> UUID:
        if not rows:
            raise NoOpenShift
        shift_id: UUID = rows[0].id
        return shift_id

    return Step(statement=_OPEN_SHIFT, values={"cashier_id": cashier_id}, read=read)


def to_take_number(cashier_id: UUID, *, shift_id: UUID | None = None) -> Step[Numbered]:
    """Return the step that takes the next receipt number at the cashier's till, under the till's lock.

    The lock comes after that of the supply point, and as late as can be: all who sell at one till wait for it. A
    rollback gives the number back, so there is never a gap. The answer raises :class:`NoOpenShift`, also if the shift
    is not ``shift_id`` any more.
    """

    def read(rows: list[Any]) -> Numbered:
        if not rows:
            raise NoOpenShift
        return Numbered(*rows[0])

    return Step(statement=_TAKE_NUMBER, values={"cashier_id": cashier_id, "shift_id": shift_id}, read=read)


def take_number(session: Session, cashier_id: UUID) -> Numbered:
    """Take the next receipt number; see :func:`to_take_number`."""
    (numbered,) = together(session, to_take_number(cashier_id))
    taken: Numbered = numbered
    return taken


def refuse_cash_not_held(
    session: Session, numbered: Numbered, tenders: Sequence[Tender], *, as_it_came: bool = False
) -> None:
    """Refuse to give out cash that the till cannot hold; its lock came with the receipt's number.

    Raises:
        TillLacksCash: the float and what the shift has taken in are less.
    """
    # The sum over the shift's receipts holds up all who sell at this till.
    if cash_of(tenders) >= 0:
        return
    held_fen: int = session.execute(_CASH_HELD, {"shift_id": numbered.shift_id}).scalar_one()
    check_cash(tenders, held_fen=held_fen, as_it_came=as_it_came)


def receipt_values(new: NewReceipt, numbered: Numbered, *, receipt_no: str, now: datetime) -> dict[str, Any]:
    """Return what :data:`WRITE_RECEIPT` asks for; the receipt's id is among it."""
    said = {
        **new.content,
        "receipt_no": receipt_no,
        "till_no": numbered.till_no,
        "cashier": numbered.cashier,
        "cashier_zh": numbered.cashier_zh,
        "cashier_en": numbered.cashier_en,
        "office_zh": numbered.office_zh,
        "office_en": numbered.office_en,
        "tenders": [asdict(tender) for tender in new.tenders],
    }
    return {
        "receipt_id": new_id(),
        "till_id": numbered.till_id,
        "number": numbered.number,
        "receipt_no": receipt_no,
        "shift_id": numbered.shift_id,
        "receipt_kind": new.kind,
        "subject_id": new.subject_id,
        "amount_fen": new.amount_fen,
        "issued_at": now,
        "content": json.dumps(said, ensure_ascii=False),
        "tender_kinds": [tender.kind for tender in new.tenders],
        "tender_amounts": [tender.amount_fen for tender in new.tenders],
        "tender_references": [tender.reference for tender in new.tenders],
    }


def write_receipt(session: Session, new: NewReceipt, numbered: Numbered, *, receipt_no: str, now: datetime) -> UUID:
    """Write a receipt and its tenders; returns its id."""
    values = receipt_values(new, numbered, receipt_no=receipt_no, now=now)
    together(session, Step(statement=_WRITE_RECEIPT_ALONE, values=values, read=list))
    receipt_id: UUID = values["receipt_id"]
    return receipt_id


@dataclass(frozen=True, kw_only=True)
class NewTill:
    till_no: str
    office_id: UUID
    name_zh: str
    name_en: str


def open_till(session: Session, new: NewTill, *, now: datetime) -> Till:
    """Set up a till.

    Raises:
        TillNumberTaken: another till has the number.
    """
    till = Till(id=new_id(), created_at=now, **new.__dict__)
    session.add(till)
    try:
        session.flush()
    except IntegrityError as error:
        raise TillNumberTaken(till_no=new.till_no) from error
    deed = Deed(action="till.opened", subject_kind="till", subject=new.till_no, after=asdict(new))
    audit.record(session, deed, at=now)
    return till


def lock_till(session: Session, till_id: UUID) -> Till:
    """Lock a till, which numbers receipts and holds the open shift, and return it as it is now."""
    return session.get_one(Till, till_id, with_for_update={"key_share": True}, populate_existing=True)


def open_shift(session: Session, *, till_no: str, cashier_id: UUID, float_fen: int, now: datetime) -> Shift:
    """Open a shift: the float goes from the safe into the till, and from now on the cashier answers for it.

    Raises:
        NoSuchTill: no till has the number.
        ShiftOpenAlready: the till or the cashier has a shift that is not closed.
    """
    till = session.scalar(
        select(Till).where(Till.till_no == till_no).with_for_update().execution_options(populate_existing=True)
    )
    if till is None:
        raise NoSuchTill(till_no=till_no)
    till.last_shift_no += 1
    shift = Shift(
        id=new_id(),
        till_id=till.id,
        shift_no=till.last_shift_no,
        cashier_id=cashier_id,
        state=ShiftState.OPEN,
        opened_at=now,
        float_fen=float_fen,
    )
    session.add(shift)
    try:
        session.flush()
    except IntegrityError as error:
        raise ShiftOpenAlready(till_no=till_no) from error
    till.open_shift_id = shift.id
    session.flush()
    posted = _move_float(session, shift, now=now) if float_fen else []
    deed = Deed(
        action="shift.opened",
        subject_kind="till",
        subject=till_no,
        after={"shift_id": shift.id, "shift_no": shift.shift_no, "float_fen": float_fen},
        transaction_ids=tuple(posted),
    )
    audit.record(session, deed, at=now)
    return shift


def _move_float(session: Session, shift: Shift, *, now: datetime) -> list[UUID]:
    posting = Posting(
        kind="float",
        business_key=f"shift:{shift.id}:float",
        lines=(
            Line(kind=AccountKind.TILL, amount=shift.float_fen),
            Line(kind=AccountKind.SAFE, amount=-shift.float_fen),
        ),
        shift_id=shift.id,
    )
    return ledger.post(session, None, [posting], now=now, actor_id=shift.cashier_id)
