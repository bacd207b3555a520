"""Changes at the end of a shift: count, ask again, close and seal, print the totals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed, canonical
from app.database import new_id
from app.ledger import service as ledger
from app.ledger.rules import Posting
from app.shift_closing import queries
from app.shift_closing.rules import (
    Compared,
    Count,
    CountedAnew,
    Flow,
    NotYourShift,
    check_countable,
    check_counted,
    check_denominations,
    check_reason,
    check_supervisor,
    closing_lines,
    compare,
    expected,
    seal_of,
)
from app.shifts.models import Shift, ShiftCount, ShiftPrint, Till
from app.shifts.queries import NotClosed, get_shift
from app.shifts.rules import ShiftState, TenderKind, receipt_no
from app.shifts.service import lock_till


@dataclass(frozen=True, kw_only=True)
class NewCount:
    """What a cashier found: cash in fen, slips by tender, and notes and coins by value where they were told."""

    cash_fen: int
    slips_fen: Mapping[TenderKind, int]
    denominations: Mapping[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The last count of a shift beside what the books expect, and from which receipts that comes."""

    count: ShiftCount
    compared: tuple[Compared, ...]
    flows: tuple[Flow, ...]


def count(session: Session, shift_id: UUID, new: NewCount, *, cashier_id: UUID, now: datetime) -> Shift:
    """Take a blind count; from now on the till sells nothing, and nothing of what the books say is told.

    A sale under way has its receipt before the till's lock is given, and is part of what is expected, or it comes
    after and is refused.

    Raises:
        NoSuchShift, NotYourShift, NotToBeCounted: this person counts no such shift now.
        CountUnequal: notes and coins do not make the sum.
    """
    if new.denominations is not None:
        check_denominations(new.denominations, cash_fen=new.cash_fen)
    shift, till = _locked(session, shift_id)
    if shift.cashier_id != cashier_id:
        raise NotYourShift
    check_countable(shift.state)
    before = shift.state
    session.add(
        ShiftCount(
            id=new_id(),
            shift_id=shift.id,
            counted_at=now,
            counted_by=cashier_id,
            cash_fen=new.cash_fen,
            slips=dict(new.slips_fen),
            denominations=None if new.denominations is None else {str(k): v for k, v in new.denominations.items()},
        )
    )
    shift.state = ShiftState.COUNTED
    till.open_shift_id = None
    session.flush()
    told = {"state": shift.state, "cash_fen": new.cash_fen, "slips_fen": dict(new.slips_fen)}
    audit.record(session, _deed("counted", shift, till, before={"state": before}, after=told), at=now)
    return shift


def judge(session: Session, shift_id: UUID, *, supervisor_id: UUID) -> Judgement:
    """Compare the last count of a counted or closed shift with the books.

    Raises:
        NoSuchShift, NotCounted: there is no count to look at, or another one is under way.
        OwnShift: a cashier does not see it before the close, whatever their roles.
    """
    shift = get_shift(session, shift_id).shift
    if shift.state != ShiftState.CLOSED:
        check_supervisor(supervisor_id, cashier_id=shift.cashier_id)
        check_counted(shift.state)
    return _judgement(session, shift)


def ask_again(session: Session, shift_id: UUID, *, reason: str, supervisor_id: UUID, now: datetime) -> Shift:
    """Send a counted shift back to be counted once more; it still sells nothing, and every count is kept.

    Raises:
        NoSuchShift, NotCounted, OwnShift: it is not this person's to send back now.
    """
    shift, till = _locked(session, shift_id)
    check_supervisor(supervisor_id, cashier_id=shift.cashier_id)
    check_counted(shift.state)
    shift.state = ShiftState.RECOUNT
    shift.recount_reason = reason
    session.flush()
    after = {"state": shift.state, "reason": reason}
    deed = _deed("sent_back", shift, till, before={"state": ShiftState.COUNTED}, after=after)
    audit.record(session, deed, at=now)
    return shift


@dataclass(frozen=True, kw_only=True)
class Close:
    """What a supervisor decides: which count they have seen, and why it differs where it does."""

    count_id: UUID
    reason: str | None
    supervisor_id: UUID


def close(session: Session, shift_id: UUID, wanted: Close, *, now: datetime) -> Shift:
    """Close a counted shift: the cash goes to the safe, the difference is booked, and the totals are sealed.

    Raises:
        NoSuchShift, NotCounted, OwnShift: it is not this person's to close now.
        CountedAnew: there is a newer count than the one they have seen.
        ReasonNeeded: something is over or short, and no reason was given.
    """
    shift, till = _locked(session, shift_id)
    check_supervisor(wanted.supervisor_id, cashier_id=shift.cashier_id)
    check_counted(shift.state)
    found = _judgement(session, shift)
    if found.count.id != wanted.count_id:
        raise CountedAnew
    check_reason(found.compared, wanted.reason)
    ids = _empty_till(session, shift, found, actor_id=wanted.supervisor_id, now=now)
    totals = _totals(session, shift, found, wanted, now=now)
    shift.state = ShiftState.CLOSED
    shift.closed_at = now
    shift.closed_by = wanted.supervisor_id
    shift.reason = wanted.reason
    shift.sealed = canonical(totals)
    shift.seal = seal_of(shift.sealed)
    shift.totals = totals
    session.flush()
    after = {
        "state": shift.state,
        "seal": shift.seal.hex(),
        "reason": wanted.reason,
        "compared": totals["compared"],
        "receipts": totals["receipts"],
    }
    deed = _deed("closed", shift, till, before={"state": ShiftState.COUNTED}, after=after)
    audit.record(session, replace(deed, transaction_ids=tuple(ids)), at=now)
    return shift


def note_print(session: Session, shift_id: UUID, *, printed_by: UUID, now: datetime) -> int:
    """Note a print of a shift's totals and return its number: 0 for the original, n for the n-th copy.

    Raises:
        NoSuchShift, NotClosed: there are no totals to print.
    """
    shift, till = _locked(session, shift_id)
    if shift.state != ShiftState.CLOSED:
        raise NotClosed(state=shift.state)
    made = session.scalar(select(func.count()).where(ShiftPrint.shift_id == shift.id)) or 0
    session.add(ShiftPrint(shift_id=shift.id, copy_no=made, printed_at=now, printed_by=printed_by))
    session.flush()
    audit.record(session, _deed("printed", shift, till, before=None, after={"copy_no": made}), at=now)
    return made


def _locked(session: Session, shift_id: UUID) -> tuple[Shift, Till]:
    """Lock a shift's till, under which everything of the shift changes, and read the shift as it is now."""
    shift = get_shift(session, shift_id).shift
    till = lock_till(session, shift.till_id)
    session.refresh(shift)
    return shift, till


def _judgement(session: Session, shift: Shift) -> Judgement:
    *_, last = get_shift(session, shift.id).counts
    flows = queries.flows(session, shift.id)
    found = Count(
        cash_fen=last.cash_fen, slips_fen={TenderKind(kind): amount_fen for kind, amount_fen in last.slips.items()}
    )
    return Judgement(count=last, compared=compare(expected(shift.float_fen, flows), found), flows=flows)


def _empty_till(session: Session, shift: Shift, found: Judgement, *, actor_id: UUID, now: datetime) -> list[UUID]:
    (cash,) = (each for each in found.compared if each.tender is TenderKind.CASH)
    lines = closing_lines(cash)
    if not lines:
        return []
    posting = Posting(kind="close", business_key=f"shift:{shift.id}:close", lines=lines, shift_id=shift.id)
    return ledger.post(session, None, [posting], now=now, actor_id=actor_id)


def _totals(session: Session, shift: Shift, found: Judgement, wanted: Close, *, now: datetime) -> dict[str, Any]:
    """Return all that the sealed totals say, as JSON would."""
    named = queries.names(session, shift.id, supervisor_id=wanted.supervisor_id)
    written = queries.numbers(session, shift.id)
    papers = {
        name: None if number is None else receipt_no(named["till_no"], number)
        for name, number in (("first", written.first_number), ("last", written.last_number))
    }
    return {
        **named,
        "shift_id": str(shift.id),
        "shift_no": shift.shift_no,
        "opened_at": shift.opened_at.isoformat(),
        "closed_at": now.isoformat(),
        "float_fen": shift.float_fen,
        "receipts": {**written._asdict(), **papers},
        "flows": [{**asdict(flow), "kind": flow.kind.value, "tender": flow.tender.value} for flow in found.flows],
        "compared": [
            {
                "tender": each.tender.value,
                "expected_fen": each.expected_fen,
                "counted_fen": each.counted_fen,
                "difference_fen": each.difference_fen,
            }
            for each in found.compared
        ],
        "counts": len(get_shift(session, shift.id).counts),
        "reason": wanted.reason,
    }


def _deed(done: str, shift: Shift, till: Till, *, before: dict[str, Any] | None, after: dict[str, Any]) -> Deed:
    return Deed(
        action=f"shift.{done}",
        subject_kind="till",
        subject=till.till_no,
        before=before,
        after={"shift_id": shift.id, "shift_no": shift.shift_no, **after},
    )
