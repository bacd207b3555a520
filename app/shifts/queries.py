"""Reads of tills and shifts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.shifts.models import Shift, ShiftCount, Till
from app.shifts.rules import ShiftState


class NoSuchShift(NotFound):
    title = "There is no such shift"

    def __init__(self, *, shift_id: UUID) -> None:
        super().__init__(
            f"No shift that you may see has the id {shift_id}.",
            remedy="GET /api/v1/shifts lists those that you may see.",
            shift_id=str(shift_id),
        )


class NotClosed(Conflict):
    """Before the close nobody has said that the sums are right, and the cashier must not read them."""

    title = "The shift is not closed"

    def __init__(self, *, state: str) -> None:
        super().__init__(
            f"The shift is {state}, so it has no sealed totals.",
            remedy="Have it counted by its cashier and closed by a supervisor.",
            state=state,
        )


class ShiftAtTill(NamedTuple):
    """A shift, the number of its till, and its counts, the first one first."""

    shift: Shift
    till_no: str
    counts: Sequence[ShiftCount]


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """The totals of a closed shift, and their seal."""

    totals: dict[str, Any]
    seal: bytes


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which shifts to list; what is None does not matter."""

    cashier_id: UUID | None = None
    till_no: str | None = None
    state: ShiftState | None = None


def list_tills(session: Session, *, limit: int, after: str | None) -> Sequence[Till]:
    """Return up to ``limit`` tills in the order of numbers, after the number ``after``."""
    wanted = select(Till).order_by(Till.till_no).limit(limit)
    if after is not None:
        wanted = wanted.where(Till.till_no > after)
    return session.scalars(wanted).all()


def list_shifts(session: Session, wanted: Wanted, *, limit: int, before: UUID | None) -> list[ShiftAtTill]:
    """Return up to ``limit`` shifts, newest first, before the one with id ``before``; without their counts."""
    statement = (
        select(Shift, Till.till_no).join(Till, Till.id == Shift.till_id).order_by(Shift.id.desc()).limit(limit)
    )
    if wanted.cashier_id is not None:
        statement = statement.where(Shift.cashier_id == wanted.cashier_id)
    if wanted.till_no is not None:
        statement = statement.where(Till.till_no == wanted.till_no)
    if wanted.state is not None:
        statement = statement.where(Shift.state == wanted.state)
    if before is not None:
        statement = statement.where(Shift.id < before)
    return [ShiftAtTill(shift, till_no, ()) for shift, till_no in session.execute(statement)]


def get_shift(session: Session, shift_id: UUID, *, cashier_id: UUID | None = None) -> ShiftAtTill:
    """Return a shift with its counts; with ``cashier_id`` only one of that cashier.

    Raises:
        NoSuchShift: there is none, or it is another cashier's.
    """
    row = session.execute(
        select(Shift, Till.till_no).join(Till, Till.id == Shift.till_id).where(Shift.id == shift_id)
    ).first()
    if row is None or (cashier_id is not None and row[0].cashier_id != cashier_id):
        raise NoSuchShift(shift_id=shift_id)
    counts = session.scalars(select(ShiftCount).where(ShiftCount.shift_id == shift_id).order_by(ShiftCount.id)).all()
    return ShiftAtTill(*row, counts)


def closed_shift(session: Session, shift_id: UUID, *, cashier_id: UUID | None) -> Sealed:
    """Return the sealed totals of a shift; with ``cashier_id`` only of that cashier.

    Raises:
        NoSuchShift: there is none, or it is another cashier's.
        NotClosed: it has no totals yet.
    """
    shift = get_shift(session, shift_id, cashier_id=cashier_id).shift
    if shift.totals is None or shift.seal is None:
        raise NotClosed(state=shift.state)
    return Sealed(totals=shift.totals, seal=shift.seal)
