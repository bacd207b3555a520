"""What a closing writes: both books, the allowance, and the orders to the terminal."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.closings.models import Closing
from app.closings.queries import Asked
from app.commands import service as commands
from app.commands.rules import Op
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control.levels import UNWATCHED_WH
from app.load_control.service import Pace
from app.shifts.rules import Tender, money_lines
from app.shifts.service import Numbered
from app.terminals import service as terminals


@dataclass(frozen=True, kw_only=True)
class Order:
    """A credit order that a closing sends; ``levels_wh`` are those of alarm and trip."""

    closing: Closing
    terminal_id: str
    counted: terminals.Counted
    paid_until_wh: int
    levels_wh: tuple[int, int]
    by: UUID
    reason: str

    def as_credit(self) -> commands.NewCommand:
        taken_back = self.paid_until_wh == self.closing.reading_wh
        alarm_wh, trip_wh = self.levels_wh
        return commands.NewCommand(
            terminal_id=self.terminal_id,
            supply_point_id=self.closing.supply_point_id,
            op=Op.CREDIT,
            args={
                "order_no": self.counted.order_no,
                # Only the absolute value of a refresh fits whatever the terminal holds.
                "mode": "refresh",
                "value_wh": -self.closing.remaining_wh if taken_back else self.closing.remaining_wh,
                "paid_until_wh": self.paid_until_wh,
                "alarm_wh": alarm_wh,
                "trip_wh": trip_wh,
            },
            reason=self.reason,
            version=self.counted.version,
            requested_by=self.by,
        )


def move_energy_out(session: Session, closing: Closing, asked: Asked, *, pace: Pace, now: datetime) -> None:
    """Take paid-until to the final reading, in the books at once and at the terminal by a refresh order.

    What was supplied is posted first, so that the allowance account holds what remains, and then nothing. Energy used
    beyond what was paid counts as sold.
    """
    point = closing.supply_point_id
    allowances.post_supplied(session, point, supplied_wh=closing.reading_wh, now=now)
    counted = terminals.next_order(session, point)
    closing.order_no = counted.order_no
    lines = _energy_lines(closing)
    if lines:
        posting = Posting(kind="closing", business_key=f"closing:{closing.id}:energy", lines=lines)
        (closing.energy_transaction_id,) = ledger.post(session, point, [posting], now=now, actor_id=closing.asked_by)
        _grant(
            session, closing, -closing.remaining_wh, counted, transaction_id=closing.energy_transaction_id, now=now
        )
    order = Order(
        closing=closing,
        terminal_id=asked.terminal_id,
        counted=counted,
        paid_until_wh=closing.reading_wh,
        levels_wh=(UNWATCHED_WH, UNWATCHED_WH),
        by=closing.asked_by,
        reason="the account is being closed",
    )
    closing.command_id = commands.add(session, order.as_credit(), clock=pace.clock, now=now)


def move_energy_in(session: Session, order: Order, *, pace: Pace, now: datetime) -> None:
    """Undo what :func:`move_energy_out` did, by an order for a contract that is no longer closing."""
    closing = order.closing
    if closing.energy_transaction_id is not None:
        posting = Posting(
            kind="closing withdrawn",
            business_key=f"closing:{closing.id}:again",
            lines=tuple(Line(kind=line.kind, amount=-line.amount) for line in _energy_lines(closing)),
            reverses_id=closing.energy_transaction_id,
        )
        (transaction_id,) = ledger.post(session, closing.supply_point_id, [posting], now=now, actor_id=order.by)
        closing.again_transaction_id = transaction_id
        _grant(session, closing, closing.remaining_wh, order.counted, transaction_id=transaction_id, now=now)
    commands.add(session, order.as_credit(), clock=pace.clock, now=now)


def _energy_lines(closing: Closing) -> tuple[Line, ...]:
    lines = (
        Line(kind=AccountKind.ALLOWANCE, amount=closing.remaining_wh),
        Line(kind=AccountKind.EMERGENCY, amount=-closing.lent_wh),
        Line(kind=AccountKind.ENERGY_SOLD, amount=closing.lent_wh - closing.remaining_wh),
    )
    return tuple(line for line in lines if line.amount)


def _grant(
    session: Session,
    closing: Closing,
    energy_wh: int,
    counted: terminals.Counted,
    *,
    transaction_id: UUID,
    now: datetime,
) -> None:
    if not energy_wh:
        return
    grant = allowances.Grant(
        supply_point_id=closing.supply_point_id,
        transaction_id=transaction_id,
        reason="closing",
        energy_wh=energy_wh,
        kept_nfen=closing.kept_before_nfen,
        order_no=counted.order_no,
    )
    allowances.grant(session, grant, now=now)


def settle_money(
    session: Session, closing: Closing, tenders: list[Tender], *, numbered: Numbered | None, by: UUID, now: datetime
) -> None:
    """Empty deposit and receivable: money goes out or comes in, and the rest of the deposit was earned by supply.

    Nothing consumes the deposit before an account is settled, so it holds all money that was ever paid for energy.
    What is not given back and settles no debt is the value of the energy supplied: revenue.
    """
    earned_fen = closing.deposit_fen - closing.debt_fen - closing.money_fen
    rest = (
        Line(kind=AccountKind.DEPOSIT, amount=closing.deposit_fen),
        Line(kind=AccountKind.RECEIVABLE, amount=-closing.debt_fen),
        Line(kind=AccountKind.REVENUE, amount=-earned_fen),
    )
    lines = (*money_lines(tenders), *(line for line in rest if line.amount))
    if lines:
        posting = Posting(
            kind="closing",
            business_key=f"closing:{closing.id}:money",
            lines=lines,
            shift_id=numbered.shift_id if numbered else None,
        )
        (closing.money_transaction_id,) = ledger.post(
            session, closing.supply_point_id, [posting], now=now, actor_id=by
        )
    allowances.keep_money(session, closing.supply_point_id, kept_nfen=closing.kept_after_nfen)
