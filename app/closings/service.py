"""The story of a closing: energy taken back, proved, money settled, contract closed; or withdrawn."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.closings import queries
from app.closings.books import Order, move_energy_in, move_energy_out, settle_money
from app.closings.models import Closing
from app.closings.queries import Asked
from app.closings.rules import (
    AccountMoved,
    AccountNotSettled,
    ClosingOver,
    ClosingRefused,
    ClosingReleasedBefore,
    ClosingState,
    NotGivenUpYet,
    Outcome,
    OwnClosing,
    Settlement,
    UsedSinceFinalReading,
    check_ready,
    settle,
)
from app.commands import service as commands
from app.customers import queries as customer_queries
from app.customers import service as customers
from app.customers.models import SupplyContract
from app.customers.rules import ContractClosed, ContractClosing
from app.database import new_id, together
from app.load_control import service as load_control
from app.load_control.levels import levels
from app.load_control.service import Pace
from app.notices import service as notices
from app.quantities import NANOFEN_PER_FEN
from app.refunds.queries import terminals_hold
from app.shifts import service as shifts
from app.shifts.rules import ReceiptKind, Tender, TenderKind, check_tenders, receipt_no
from app.staff.queries import get_staff_member
from app.terminals import service as terminals

_CLOSING = "the account is being closed"


@dataclass(frozen=True, kw_only=True)
class NewClosing:
    contract_no: str
    reason: str
    asked_by: UUID


def would_settle(session: Session, contract_no: str, *, pace: Pace, now: datetime) -> tuple[Asked, Settlement]:
    """Say what an account would come to now; nothing is written or locked.

    Raises:
        NoSuchContract, ContractClosed, ContractClosing, ClosingRefused: it could not be closed now.
    """
    contract = customer_queries.contract_by_no(session, contract_no)
    _refuse_closed(contract)
    asked = queries.account_at(session, contract, pace=pace, now=now)
    check_ready(asked.ready)
    return asked, settle(asked.account)


def ask(session: Session, new: NewClosing, *, pace: Pace, now: datetime) -> Closing:
    """Begin a closing: energy leaves the books and the terminal, and nothing can be sold or cut any more.

    Raises:
        NoSuchContract, ContractClosed, ContractClosing, ClosingRefused: nothing is written.
    """
    contract = _locked(session, new.contract_no)
    asked, settled = would_settle(session, new.contract_no, pace=pace, now=now)
    point = contract.supply_point_id
    closing = _drawn_up(new, asked, settled, now=now)
    move_energy_out(session, closing, asked, pace=pace, now=now)
    contract.closing_since = now
    session.add(closing)
    session.flush()
    commands.call_back_cuts(session, point, because=_CLOSING, now=now)
    notices.withdraw(session, point, because=_CLOSING, now=now)
    load_control.reassess(session, [point], trigger="closing", pace=pace, now=now)
    before = {"state": None, "paid_until_wh": closing.reading_wh + closing.remaining_wh}
    after = {"paid_until_wh": closing.reading_wh}
    posted = [closing.energy_transaction_id]
    _record(session, closing, contract, _Told("asked", before, after, posted), now=now)
    return closing


def _drawn_up(new: NewClosing, asked: Asked, settled: Settlement, *, now: datetime) -> Closing:
    worth_fen, worth_nfen = divmod(settled.worth_nfen, NANOFEN_PER_FEN)
    return Closing(
        id=new_id(),
        contract_id=asked.contract.id,
        supply_point_id=asked.contract.supply_point_id,
        state=ClosingState.CLOSING,
        outcome=settled.outcome,
        reason=new.reason,
        reading_wh=asked.account.reading_wh,
        remaining_wh=settled.remaining_wh,
        lent_wh=settled.lent_wh,
        parts=[part._asdict() for part in settled.parts],
        worth_fen=worth_fen,
        worth_nfen=worth_nfen,
        overused_wh=settled.overused_wh,
        overused_fen=settled.overused_fen,
        yuan_per_kwh=settled.yuan_per_kwh,
        deposit_fen=settled.deposit_fen,
        debt_fen=settled.debt_fen,
        kept_before_nfen=settled.kept_before_nfen,
        kept_after_nfen=settled.kept_after_nfen,
        money_fen=settled.money_fen,
        asked_by=new.asked_by,
        asked_at=now,
    )


def release(session: Session, contract_no: str, *, because: str, approver_id: UUID, now: datetime) -> Closing:
    """Let the closing be finished although the terminal has not shown its order; somebody answers for it.

    Raises:
        NoSuchContract, NoSuchClosing, ClosingOver: there is nothing to release.
        ClosingReleasedBefore: somebody answers for it already.
        OwnClosing: the approver has asked for it.
    """
    contract, closing = _under_way(session, contract_no)
    if closing.asked_by == approver_id:
        raise OwnClosing
    if closing.released_by is not None:
        by = get_staff_member(session, staff_member_id=closing.released_by).sign_in_name
        raise ClosingReleasedBefore(by=by, because=closing.released_because)
    before = {"state": closing.state, "released_because": closing.released_because}
    closing.released_by = approver_id
    closing.released_at = now
    closing.released_because = because
    session.flush()
    _record(session, closing, contract, _Told("released", before, {}, []), now=now)
    return closing


def finish(
    session: Session, contract_no: str, *, tenders: tuple[Tender, ...], cashier_id: UUID, now: datetime
) -> Closing:
    """Pay out or take the money at the cashier's till, empty the accounts, and close the contract.

    Without ``tenders`` it is cash; their amounts are above zero whichever way the money goes.

    Raises:
        NoSuchContract, NoSuchClosing, ClosingOver: there is nothing to finish.
        NotGivenUpYet: the terminal has not shown its order, and nobody has released it.
        ClosingRefused: a cheque is in clearing after all.
        UsedSinceFinalReading, AccountMoved: it would not settle what stands.
        NoOpenShift, TillLacksCash, TenderUnusable, TendersUnequal: the money could not be moved.
    """
    contract, closing = _under_way(session, contract_no)
    _refuse_unproved(session, closing)
    numbered, taken, number = None, [], None
    if closing.money_fen:
        numbered = shifts.take_number(session, cashier_id)
        number = receipt_no(numbered.till_no, numbered.number)
        taken = _tenders(closing, tenders)
        shifts.refuse_cash_not_held(session, numbered, taken)
    settle_money(session, closing, taken, numbered=numbered, by=cashier_id, now=now)
    if numbered is not None and number is not None:
        closing.receipt_id = shifts.write_receipt(
            session,
            shifts.NewReceipt(
                kind=ReceiptKind.REFUND if closing.outcome == Outcome.REFUND else ReceiptKind.PAYMENT,
                subject_id=closing.id,
                amount_fen=-closing.money_fen,
                tenders=taken,
                content=_said(session, closing, contract, now=now),
            ),
            numbered,
            receipt_no=number,
            now=now,
        )
    closing.state = ClosingState.FINISHED
    closing.ended_at, closing.ended_by = now, cashier_id
    contract.closing_since = None
    session.flush()
    load_control.close_supply_point(session, contract_no, now=now)
    after = {"receipt_no": number, "tenders": [asdict(one) for one in taken]}
    posted = [closing.money_transaction_id]
    _record(session, closing, contract, _Told("finished", {"state": ClosingState.CLOSING}, after, posted), now=now)
    return closing


def _refuse_unproved(session: Session, closing: Closing) -> None:
    now_stands = queries.stands(session, closing.supply_point_id)
    if now_stands.cheque_in_clearing:
        raise ClosingRefused(
            "cheque_in_clearing",
            detail="A cheque of this contract is in clearing, and what it is to buy could not be sold any more.",
            remedy="Give the cheque back first; or withdraw the closing, and ask for it again when it has cleared.",
        )
    if closing.released_by is None and not queries.given_up(session, closing, now_stands):
        held = terminals_hold(session, [closing.supply_point_id])[closing.supply_point_id]
        raise NotGivenUpYet(terminal_order_no=held.told_order_no, order_no=closing.order_no)
    counter_wh = closing.reading_wh if now_stands.counter_wh is None else now_stands.counter_wh
    if counter_wh != closing.reading_wh:
        raise UsedSinceFinalReading(reading_wh=closing.reading_wh, counter_wh=counter_wh)
    settled_on = {"deposit": closing.deposit_fen, "receivable": closing.debt_fen}
    moved = [kind for kind, balance in now_stands.balances.items() if balance != settled_on.get(kind, 0)]
    if moved or now_stands.kept_nfen != closing.kept_before_nfen:
        raise AccountMoved


def _tenders(closing: Closing, given: tuple[Tender, ...]) -> list[Tender]:
    """Return the money that moves: above zero comes in, below zero goes out."""
    amount_fen = abs(closing.money_fen)
    taken = given or (Tender(kind=TenderKind.CASH, amount_fen=amount_fen),)
    check_tenders(taken, amount_fen=amount_fen)
    sign = -1 if closing.money_fen > 0 else 1
    return [
        Tender(kind=tender.kind, amount_fen=sign * tender.amount_fen, reference=tender.reference) for tender in taken
    ]


def withdraw(session: Session, contract_no: str, *, by: UUID, pace: Pace, now: datetime) -> Closing:
    """Give the energy back as if the closing had never been asked for.

    Raises:
        NoSuchContract, NoSuchClosing, ClosingOver: there is nothing to withdraw.
        ClosingRefused: no terminal could take the energy.
    """
    contract, closing = _under_way(session, contract_no)
    point = closing.supply_point_id
    contract.closing_since = None
    session.flush()
    terminal_id, facts = queries.facts_at(session, point, pace=pace, now=now)
    counted = terminals.next_order(session, point)
    closing.again_order_no = counted.order_no
    closing.state = ClosingState.WITHDRAWN
    closing.ended_at, closing.ended_by = now, by
    session.flush()
    at = levels(facts)
    back = Order(
        closing=closing,
        terminal_id=terminal_id,
        counted=counted,
        paid_until_wh=closing.reading_wh + closing.remaining_wh,
        levels_wh=(at.warning, at.trip),
        by=by,
        reason="the closing of the account was withdrawn",
    )
    move_energy_in(session, back, pace=pace, now=now)
    session.flush()
    (looked,) = together(session, load_control.to_look_again(point, now=now))
    load_control.after_purchase(session, point, still_normal=looked, pace=pace, now=now)
    before = {"state": ClosingState.CLOSING, "paid_until_wh": closing.reading_wh}
    after = {"paid_until_wh": back.paid_until_wh}
    posted = [closing.again_transaction_id]
    _record(session, closing, contract, _Told("withdrawn", before, after, posted), now=now)
    return closing


def close_unused(session: Session, contract_no: str, *, now: datetime) -> SupplyContract:
    """Close a contract that never had anything.

    Raises:
        NoSuchContract, ContractClosed, ContractClosing, SupplyStillCut: it cannot be closed now.
        AccountNotSettled: energy, money, debt or emergency credit stands, which a closing settles.
    """
    contract = _locked(session, contract_no)
    _refuse_closed(contract)
    standing = queries.stands(session, contract.supply_point_id).unsettled
    if standing:
        raise AccountNotSettled(contract_no=contract_no, standing=standing)
    return load_control.close_supply_point(session, contract_no, now=now)


def _locked(session: Session, contract_no: str) -> SupplyContract:
    contract = customer_queries.contract_by_no(session, contract_no)
    customers.lock_supply_points(session, [contract.supply_point_id])
    session.refresh(contract)
    return contract


def _refuse_closed(contract: SupplyContract) -> None:
    if contract.closed_at is not None:
        raise ContractClosed(contract_no=contract.contract_no, closed_at=contract.closed_at)
    if contract.closing_since is not None:
        raise ContractClosing(contract_no=contract.contract_no, closing_since=contract.closing_since)


def _under_way(session: Session, contract_no: str) -> tuple[SupplyContract, Closing]:
    contract = _locked(session, contract_no)
    closing = queries.latest_closing(session, contract)
    if closing.state != ClosingState.CLOSING:
        raise ClosingOver(state=ClosingState(closing.state), ended_at=closing.ended_at)
    return contract, closing


def _said(session: Session, closing: Closing, contract: SupplyContract, *, now: datetime) -> dict[str, Any]:
    """Return what the receipt of a closing says."""
    return {
        **queries.names_around(session, closing.supply_point_id)._asdict(),
        "contract_no": contract.contract_no,
        "closing": closing.outcome,
        "reading_wh": closing.reading_wh,
        "unused_wh": max(closing.remaining_wh - closing.lent_wh, 0),
        "unused_worth_fen": closing.worth_fen,
        "parts": closing.parts,
        "overused_wh": closing.overused_wh,
        "overused_fen": closing.overused_fen,
        "debt_settled_fen": closing.debt_fen,
        "fraction_nfen": closing.kept_after_nfen,
        "order_no": closing.order_no,
        "reason": closing.reason,
        "booked_at": now.isoformat(),
    }


class _Told(NamedTuple):
    """What the record is told of a step: what was before, what is after besides the closing, what was posted."""

    action: str
    before: dict[str, Any]
    after: dict[str, Any]
    posted: Sequence[UUID | None]


def _record(session: Session, closing: Closing, contract: SupplyContract, told: _Told, *, now: datetime) -> None:
    same = (
        "outcome", "reason", "released_because", "reading_wh", "remaining_wh", "lent_wh", "overused_wh",
        "overused_fen", "deposit_fen", "debt_fen", "kept_before_nfen", "kept_after_nfen", "money_fen", "order_no",
    )  # fmt: skip
    copied = {name: getattr(closing, name) for name in same}
    deed = Deed(
        action=f"closing.{told.action}",
        subject_kind="contract",
        subject=contract.contract_no,
        before=told.before,
        after={"closing_id": closing.id, "state": closing.state, **copied, **told.after},
        transaction_ids=tuple(one for one in told.posted if one is not None),
    )
    audit.record(session, deed, at=now)
