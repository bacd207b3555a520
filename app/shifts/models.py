"""Tables of tills, shifts, receipts and tenders."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Fen, Id, one_of
from app.shifts.rules import ReceiptKind, ShiftState, TenderKind


class Till(Base):
    """A place where money is taken. Its row is the lock of its receipts: their numbers have no gap."""

    __tablename__ = "tills"

    id: Mapped[Id]
    till_no: Mapped[str] = mapped_column(String(20), unique=True)
    office_id: Mapped[UUID] = mapped_column(ForeignKey("offices.id"))
    name_zh: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    last_receipt_no: Mapped[int] = mapped_column(BigInteger, default=0)
    last_shift_no: Mapped[int] = mapped_column(BigInteger, default=0)
    #: The shift that may take money now; without one, nothing is sold here.
    open_shift_id: Mapped[UUID | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("open_shift_id"),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class Shift(Base):
    """A cashier at a till, from the float to the seal."""

    __tablename__ = "shifts"

    id: Mapped[Id]
    till_id: Mapped[UUID] = mapped_column(ForeignKey("tills.id"))
    shift_no: Mapped[int] = mapped_column(BigInteger)
    cashier_id: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    state: Mapped[str] = mapped_column(String(10))
    opened_at: Mapped[datetime]
    float_fen: Mapped[Fen]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    #: Why what was counted is not what the books say.
    reason: Mapped[str | None]
    #: Why a supervisor has asked for another count, the last time.
    recount_reason: Mapped[str | None]
    #: Sealed at the close: what came in and went out by tender, what was counted, receipts from and to; a copy of
    #: ``sealed``, which is the text whose SHA-256 is the seal.
    totals: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    sealed: Mapped[str | None] = mapped_column(Text)
    seal: Mapped[bytes | None]

    __table_args__ = (
        UniqueConstraint("till_id", "shift_no"),
        Index("uq_shifts_cashier_id", "cashier_id", unique=True, postgresql_where=text("state <> 'closed'")),
        Index("uq_shifts_till_id", "till_id", unique=True, postgresql_where=text("state <> 'closed'")),
        CheckConstraint(one_of("state", ShiftState), name="state"),
        CheckConstraint("float_fen >= 0", name="float"),
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
        CheckConstraint("(state = 'closed') = (seal IS NOT NULL)", name="sealed"),
        CheckConstraint(
            "(seal IS NULL) = (totals IS NULL) AND (seal IS NULL) = (sealed IS NULL)", name="sealed_whole"
        ),
    )


class ShiftCount(Base):
    """A blind count: what the cashier found, before anybody told what the books say; only ever added."""

    __tablename__ = "shift_counts"

    id: Mapped[Id]
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"), index=True)
    counted_at: Mapped[datetime]
    counted_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    cash_fen: Mapped[Fen]
    #: Sums of the slips by tender, and the notes and coins where they were told.
    slips: Mapped[dict[str, Any]] = mapped_column(JSONB)
    denominations: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class Receipt(Base):
    """A paper that was handed out, with all that it says; only ever added."""

    __tablename__ = "receipts"

    id: Mapped[Id]
    till_id: Mapped[UUID] = mapped_column(ForeignKey("tills.id"))
    number: Mapped[int] = mapped_column(BigInteger)
    receipt_no: Mapped[str] = mapped_column(String(40), unique=True)
    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    subject_id: Mapped[UUID]
    amount_fen: Mapped[Fen]
    issued_at: Mapped[datetime]
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (
        UniqueConstraint("till_id", "number"),
        CheckConstraint(one_of("kind", ReceiptKind), name="kind"),
        CheckConstraint("number > 0", name="number"),
    )


class ReceiptPrint(Base):
    """One print of a receipt; the original has the number 0, each later one says that it is a copy."""

    __tablename__ = "receipt_prints"

    receipt_id: Mapped[UUID] = mapped_column(ForeignKey("receipts.id"), primary_key=True)
    copy_no: Mapped[int] = mapped_column(primary_key=True)
    printed_at: Mapped[datetime]
    printed_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))


class ShiftPrint(Base):
    """One print of a shift's sealed totals; the original has the number 0, each later one says that it is a copy."""

    __tablename__ = "shift_prints"

    shift_id: Mapped[UUID] = mapped_column(ForeignKey("shifts.id"), primary_key=True)
    copy_no: Mapped[int] = mapped_column(primary_key=True)
    printed_at: Mapped[datetime]
    printed_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))


class TenderTaken(Base):
    """Money in one form on one receipt: above zero came in, below zero went out."""

    __tablename__ = "tenders"

    receipt_id: Mapped[UUID] = mapped_column(ForeignKey("receipts.id"), primary_key=True)
    line: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    amount_fen: Mapped[Fen]
    reference: Mapped[str] = mapped_column(String(60))

    __table_args__ = (
        CheckConstraint(one_of("kind", TenderKind), name="kind"),
        CheckConstraint("amount_fen <> 0", name="amount"),
    )
