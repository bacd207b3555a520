"""The story of a cheque: taken in, and after the bank has spoken either a purchase or a paper that says no."""

from dataclasses import asdict, dataclass
from datetime import date, datetime, tzinfo
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.cheques import queries
from app.cheques.models import Cheque
from app.cheques.rules import ChequeEnded, ChequeState, check_date, day_at, ended_lines, taken_lines
from app.customers import service as customers
from app.customers.queries import contract_by_no
from app.database import new_id
from app.errors import Conflict
from app.ledger import service as ledger
from app.ledger.rules import Posting
from app.load_control.service import Pace
from app.purchases.rules import LARGEST_PURCHASE_FEN, AmountNotSellable
from app.purchases.service import Sale, Sold, sell_energy
from app.shifts import service as shifts
from app.shifts.rules import ReceiptKind, Tender, TenderKind, receipt_no


class ChequeTakenBefore(Conflict):
    """The same paper twice would be credited twice."""

    title = "The cheque was taken in before"

    def __init__(self, *, bank: str, cheque_no: str) -> None:
        super().__init__(
            f"Cheque {cheque_no} of {bank} is in clearing or has cleared already.",
            remedy="GET /api/v1/cheques lists what is in clearing; look at the number on the paper again.",
            bank=bank,
            cheque_no=cheque_no,
        )


@dataclass(frozen=True, kw_only=True)
class NewCheque:
    contract_no: str
    amount_fen: int
    cheque_no: str
    bank: str
    drawer: str
    drawn_on: date


def take_in(session: Session, new: NewCheque, *, cashier_id: UUID, zone: tzinfo, now: datetime) -> UUID:
    """Take a cheque in for clearing at the cashier's till; it buys nothing yet. Returns its id.

    Raises:
        NoSuchContract, ContractClosed, ContractClosing: there is nothing that it could pay for.
        AmountNotSellable, ChequeUnusable, ChequeTakenBefore: this cheque is not taken.
        NoOpenShift: the cashier has no till.
    """
    if not 0 < new.amount_fen <= LARGEST_PURCHASE_FEN:
        raise AmountNotSellable(paid_fen=new.amount_fen)
    check_date(new.drawn_on, today=day_at(now, zone))
    # A closing waits for cheques in clearing, so none may be taken in while one is being asked for.
    customers.lock_supply_points(session, [contract_by_no(session, new.contract_no).supply_point_id])
    payer = queries.payer(session, new.contract_no)
    cheque_id = new_id()
    numbered = shifts.take_number(session, cashier_id)
    receipt = shifts.NewReceipt(
        kind=ReceiptKind.CHEQUE,
        subject_id=cheque_id,
        amount_fen=new.amount_fen,
        tenders=(Tender(kind=TenderKind.CHEQUE, amount_fen=new.amount_fen, reference=new.cheque_no),),
        content={**_said(new), **_named(payer)},
    )
    paper_no = receipt_no(numbered.till_no, numbered.number)
    receipt_id = shifts.write_receipt(session, receipt, numbered, receipt_no=paper_no, now=now)
    posting = Posting(
        kind="cheque",
        business_key=f"cheque:{cheque_id}:taken",
        lines=taken_lines(new.amount_fen),
        shift_id=numbered.shift_id,
    )
    (transaction_id,) = ledger.post(session, None, [posting], now=now, actor_id=cashier_id)
    session.add(
        Cheque(
            id=cheque_id,
            contract_id=payer.contract_id,
            state=ChequeState.IN_CLEARING,
            taken_at=now,
            taken_by=cashier_id,
            receipt_id=receipt_id,
            transaction_id=transaction_id,
            **{name: value for name, value in asdict(new).items() if name != "contract_no"},
        )
    )
    try:
        session.flush()
    except IntegrityError as error:
        raise ChequeTakenBefore(bank=new.bank, cheque_no=new.cheque_no) from error
    _record(
        session,
        "cheque.taken",
        new.cheque_no,
        after={**asdict(new), "receipt_no": paper_no},
        ids=[transaction_id],
        at=now,
    )
    return cheque_id


def clear(
    session: Session, cheque_id: UUID, *, bank_reference: str, cashier_id: UUID, pace: Pace, now: datetime
) -> Sold:
    """Sell energy for a cheque that the bank has cleared, at the price in force now, whole or not at all.

    Raises:
        NoSuchCheque, ChequeEnded: there is no such cheque in clearing.
        NoPriceInForce, ContractClosed, NoTerminalFitted: nothing can be sold; the cheque stays in clearing.
        NoOpenShift: the cashier has no till.
    """
    found = queries.cheque(session, cheque_id)
    cheque = found.cheque
    if cheque.state != ChequeState.IN_CLEARING:
        raise ChequeEnded(cheque_no=cheque.cheque_no, state=cheque.state)
    tender = Tender(
        kind=TenderKind.CHEQUE, amount_fen=cheque.amount_fen, reference=f"{cheque.cheque_no} / {bank_reference}"
    )
    sale = Sale(
        contract_no=found.contract_no,
        paid_fen=cheque.amount_fen,
        cashier_id=cashier_id,
        tenders=(tender,),
        cheque_cleared=True,
    )
    # The sale locks the supply point first; whoever clears the same cheque waits there, and then finds it ended.
    sold = sell_energy(session, sale, pace=pace, now=now)
    ended = {"state": ChequeState.CLEARED, "bank_reference": bank_reference, "purchase_no": sold.purchase_no}
    _end(session, cheque, ended, cashier_id=cashier_id, now=now)
    return sold


def give_back(session: Session, cheque_id: UUID, *, reason: str, cashier_id: UUID, now: datetime) -> str:
    """Note that the bank has returned a cheque, and write the paper that says so; returns the paper's number.

    Raises:
        NoSuchCheque, ChequeEnded: there is no such cheque in clearing.
        NoOpenShift: the cashier has no till.
    """
    found = queries.cheque(session, cheque_id)
    cheque = found.cheque
    if cheque.state != ChequeState.IN_CLEARING:
        raise ChequeEnded(cheque_no=cheque.cheque_no, state=cheque.state)
    numbered = shifts.take_number(session, cashier_id)
    new = NewCheque(
        contract_no=found.contract_no,
        amount_fen=cheque.amount_fen,
        cheque_no=cheque.cheque_no,
        bank=cheque.bank,
        drawer=cheque.drawer,
        drawn_on=cheque.drawn_on,
    )
    receipt = shifts.NewReceipt(
        kind=ReceiptKind.CHEQUE_RETURNED,
        subject_id=cheque.id,
        amount_fen=-cheque.amount_fen,
        tenders=(Tender(kind=TenderKind.CHEQUE, amount_fen=-cheque.amount_fen, reference=cheque.cheque_no),),
        content={
            **_said(new),
            **_named(queries.payer_of(session, cheque.contract_id)),
            "reason": reason,
            "cheque_receipt_no": found.receipt_no,
        },
    )
    paper_no = receipt_no(numbered.till_no, numbered.number)
    receipt_id = shifts.write_receipt(session, receipt, numbered, receipt_no=paper_no, now=now)
    ended = {"state": ChequeState.RETURNED, "return_reason": reason, "return_receipt_id": receipt_id}
    _end(session, cheque, ended, cashier_id=cashier_id, now=now)
    return paper_no


def _end(session: Session, cheque: Cheque, ended: dict[str, Any], *, cashier_id: UUID, now: datetime) -> None:
    """Take a cheque out of the books and of clearing; the same row refuses whoever comes second."""
    moved = session.execute(
        update(Cheque)
        .where(Cheque.id == cheque.id, Cheque.state == ChequeState.IN_CLEARING)
        .values(ended_at=now, ended_by=cashier_id, **ended)
        .returning(Cheque.id)
        .execution_options(synchronize_session=False)
    ).first()
    session.refresh(cheque)
    if moved is None:
        raise ChequeEnded(cheque_no=cheque.cheque_no, state=cheque.state)
    posting = Posting(
        kind="cheque",
        business_key=f"cheque:{cheque.id}:{cheque.state}",
        lines=ended_lines(cheque.amount_fen),
        reverses_id=cheque.transaction_id,
    )
    ids = ledger.post(session, None, [posting], now=now, actor_id=cashier_id)
    after = {**ended, "bank": cheque.bank, "amount_fen": cheque.amount_fen}
    before = {"state": ChequeState.IN_CLEARING}
    _record(session, f"cheque.{cheque.state}", cheque.cheque_no, before=before, after=after, ids=ids, at=now)


def _record(
    session: Session,
    action: str,
    cheque_no: str,
    *,
    after: dict[str, Any],
    ids: list[UUID],
    at: datetime,
    before: dict[str, Any] | None = None,
) -> None:
    deed = Deed(
        action=action,
        subject_kind="cheque",
        subject=cheque_no,
        before=before,
        after=after,
        transaction_ids=tuple(ids),
    )
    audit.record(session, deed, at=at)


def _said(new: NewCheque) -> dict[str, Any]:
    return {
        "cheque_no": new.cheque_no,
        "bank": new.bank,
        "drawer": new.drawer,
        "drawn_on": new.drawn_on.isoformat(),
    }


def _named(payer: queries.Payer) -> dict[str, Any]:
    return {name: value for name, value in payer._asdict().items() if name != "contract_id"}
