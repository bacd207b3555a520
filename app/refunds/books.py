"""What a refund writes: the energy book, the allowance, and the order to the terminal."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.commands import service as commands
from app.commands.rules import Op
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control.service import Pace
from app.purchases.models import Purchase
from app.refunds.models import Refund
from app.refunds.queries import Asked
from app.refunds.rules import RefundKind
from app.terminals import service as terminals


def move_energy_back(
    session: Session, refund: Refund, purchase: Purchase, asked: Asked, *, pace: Pace, now: datetime
) -> None:
    """Post the energy that is taken back, lower paid-until, and send the refresh that says so."""
    point = purchase.supply_point_id
    counted = terminals.next_order(session, point)
    lines = _energy_lines(refund, purchase)
    refund.deal_no = counted.order_no
    refund.order_no = counted.order_no if refund.energy_wh else 0
    if lines:
        reversal = refund.kind == RefundKind.REVERSAL
        posting = Posting(
            kind=refund.kind,
            business_key=f"refund:{refund.id}:energy",
            lines=lines,
            reverses_id=purchase.energy_transaction_id if reversal else None,
        )
        (refund.energy_transaction_id,) = ledger.post(session, point, [posting], now=now, actor_id=refund.asked_by)
    if not refund.energy_wh or refund.energy_transaction_id is None:
        refund.paid_until_wh = allowances.keep_money(session, point, kept_nfen=refund.kept_after_nfen)
        return
    refund.paid_until_wh = allowances.grant(
        session,
        allowances.Grant(
            supply_point_id=point,
            transaction_id=refund.energy_transaction_id,
            reason=refund.kind,
            energy_wh=-refund.energy_wh,
            kept_nfen=refund.kept_after_nfen,
            order_no=counted.order_no,
        ),
        now=now,
    )
    refund.command_id = _send(
        session,
        _Order(
            refund=refund,
            asked=asked,
            counted=counted,
            mode="refresh",
            value_wh=-refund.energy_wh,
            paid_until_wh=refund.paid_until_wh,
            by=refund.asked_by,
            reason=f"{refund.kind} of {refund.energy_wh // 1000:,} kWh",
        ),
        pace=pace,
        now=now,
    )


def _energy_lines(refund: Refund, purchase: Purchase) -> tuple[Line, ...]:
    reopened_wh = purchase.emergency_repaid_wh if refund.kind == RefundKind.REVERSAL else 0
    lines = (
        Line(kind=AccountKind.ENERGY_SOLD, amount=-(refund.energy_wh + reopened_wh)),
        Line(kind=AccountKind.ALLOWANCE, amount=refund.energy_wh),
        Line(kind=AccountKind.EMERGENCY, amount=reopened_wh),
    )
    return tuple(line for line in lines if line.amount)


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A credit order that a refund sends."""

    refund: Refund
    asked: Asked
    counted: terminals.Counted
    mode: str
    value_wh: int
    paid_until_wh: int
    by: UUID
    reason: str


def _send(session: Session, order: _Order, *, pace: Pace, now: datetime) -> UUID:
    new = commands.NewCommand(
        terminal_id=order.asked.terminal_id,
        supply_point_id=order.refund.supply_point_id,
        op=Op.CREDIT,
        args={
            "order_no": order.counted.order_no,
            "mode": order.mode,
            "value_wh": order.value_wh,
            "paid_until_wh": order.paid_until_wh,
            "alarm_wh": order.asked.alarm_wh,
            "trip_wh": order.asked.trip_wh,
        },
        reason=order.reason,
        version=order.counted.version,
        requested_by=order.by,
    )
    return commands.add(session, new, clock=pace.clock, now=now)


@dataclass(frozen=True, kw_only=True)
class Again:
    """What withdrawn money buys again, in Wh, what is kept then, in nano-fen, and who has withdrawn it."""

    asked: Asked
    counted: terminals.Counted
    bought_wh: int
    kept_nfen: int
    by: UUID


def move_energy_again(
    session: Session, refund: Refund, purchase: Purchase, again: Again, *, pace: Pace, now: datetime
) -> UUID | None:
    """Post the energy that withdrawn money buys, raise paid-until, send the refresh; returns the transaction's id."""
    point, bought_wh = refund.supply_point_id, again.bought_wh
    # A purchase in between may have given back what the reversal lent again.
    lent_wh = min(purchase.emergency_repaid_wh, again.asked.standing.emergency_wh)
    repaid_wh = min(lent_wh, bought_wh) if refund.kind == RefundKind.REVERSAL else 0
    granted_wh = bought_wh - repaid_wh
    all_lines = (
        Line(kind=AccountKind.ENERGY_SOLD, amount=bought_wh),
        Line(kind=AccountKind.ALLOWANCE, amount=-granted_wh),
        Line(kind=AccountKind.EMERGENCY, amount=-repaid_wh),
    )
    lines = tuple(line for line in all_lines if line.amount)
    transaction_id = None
    if lines:
        posting = Posting(kind="refund withdrawn", business_key=f"refund:{refund.id}:again", lines=lines)
        (transaction_id,) = ledger.post(session, point, [posting], now=now, actor_id=again.by)
    if transaction_id is None or not granted_wh:
        allowances.keep_money(session, point, kept_nfen=again.kept_nfen)
        return transaction_id
    grant = allowances.Grant(
        supply_point_id=point,
        transaction_id=transaction_id,
        reason="refund withdrawn",
        energy_wh=granted_wh,
        kept_nfen=again.kept_nfen,
        order_no=again.counted.order_no,
    )
    order = _Order(
        refund=refund,
        asked=again.asked,
        counted=again.counted,
        # The terminal may or may not have given the energy up: only the absolute value of a refresh fits both.
        mode="refresh",
        value_wh=granted_wh,
        paid_until_wh=allowances.grant(session, grant, now=now),
        by=again.by,
        reason=f"the {refund.kind} was withdrawn: {granted_wh // 1000:,} kWh again",
    )
    _send(session, order, pace=pace, now=now)
    return transaction_id
