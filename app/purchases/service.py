"""The story of a sale: money in, debt off, energy granted, the credit on its way, supply given back."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.commands import service as commands
from app.commands.rules import Op
from app.customers.queries import NoSuchContract
from app.database import new_id
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control import service as load_control
from app.load_control.service import Pace
from app.purchases import queries
from app.purchases.queries import Counter
from app.purchases.rules import Quote, quote
from app.terminals import service as terminals

_LOCK = text("""
    SELECT point.id FROM supply_points AS point
      JOIN supply_contracts AS contract ON contract.supply_point_id = point.id
     WHERE contract.contract_no = :contract_no
       FOR NO KEY UPDATE OF point
""")

_BOOK = text("""
    INSERT INTO purchases (id, purchase_no, supply_point_id, contract_id, terminal_id, cashier_id, paid_fen,
           debt_paid_fen, kept_before_nfen, kept_after_nfen, yuan_per_kwh, energy_wh, paid_until_wh, order_no,
           command_id, money_transaction_id, energy_transaction_id, booked_at)
    VALUES (:id, 'P' || :day || '-' || (SELECT lpad(number, greatest(length(number), 7), '0')
                                            FROM CAST(nextval('purchase_numbers') AS text) AS number),
           :supply_point_id, :contract_id, :terminal_id, :cashier_id, :paid_fen, :debt_paid_fen, :kept_before_nfen,
           :kept_after_nfen, :yuan_per_kwh, :energy_wh, :paid_until_wh, :order_no, :command_id,
           :money_transaction_id, :energy_transaction_id, :booked_at)
 RETURNING purchase_no
""")


@dataclass(frozen=True, kw_only=True)
class Sale:
    """What the cashier asks for."""

    contract_no: str
    paid_fen: int
    cashier_id: UUID


@dataclass(frozen=True, kw_only=True)
class Sold:
    """What became of it: energy in Wh, money in fen and nano-fen."""

    purchase_no: str
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

    The supply point's lock comes first: from here on no cut of this point can be claimed, and whatever cut was on its
    way is called back or undone before the customer has the receipt.

    Raises:
        NoSuchContract, ContractClosed, NoPriceInForce, NoTerminalFitted, AmountNotSellable: nothing is written.
    """
    if session.execute(_LOCK, {"contract_no": sale.contract_no}).first() is None:
        raise NoSuchContract(contract_no=sale.contract_no)
    known = queries.counter(session, sale.contract_no, at=now)
    priced = _quote(known, sale.paid_fen)
    counted = terminals.next_order(session, known.terminal_id)
    purchase_id = new_id()
    money_id, energy_id = _post(session, known, priced, purchase_id=purchase_id, sale=sale, now=now)
    paid_until_wh = _grant(session, known, priced, energy_id=energy_id, order_no=counted.order_no, now=now)
    command_id = None
    if energy_id is not None:
        command_id = _credit(session, known, priced, counted=counted, paid_until_wh=paid_until_wh, pace=pace, now=now)
    purchase_no = session.execute(
        _BOOK,
        {
            **priced.__dict__,
            "id": purchase_id,
            "day": f"{now:%Y%m%d}",
            "supply_point_id": known.supply_point_id,
            "contract_id": known.contract_id,
            "terminal_id": known.terminal_id,
            "cashier_id": sale.cashier_id,
            "yuan_per_kwh": known.yuan_per_kwh,
            "paid_until_wh": paid_until_wh,
            "order_no": counted.order_no,
            "command_id": command_id,
            "money_transaction_id": money_id,
            "energy_transaction_id": energy_id,
            "booked_at": now,
        },
    ).scalar_one()
    load_control.after_purchase(session, known.supply_point_id, pace=pace, now=now)
    return Sold(
        purchase_no=purchase_no,
        order_no=counted.order_no,
        counter=known,
        quote=priced,
        paid_until_wh=paid_until_wh,
        command_id=command_id,
        booked_at=now,
    )


def _quote(known: Counter, paid_fen: int) -> Quote:
    return quote(
        paid_fen=paid_fen, debt_fen=known.debt_fen, kept_nfen=known.kept_nfen, yuan_per_kwh=known.yuan_per_kwh
    )


def _post(
    session: Session, known: Counter, priced: Quote, *, purchase_id: UUID, sale: Sale, now: datetime
) -> tuple[UUID, UUID | None]:
    lines = [Line(kind=AccountKind.TILL, amount=priced.paid_fen)]
    if priced.debt_paid_fen:
        lines.append(Line(kind=AccountKind.RECEIVABLE, amount=-priced.debt_paid_fen))
    if priced.deposited_fen:
        lines.append(Line(kind=AccountKind.DEPOSIT, amount=-priced.deposited_fen))
    postings = [Posting(kind="purchase", business_key=f"purchase:{purchase_id}:money", lines=tuple(lines))]
    if priced.energy_wh:
        postings.append(
            Posting(
                kind="purchase",
                business_key=f"purchase:{purchase_id}:energy",
                lines=(
                    Line(kind=AccountKind.ENERGY_SOLD, amount=priced.energy_wh),
                    Line(kind=AccountKind.ALLOWANCE, amount=-priced.energy_wh),
                ),
            )
        )
    ids = ledger.post(session, known.supply_point_id, postings, now=now, actor_id=sale.cashier_id)
    return ids[0], ids[1] if priced.energy_wh else None


def _grant(
    session: Session, known: Counter, priced: Quote, *, energy_id: UUID | None, order_no: int, now: datetime
) -> int:
    if energy_id is None:
        return allowances.keep_money(session, known.supply_point_id, kept_nfen=priced.kept_after_nfen)
    return allowances.grant(
        session,
        allowances.Grant(
            supply_point_id=known.supply_point_id,
            transaction_id=energy_id,
            reason="purchase",
            energy_wh=priced.energy_wh,
            kept_nfen=priced.kept_after_nfen,
            order_no=order_no,
        ),
        now=now,
    )


def _credit(
    session: Session,
    known: Counter,
    priced: Quote,
    *,
    counted: terminals.Counted,
    paid_until_wh: int,
    pace: Pace,
    now: datetime,
) -> UUID:
    """Order the terminal to take the energy; an older credit on its way makes way, since this one says it all."""
    new = commands.NewCommand(
        terminal_id=known.terminal_id,
        supply_point_id=known.supply_point_id,
        op=Op.CREDIT,
        args={
            "order_no": counted.order_no,
            "mode": "append",
            "value_wh": priced.energy_wh,
            "paid_until_wh": paid_until_wh,
            "alarm_wh": known.alarm_wh,
            "trip_wh": known.trip_wh,
        },
        reason=f"purchase of {priced.energy_wh // 1000:,} kWh",
        version=counted.version,
    )
    return commands.add(session, new, clock=pace.clock, now=now)
