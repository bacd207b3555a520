"""The story of a sale: money in, debt off, energy granted, the credit on its way, supply given back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.audit import service as audit
from app.audit.rules import Deed
from app.commands import service as commands
from app.commands.rules import Op
from app.database import Step, add_last, new_id, together
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control import service as load_control
from app.load_control.service import Pace
from app.purchases import queries
from app.purchases.queries import Counter
from app.purchases.rules import Quote, hours_of_supply, quote
from app.shifts import service as shifts
from app.shifts.rules import ReceiptKind, Tender, TenderKind, check_tenders, money_lines, receipt_no
from app.shifts.service import WRITE_RECEIPT, Numbered
from app.terminals import service as terminals

_LOCK = text("""
    SELECT point.id FROM supply_points AS point
      JOIN supply_contracts AS contract ON contract.supply_point_id = point.id
     WHERE contract.contract_no = :contract_no
       FOR NO KEY UPDATE OF point
""")

_BOOK = text(
    WRITE_RECEIPT  # noqa: S608 - text of our own
    + """
    INSERT INTO purchases (id, purchase_no, supply_point_id, contract_id, terminal_id, cashier_id, paid_fen,
           debt_paid_fen, kept_before_nfen, kept_after_nfen, yuan_per_kwh, energy_wh, emergency_repaid_wh,
           paid_until_wh, order_no, command_id, money_transaction_id, energy_transaction_id, receipt_id, booked_at)
    VALUES (:id, :purchase_no, :supply_point_id, :contract_id, :terminal_id, :cashier_id, :paid_fen, :debt_paid_fen,
           :kept_before_nfen, :kept_after_nfen, :yuan_per_kwh, :energy_wh, :emergency_repaid_wh, :paid_until_wh,
           :order_no, :command_id, :money_transaction_id, :energy_transaction_id, :receipt_id, :issued_at)
"""
)


@dataclass(frozen=True, kw_only=True)
class Sale:
    """What the cashier asks for; without tenders it is paid in cash. Only ``app.cheques`` knows that one cleared."""

    contract_no: str
    paid_fen: int
    cashier_id: UUID
    tenders: tuple[Tender, ...] = ()
    cheque_cleared: bool = False

    @property
    def taken(self) -> tuple[Tender, ...]:
        return self.tenders or (Tender(kind=TenderKind.CASH, amount_fen=self.paid_fen),)


@dataclass(frozen=True, kw_only=True)
class Sold:
    """What became of it: energy in Wh, money in fen and nano-fen."""

    purchase_no: str
    receipt_no: str
    order_no: int
    counter: Counter
    quote: Quote
    paid_until_wh: int
    command_id: UUID | None
    booked_at: datetime


def quote_sale(session: Session, *, contract_no: str, paid_fen: int, now: datetime) -> tuple[Counter, Quote]:
    """Say what an amount would buy now; nothing is written or locked.

    Raises:
        NoSuchContract, ContractClosed, NoPriceInForce, NoTerminalFitted, AmountNotSellable: it could not be sold.
    """
    known = queries.counter(session, contract_no, at=now)
    return known, _quote(known, paid_fen)


def sell_energy(session: Session, sale: Sale, *, pace: Pace, now: datetime) -> Sold:
    """Sell energy on a contract, whole or not at all.

    Raises:
        NoSuchContract, ContractClosed, NoPriceInForce, NoTerminalFitted, AmountNotSellable: nothing is written.
        NoOpenShift, TenderUnusable, TendersUnequal: the money could not be taken; nothing is written.
    """
    _, *answers = together(session, *opening_of(sale, now=now))
    return _sell(session, sale, Opened(*answers), pace=pace, now=now, write=lambda book: together(session, book))


class Opened(NamedTuple):
    """The answers of a sale's first steps, but for the lock's."""

    known: Counter
    shift_id: UUID
    counted: terminals.Counted


def opening_of(sale: Sale, *, now: datetime) -> tuple[Step[Any], ...]:
    """Return a sale's first steps: lock the supply point, know what is needed, take the order number.

    The supply point's lock comes first: from here on no cut of this point can be claimed, and whatever cut was on its
    way is called back or undone before the customer has the receipt. All answers but the first make :class:`Opened`.
    """
    no = sale.contract_no
    return (
        _to_lock(no),
        queries.to_know(no, at=now),
        shifts.to_know_shift(sale.cashier_id),
        terminals.to_next_order(no),
    )


def sell_opened(session: Session, sale: Sale, opened: Opened, *, pace: Pace, now: datetime) -> Sold:
    """Do what :func:`sell_energy` does after the first steps, in their transaction; it is written right at the end.

    The receipt's number is taken by the last statement before that, so one sale at a till waits for another as
    shortly as can be.
    """
    return _sell(session, sale, opened, pace=pace, now=now, write=lambda book: add_last(session, book))


def _sell(
    session: Session, sale: Sale, opened: Opened, *, pace: Pace, now: datetime, write: Callable[[Step[None]], object]
) -> Sold:
    known, shift_id, counted = opened
    check_tenders(sale.taken, amount_fen=sale.paid_fen, cheque_cleared=sale.cheque_cleared)
    priced = _quote(known, sale.paid_fen)
    draft = _Draft(id=new_id(), sale=sale, opened=opened, priced=priced, booked_at=now)
    ids, post = _to_post(draft)
    command_id, credit = _to_credit(draft, pace=pace) if priced.granted_wh else (None, [])
    _, granted_wh, still_normal, *ended, numbered = together(
        session,
        post,
        _to_grant(draft, ids),
        load_control.to_look_again(known.supply_point_id, now=now),
        *credit,
        shifts.to_take_number(sale.cashier_id, shift_id=shift_id),
    )
    if granted_wh != draft.paid_until_wh:
        raise LookupError(f"the allowance of {known.supply_point_id} moved without its supply point's lock")
    for commands_ended in ended:
        commands.note_made_way(session, commands_ended, now=now)
    load_control.after_purchase(session, known.supply_point_id, still_normal=still_normal, pace=pace, now=now)
    write(_to_book(draft, ids, numbered, command_id=command_id))
    paper_no = receipt_no(numbered.till_no, numbered.number)
    _record(session, draft, ids, paper_no=paper_no)
    return Sold(
        purchase_no=draft.purchase_no,
        receipt_no=paper_no,
        order_no=counted.order_no,
        counter=known,
        quote=priced,
        paid_until_wh=draft.paid_until_wh,
        command_id=command_id,
        booked_at=now,
    )


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A sale of which all is known before it is written, since its supply point is locked."""

    id: UUID
    sale: Sale
    opened: Opened
    priced: Quote
    booked_at: datetime

    @property
    def known(self) -> Counter:
        return self.opened.known

    @property
    def counted(self) -> terminals.Counted:
        return self.opened.counted

    @property
    def paid_until_wh(self) -> int:
        return self.known.paid_until_wh + self.priced.granted_wh

    @property
    def purchase_no(self) -> str:
        return f"P{self.booked_at:%Y%m%d}-{self.known.purchase_number:07d}"


def _quote(known: Counter, paid_fen: int) -> Quote:
    return quote(
        paid_fen=paid_fen,
        debt_fen=known.debt_fen,
        kept_nfen=known.kept_nfen,
        yuan_per_kwh=known.yuan_per_kwh,
        debt_share_percent=known.debt_share_percent,
        emergency_wh=known.emergency_wh,
    )


def energy_lines(priced: Quote) -> tuple[Line, ...]:
    """Return the energy lines of a purchase: sold, and of that given back or granted."""
    lines = (
        Line(kind=AccountKind.ENERGY_SOLD, amount=priced.energy_wh),
        Line(kind=AccountKind.ALLOWANCE, amount=-priced.granted_wh),
        Line(kind=AccountKind.EMERGENCY, amount=-priced.emergency_repaid_wh),
    )
    return tuple(line for line in lines if line.amount)


def _to_lock(contract_no: str) -> Step[None]:
    return Step(statement=_LOCK, values={"contract_no": contract_no}, read=lambda _rows: None)


def _to_post(draft: _Draft) -> tuple[list[UUID], Step[None]]:
    priced = draft.priced
    lines = [*money_lines(draft.sale.taken)]
    if priced.debt_paid_fen:
        lines.append(Line(kind=AccountKind.RECEIVABLE, amount=-priced.debt_paid_fen))
    if priced.deposited_fen:
        lines.append(Line(kind=AccountKind.DEPOSIT, amount=-priced.deposited_fen))
    postings = [
        Posting(
            kind="purchase",
            business_key=f"purchase:{draft.id}:money",
            lines=tuple(lines),
            shift_id=draft.opened.shift_id,
        )
    ]
    if priced.energy_wh:
        postings.append(
            Posting(
                kind="purchase",
                business_key=f"purchase:{draft.id}:energy",
                lines=energy_lines(priced),
            )
        )
    return ledger.to_post(
        draft.known.supply_point_id,
        postings,
        effective_and_recorded_at=(draft.booked_at, draft.booked_at),
        actor_id=draft.sale.cashier_id,
    )


def _to_grant(draft: _Draft, ids: list[UUID]) -> Step[int]:
    point, priced = draft.known.supply_point_id, draft.priced
    if not priced.granted_wh:
        return allowances.to_keep_money(point, kept_nfen=priced.kept_after_nfen)
    new = allowances.Grant(
        supply_point_id=point,
        transaction_id=ids[1],
        reason="purchase",
        energy_wh=priced.granted_wh,
        kept_nfen=priced.kept_after_nfen,
        order_no=draft.counted.order_no,
    )
    return allowances.to_grant(new, now=draft.booked_at)


def _to_credit(draft: _Draft, *, pace: Pace) -> tuple[UUID, list[Step[list[Any]]]]:
    """Order the terminal to take the energy; an older credit on its way makes way, since this one says it all."""
    known = draft.known
    new = commands.NewCommand(
        terminal_id=known.terminal_id,
        supply_point_id=known.supply_point_id,
        op=Op.CREDIT,
        args={
            "order_no": draft.counted.order_no,
            "mode": "refresh" if known.taking_back else "append",
            "value_wh": draft.priced.granted_wh,
            "paid_until_wh": draft.paid_until_wh,
            "alarm_wh": known.alarm_wh,
            "trip_wh": known.trip_wh,
        },
        reason=f"purchase of {draft.priced.granted_wh // 1000:,} kWh",
        version=draft.counted.version,
    )
    command_id, step = commands.to_add(new, clock=pace.clock, now=draft.booked_at)
    return command_id, [step]


def _to_book(draft: _Draft, ids: list[UUID], numbered: Numbered, *, command_id: UUID | None) -> Step[None]:
    known = draft.known
    paper_no = receipt_no(numbered.till_no, numbered.number)
    receipt = shifts.NewReceipt(
        kind=ReceiptKind.PURCHASE,
        subject_id=draft.id,
        amount_fen=draft.sale.paid_fen,
        tenders=draft.sale.taken,
        content=_said(draft),
    )
    values = {
        **draft.priced.__dict__,
        **shifts.receipt_values(receipt, numbered, receipt_no=paper_no, now=draft.booked_at),
        "id": draft.id,
        "purchase_no": draft.purchase_no,
        "supply_point_id": known.supply_point_id,
        "contract_id": known.contract_id,
        "terminal_id": known.terminal_id,
        "cashier_id": draft.sale.cashier_id,
        "yuan_per_kwh": known.yuan_per_kwh,
        "paid_until_wh": draft.paid_until_wh,
        "order_no": draft.counted.order_no,
        "command_id": command_id,
        "money_transaction_id": ids[0],
        "energy_transaction_id": ids[1] if draft.priced.energy_wh else None,
    }
    return Step(statement=_BOOK, values=values, read=lambda _rows: None)


def _said(draft: _Draft) -> dict[str, Any]:
    """Return what the receipt says of a purchase, as it was at this moment."""
    known, priced = draft.known, draft.priced
    left_wh = draft.paid_until_wh - known.supplied_wh if known.supplied_wh is not None else None
    return {
        "purchase_no": draft.purchase_no,
        "customer_no": known.customer_no,
        "customer_zh": known.customer_zh,
        "customer_en": known.customer_en,
        "contract_no": known.contract_no,
        "point_no": known.point_no,
        "terminal_id": known.terminal_id,
        "paid_fen": priced.paid_fen,
        "debt_paid_fen": priced.debt_paid_fen,
        "debt_left_fen": known.debt_fen - priced.debt_paid_fen,
        "energy_wh": priced.energy_wh,
        "emergency_repaid_wh": priced.emergency_repaid_wh,
        "yuan_per_kwh": f"{known.yuan_per_kwh.normalize():f}",
        "kept_nfen": priced.kept_after_nfen,
        "order_no": draft.counted.order_no,
        "paid_until_wh": draft.paid_until_wh,
        "left_wh": left_wh,
        "hours_left": hours_of_supply(left_wh, load_w=known.recent_load_w),
        "booked_at": draft.booked_at.isoformat(),
    }


def _record(session: Session, draft: _Draft, ids: list[UUID], *, paper_no: str) -> None:
    known, priced = draft.known, draft.priced
    deed = Deed(
        action="energy.sold",
        subject_kind="contract",
        subject=known.contract_no,
        before={"paid_until_wh": known.paid_until_wh, "debt_fen": known.debt_fen, "kept_nfen": known.kept_nfen},
        after={
            "purchase_no": draft.purchase_no,
            "receipt_no": paper_no,
            "paid_fen": priced.paid_fen,
            "debt_paid_fen": priced.debt_paid_fen,
            "energy_wh": priced.energy_wh,
            "emergency_repaid_wh": priced.emergency_repaid_wh,
            "yuan_per_kwh": known.yuan_per_kwh,
            "kept_nfen": priced.kept_after_nfen,
            "paid_until_wh": draft.paid_until_wh,
            "order_no": draft.counted.order_no,
        },
        transaction_ids=tuple(ids),
    )
    audit.record(session, deed, at=draft.booked_at)
