"""The story of a refund: energy taken back, money set aside, proved, paid out; or withdrawn, and bought again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.allowances.queries import allowance_of
from app.audit import service as audit
from app.audit.rules import Deed
from app.commands.models import Command
from app.customers import service as customers
from app.database import new_id, together
from app.errors import TwoPersonsNeeded
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control import service as load_control
from app.load_control.queries import pictures
from app.load_control.reasons import Reason
from app.load_control.service import Pace
from app.purchases.models import Purchase
from app.quantities import fen_to_yuan
from app.refunds import queries
from app.refunds.books import Again, move_energy_again, move_energy_back
from app.refunds.models import Refund
from app.refunds.queries import Asked, NoSuchRefund
from app.refunds.rules import (
    NotTakenBackYet,
    OwnRefund,
    RefundKind,
    RefundOver,
    RefundReleasedBefore,
    RefundState,
    TakeBack,
    bought_again,
    take_back,
    why_held,
)
from app.shifts import service as shifts
from app.shifts.rules import ReceiptKind, Tender, TenderKind, money_lines, receipt_no
from app.staff.queries import get_staff_member
from app.terminals import service as terminals


@dataclass(frozen=True, kw_only=True)
class NewRefund:
    """What is asked for; without an energy in Wh a refund takes all that is unused and can be spared."""

    purchase_no: str
    kind: RefundKind
    energy_wh: int | None
    reason: str
    asked_by: UUID


def would_take_back(session: Session, new: NewRefund, *, pace: Pace, now: datetime) -> tuple[Asked, TakeBack]:
    """Say what would be taken back and paid now; nothing is written or locked.

    Raises:
        NoSuchPurchase, NothingToAsk, RefundRefused: nothing would.
    """
    purchase = queries.purchase_by_no(session, new.purchase_no)
    asked = queries.standing_of(session, purchase, pace=pace, now=now)
    return asked, take_back(asked.standing, kind=new.kind, wanted_wh=new.energy_wh)


def ask(session: Session, new: NewRefund, *, alone_fen: int | None, pace: Pace, now: datetime) -> Refund:
    """Take energy back: out of the books at once, out of the terminal by a refresh order; its money is set aside.

    Args:
        session: of the transaction.
        new: what is asked for.
        alone_fen: up to how much one person may take back alone; None: two persons stand behind it.
        pace: of the terminals.
        now: when it is asked for.

    Raises:
        NoSuchPurchase, NothingToAsk, RefundRefused: nothing is written.
        TwoPersonsNeeded: it is more than one person may take back alone.
    """
    purchase = queries.purchase_by_no(session, new.purchase_no)
    customers.lock_supply_points(session, [purchase.supply_point_id])
    asked, taken = would_take_back(session, new, pace=pace, now=now)
    if alone_fen is not None and taken.money_fen > alone_fen:
        most, wanted = fen_to_yuan(alone_fen), fen_to_yuan(taken.money_fen)
        what = f"A refund of {wanted:,} yuan, more than the {most:,} that one person may take back,"
        raise TwoPersonsNeeded(what=what, ask_at="/api/v1/approvals/refunds")
    refund = Refund(
        id=new_id(),
        purchase_id=purchase.id,
        supply_point_id=purchase.supply_point_id,
        kind=new.kind,
        state=RefundState.TAKING_BACK,
        reason=new.reason,
        yuan_per_kwh=purchase.yuan_per_kwh,
        asked_by=new.asked_by,
        asked_at=now,
        **asdict(taken),
    )
    move_energy_back(session, refund, purchase, asked, pace=pace, now=now)
    session.add(refund)
    session.flush()
    load_control.reassess(session, [purchase.supply_point_id], trigger="refund", pace=pace, now=now)
    before = {"paid_until_wh": refund.paid_until_wh + refund.energy_wh, "kept_nfen": refund.kept_before_nfen}
    after = {"paid_until_wh": refund.paid_until_wh, "kept_nfen": refund.kept_after_nfen}
    posted = [refund.energy_transaction_id]
    _record(session, refund, _Told("asked", {"state": None, **before}, after, posted), now=now)
    return refund


def release(session: Session, refund_id: UUID, *, because: str, approver_id: UUID, now: datetime) -> Refund:
    """Let the money go although the terminal has not shown that it gave the energy up; somebody answers for it.

    Raises:
        NoSuchRefund, RefundOver: there is nothing to release.
        RefundReleasedBefore: somebody answers for it already.
        OwnRefund: the approver has asked for it.
    """
    refund, _ = _under_lock(session, refund_id)
    if refund.asked_by == approver_id:
        raise OwnRefund
    if refund.released_by is not None:
        by = get_staff_member(session, staff_member_id=refund.released_by).sign_in_name
        raise RefundReleasedBefore(by=by, because=refund.released_because)
    before = {"state": refund.state, "released_because": refund.released_because}
    refund.released_by = approver_id
    refund.released_at = now
    refund.released_because = because
    session.flush()
    _record(session, refund, _Told("released", before, {}, []), now=now)
    return refund


class PaidOut(NamedTuple):
    refund: Refund
    receipt_no: str


def pay_out(session: Session, refund_id: UUID, *, tender: Tender, cashier_id: UUID, now: datetime) -> PaidOut:
    """Pay the money out at the cashier's till, once the terminal has shown the order or an approver has released it.

    ``tender`` says in what form a refund goes out; a reversal goes back the way the money came.

    Raises:
        NoSuchRefund, RefundOver: there is nothing to pay.
        NotTakenBackYet: the terminal has not shown it, and nobody has released it.
        OwnRefund: the cashier has released it as an approver.
        NoOpenShift, TillLacksCash: there is no till to pay from, or not that much cash in it.
    """
    refund, purchase = _under_lock(session, refund_id)
    held = queries.terminals_hold(session, [refund.supply_point_id])[refund.supply_point_id]
    if refund.released_by == cashier_id:
        raise OwnRefund
    if refund.released_by is None and not held.has_taken_back(refund):
        raise NotTakenBackYet(terminal_order_no=held.told_order_no, order_no=refund.order_no)
    numbered = shifts.take_number(session, cashier_id)
    tenders = _tenders(session, refund, purchase, tender=tender)
    shifts.refuse_cash_not_held(session, numbered, tenders, as_it_came=refund.kind == RefundKind.REVERSAL)
    money_fen = refund.deposit_back_fen + refund.debt_reopened_fen
    lines = [*money_lines(tenders)]
    if refund.deposit_back_fen:
        lines.append(Line(kind=AccountKind.DEPOSIT, amount=refund.deposit_back_fen))
    if refund.debt_reopened_fen:
        lines.append(Line(kind=AccountKind.RECEIVABLE, amount=refund.debt_reopened_fen))
    posting = Posting(
        kind=refund.kind,
        business_key=f"refund:{refund.id}:money",
        lines=tuple(lines),
        reverses_id=purchase.money_transaction_id if refund.kind == RefundKind.REVERSAL else None,
        shift_id=numbered.shift_id,
    )
    (refund.money_transaction_id,) = ledger.post(
        session, refund.supply_point_id, [posting], now=now, actor_id=cashier_id
    )
    number = receipt_no(numbered.till_no, numbered.number)
    refund.receipt_id = shifts.write_receipt(
        session,
        shifts.NewReceipt(
            kind=ReceiptKind.REFUND,
            subject_id=refund.id,
            amount_fen=-money_fen,
            tenders=tenders,
            content=_said(session, refund, purchase, now=now),
        ),
        numbered,
        receipt_no=number,
        now=now,
    )
    refund.state = RefundState.PAID_OUT
    refund.ended_at, refund.ended_by = now, cashier_id
    session.flush()
    after = {"receipt_no": number, "tenders": [asdict(one) for one in tenders]}
    posted = [refund.money_transaction_id]
    _record(session, refund, _Told("paid_out", {"state": RefundState.TAKING_BACK}, after, posted), now=now)
    return PaidOut(refund, number)


def _tenders(session: Session, refund: Refund, purchase: Purchase, *, tender: Tender) -> list[Tender]:
    """Return the money that goes out, each amount below zero."""
    money_fen = refund.deposit_back_fen + refund.debt_reopened_fen
    if refund.kind == RefundKind.REVERSAL:
        if purchase.receipt_id is None:
            return [Tender(kind=TenderKind.CASH, amount_fen=-money_fen)]
        return [
            Tender(kind=TenderKind(taken.kind), amount_fen=-taken.amount_fen, reference=taken.reference)
            for taken in queries.tenders_of(session, purchase.receipt_id)
        ]
    return [Tender(kind=tender.kind, amount_fen=-money_fen, reference=tender.reference)] if money_fen else []


def withdraw(session: Session, refund_id: UUID, *, by: UUID, pace: Pace, now: datetime) -> Refund:
    """Give the energy back: the money that was set aside buys it again at the purchase's own price.

    Raises:
        NoSuchRefund, RefundOver: there is nothing to withdraw.
        NothingToAsk: no terminal could take the energy.
    """
    refund, purchase = _under_lock(session, refund_id)
    asked = queries.standing_of(session, purchase, pace=pace, now=now)
    allowance = allowance_of(session, refund.supply_point_id)
    if allowance is None:
        raise NoSuchRefund(refund_id=refund_id)
    session.refresh(allowance)
    bought_wh, kept_nfen = bought_again(
        deposit_back_fen=refund.deposit_back_fen,
        kept_nfen=allowance.kept_nfen,
        yuan_per_kwh=refund.yuan_per_kwh,
    )
    before = {
        "state": RefundState.TAKING_BACK,
        "paid_until_wh": allowance.paid_until_wh,
        "kept_nfen": allowance.kept_nfen,
    }
    counted = terminals.next_order(session, refund.supply_point_id)
    again = Again(asked=asked, counted=counted, bought_wh=bought_wh, kept_nfen=kept_nfen, by=by)
    transaction_id = move_energy_again(session, refund, purchase, again, pace=pace, now=now)
    refund.regranted_wh = bought_wh
    refund.regrant_order_no = counted.order_no
    refund.regrant_kept_before_nfen = allowance.kept_nfen
    refund.regrant_kept_after_nfen = kept_nfen
    refund.regrant_transaction_id = transaction_id
    refund.state = RefundState.WITHDRAWN
    refund.ended_at, refund.ended_by = now, by
    session.flush()
    (looked,) = together(session, load_control.to_look_again(refund.supply_point_id, now=now))
    load_control.after_purchase(session, refund.supply_point_id, still_normal=looked, pace=pace, now=now)
    session.refresh(allowance)
    after = {"paid_until_wh": allowance.paid_until_wh, "kept_nfen": kept_nfen}
    _record(session, refund, _Told("withdrawn", before, after, [transaction_id]), now=now)
    return refund


def reasons_against(session: Session, command: Command, *, pace: Pace, now: datetime) -> tuple[Reason, ...]:
    """Check at the last moment, with the supply point locked, whether a credit may lower its terminal."""
    customers.lock_supply_points(session, [command.supply_point_id])
    found = pictures(
        session,
        [command.supply_point_id],
        report_valid_for=pace.report_valid_for,
        retry_after=pace.retry_after,
        now=now,
    )
    if not found:
        return ()
    facts = found[0].facts
    if command.approval_id is not None:
        # A correction by hand lowers as a refund does, although the books ask for none.
        facts = replace(facts, lowering=True)
    return why_held(facts, paid_until_wh=command.args["paid_until_wh"], now=now)


def _under_lock(session: Session, refund_id: UUID) -> tuple[Refund, Purchase]:
    refund = session.get(Refund, refund_id)
    if refund is None:
        raise NoSuchRefund(refund_id=refund_id)
    customers.lock_supply_points(session, [refund.supply_point_id])
    session.refresh(refund)
    if refund.state != RefundState.TAKING_BACK:
        raise RefundOver(state=RefundState(refund.state), ended_at=refund.ended_at)
    return refund, session.get_one(Purchase, refund.purchase_id)


def _said(session: Session, refund: Refund, purchase: Purchase, *, now: datetime) -> dict[str, Any]:
    """Return what the receipt of a refund says."""
    names = queries.names_around(session, purchase)
    return {
        "purchase_no": purchase.purchase_no,
        "refund_kind": refund.kind,
        "customer_no": names.customer_no,
        "customer_zh": names.customer_zh,
        "customer_en": names.customer_en,
        "contract_no": names.contract_no,
        "point_no": names.point_no,
        "terminal_id": purchase.terminal_id,
        "paid_fen": -(refund.deposit_back_fen + refund.debt_reopened_fen),
        "debt_paid_fen": -refund.debt_reopened_fen,
        "debt_left_fen": names.debt_fen,
        "energy_wh": -refund.energy_wh,
        "yuan_per_kwh": f"{refund.yuan_per_kwh.normalize():f}",
        "kept_nfen": refund.kept_after_nfen,
        "order_no": refund.order_no,
        "paid_until_wh": refund.paid_until_wh,
        "reason": refund.reason,
        "booked_at": now.isoformat(),
    }


class _Told(NamedTuple):
    """What the record is told of a step: what was before, what is after beside the refund itself, what was posted."""

    action: str
    before: dict[str, Any]
    after: dict[str, Any]
    posted: Sequence[UUID | None]


def _record(session: Session, refund: Refund, told: _Told, *, now: datetime) -> None:
    deed = Deed(
        action=f"refund.{told.action}",
        subject_kind="purchase",
        subject=session.get_one(Purchase, refund.purchase_id).purchase_no,
        before=told.before,
        after={
            "refund_id": refund.id,
            "state": refund.state,
            "kind": refund.kind,
            "reason": refund.reason,
            "released_because": refund.released_because,
            "energy_wh": refund.energy_wh,
            "deposit_back_fen": refund.deposit_back_fen,
            "debt_reopened_fen": refund.debt_reopened_fen,
            "regranted_wh": refund.regranted_wh,
            **told.after,
        },
        transaction_ids=tuple(one for one in told.posted if one is not None),
    )
    audit.record(session, deed, at=now)
