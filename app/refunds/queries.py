"""Reads for refunds: how a purchase stands, and what became of what was taken back."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.commands import queries as commands
from app.errors import NotFound, Refused
from app.load_control import queries as load_control
from app.load_control.levels import level_that_acts, levels
from app.load_control.service import Pace
from app.purchases.models import Purchase
from app.purchases.queries import NoSuchPurchase
from app.refunds.models import Refund
from app.refunds.rules import Given, RefundState, Standing, energy_to_keep, left_of
from app.shifts.models import Receipt, TenderTaken

# Grants in the order in which they happened; what a refund took or gave back belongs to its purchase,
# and what a withdrawn closing took and gave back comes to nothing.
_GIVEN = text("""
    SELECT coalesce(purchase.id, refund.purchase_id, closing.id, given.id) AS source, given.energy_wh
      FROM allowance_grants AS given
      LEFT JOIN purchases AS purchase ON purchase.energy_transaction_id = given.transaction_id
      LEFT JOIN refunds AS refund
        ON refund.supply_point_id = given.supply_point_id
       AND given.transaction_id IN (refund.energy_transaction_id, refund.regrant_transaction_id)
      LEFT JOIN closings AS closing
        ON given.transaction_id IN (closing.energy_transaction_id, closing.again_transaction_id)
     WHERE given.supply_point_id = :point ORDER BY given.order_no, given.id
""")

_STANDS = text("""
    SELECT allowance.kept_nfen, lent.balance AS emergency_wh,
           NOT EXISTS (SELECT FROM purchases AS later
                        WHERE later.supply_point_id = :point AND later.order_no > :order_no
                          AND NOT EXISTS (SELECT FROM refunds AS undone WHERE undone.purchase_id = later.id
                                             AND undone.kind = 'reversal' AND undone.state = 'paid_out'))
           AND NOT EXISTS (SELECT FROM refunds AS later
                            WHERE later.supply_point_id = :point
                              AND greatest(later.order_no, later.regrant_order_no) > :order_no
                              AND NOT (later.kind = 'reversal' AND later.state = 'paid_out')) AS newest,
           EXISTS (SELECT FROM refunds WHERE purchase_id = :purchase AND state <> 'withdrawn') AS refunded
      FROM allowances AS allowance
      JOIN ledger_accounts AS lent
        ON lent.supply_point_id = allowance.supply_point_id AND lent.kind = 'emergency'
     WHERE allowance.supply_point_id = :point
""")

_HELD = text(f"""
    SELECT terminal.supply_point_id, {load_control.SHOWN_ORDER} AS shown_order_no,
           coalesce((live.state->>'order_no')::bigint, 0) AS told_order_no
      FROM terminals AS terminal JOIN terminal_live AS live ON live.terminal_id = terminal.id
     WHERE terminal.supply_point_id = ANY(:points) AND terminal.retired_at IS NULL
""")  # noqa: S608 - put together from texts of our own


class NoSuchRefund(NotFound):
    title = "There is no such refund"

    def __init__(self, *, refund_id: UUID) -> None:
        super().__init__(
            f"No refund has the id {refund_id}.",
            remedy="Take the id from GET /api/v1/refunds.",
            refund_id=str(refund_id),
        )


class NothingToAsk(Refused):
    """What was used is asked of a terminal under an open contract."""

    title = "No terminal can be asked"

    def __init__(self, *, purchase_no: str) -> None:
        super().__init__(
            f"The supply point of purchase {purchase_no} has no terminal under an open contract that could tell what "
            "was used.",
            remedy="Settle the account by the meter.",
            purchase_no=purchase_no,
        )


def purchase_by_no(session: Session, purchase_no: str) -> Purchase:
    found = session.scalar(select(Purchase).where(Purchase.purchase_no == purchase_no))
    if found is None:
        raise NoSuchPurchase(purchase_no=purchase_no)
    return found


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A purchase as it stands, and the terminal that holds its energy."""

    standing: Standing
    terminal_id: str
    alarm_wh: int
    trip_wh: int


def standing_of(session: Session, purchase: Purchase, *, pace: Pace, now: datetime) -> Asked:
    """Ask how much of a purchase has been used and what could be spared.

    It holds for as long as the caller has the supply point's lock; a quote has none.

    Raises:
        NothingToAsk: no open contract, or no terminal.
    """
    point = purchase.supply_point_id
    found = load_control.pictures(
        session, [point], report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )
    if not found:
        raise NothingToAsk(purchase_no=purchase.purchase_no)
    facts = found[0].facts
    at = levels(facts)
    row = session.execute(_STANDS, {"point": point, "order_no": purchase.order_no, "purchase": purchase.id}).one()
    given = [Given(*one) for one in session.execute(_GIVEN, {"point": point})]
    fresh = facts.supplied_at is not None and now - facts.supplied_at <= facts.report_valid_for
    standing = Standing(
        granted_wh=purchase.energy_wh - purchase.emergency_repaid_wh,
        left_wh=left_of(purchase.id, given, remaining_wh=facts.remaining_wh),
        remaining_wh=facts.remaining_wh,
        keep_wh=energy_to_keep(
            level_wh=level_that_acts(facts),
            recent_load_w=facts.recent_load_w,
            report_valid_s=int(facts.report_valid_for.total_seconds()),
        ),
        emergency_wh=row.emergency_wh,
        kept_nfen=row.kept_nfen,
        yuan_per_kwh=purchase.yuan_per_kwh,
        deposited_fen=purchase.paid_fen - purchase.debt_paid_fen,
        debt_paid_fen=purchase.debt_paid_fen,
        kept_before_nfen=purchase.kept_before_nfen,
        newest=row.newest,
        refunded=row.refunded,
        report_fresh=fresh and not facts.estimated,
        closing=facts.closing,
    )
    return Asked(standing=standing, terminal_id=found[0].terminal_id, alarm_wh=at.warning, trip_wh=at.trip)


class TerminalHolds(NamedTuple):
    """The order that a terminal last told of, and the one that it has shown: given to it here, and holding no more.

    Told of order 7 where 5 was the last, or of order 5 with more Wh than order 5 said: shown is 0.
    """

    shown_order_no: int
    told_order_no: int

    def has_taken_back(self, refund: Refund) -> bool:
        """Tell whether the terminal has shown the refund's order, or a later one, which carries it as well.

        What was paid out after its proof needs none again, whatever terminal has come since.
        """
        proved_before = refund.state == RefundState.PAID_OUT and refund.released_by is None
        return proved_before or self.has_shown(refund.order_no)

    def has_shown(self, order_no: int) -> bool:
        """Tell whether the terminal has shown an order, or a later one, which carries it as well."""
        return self.shown_order_no >= order_no


_HOLDS_NOTHING = TerminalHolds(0, 0)


def terminals_hold(session: Session, supply_point_ids: Iterable[UUID]) -> defaultdict[UUID, TerminalHolds]:
    """Return what the terminal of each supply point holds, as it last told; nothing where none stands."""
    rows = session.execute(_HELD, {"points": list(supply_point_ids)})
    told = {row.supply_point_id: TerminalHolds(row.shown_order_no, row.told_order_no) for row in rows}
    return defaultdict(lambda: _HOLDS_NOTHING, told)


class RefundSeen(NamedTuple):
    """A refund, the numbers around it, and whether the terminal has given the energy up."""

    refund: Refund
    purchase_no: str
    receipt_no: str | None
    taken_back: bool
    held: list[dict[str, Any]]


def refund_seen(session: Session, refund_id: UUID) -> RefundSeen:
    """Return one refund.

    Raises:
        NoSuchRefund: none has the id.
    """
    rows = list_refunds(session, state=None, limit=1, before=None, refund_id=refund_id)
    if not rows:
        raise NoSuchRefund(refund_id=refund_id)
    return rows[0]


def list_refunds(
    session: Session, *, state: str | None, limit: int, before: UUID | None, refund_id: UUID | None = None
) -> list[RefundSeen]:
    """Return up to ``limit`` refunds, newest first, those asked for before the one with id ``before``."""
    wanted = (
        select(Refund, Purchase.purchase_no, Receipt.receipt_no)
        .join(Purchase, Purchase.id == Refund.purchase_id)
        .outerjoin(Receipt, Receipt.id == Refund.receipt_id)
        .order_by(Refund.id.desc())
        .limit(limit)
    )
    if state is not None:
        wanted = wanted.where(Refund.state == state)
    if before is not None:
        wanted = wanted.where(Refund.id < before)
    if refund_id is not None:
        wanted = wanted.where(Refund.id == refund_id)
    rows = session.execute(wanted).all()
    points = {row[0].supply_point_id for row in rows}
    holds, held = terminals_hold(session, points), commands.held_at(session, points)
    seen = []
    for row in rows:
        refund = row[0]
        taken_back = holds[refund.supply_point_id].has_taken_back(refund)
        under_way = not taken_back and refund.state != RefundState.WITHDRAWN
        why = held.get(refund.supply_point_id, []) if under_way else []
        seen.append(RefundSeen(*row, taken_back=taken_back, held=why))
    return seen


def tenders_of(session: Session, receipt_id: UUID) -> list[TenderTaken]:
    """Return the money on a receipt, line by line."""
    return list(
        session.scalars(select(TenderTaken).where(TenderTaken.receipt_id == receipt_id).order_by(TenderTaken.line))
    )


class Names(NamedTuple):
    """What a refund's receipt says besides its amounts."""

    contract_no: str
    customer_no: str
    customer_zh: str
    customer_en: str
    point_no: str
    debt_fen: int


def names_around(session: Session, purchase: Purchase) -> Names:
    row = session.execute(
        text("""
            SELECT contract.contract_no, customer.customer_no, customer.name_zh AS customer_zh,
                   customer.name_en AS customer_en, point.point_no, account.balance AS debt_fen
              FROM supply_contracts AS contract
              JOIN supply_points AS point ON point.id = contract.supply_point_id
              JOIN customers AS customer ON customer.id = point.customer_id
              JOIN ledger_accounts AS account ON account.supply_point_id = point.id AND account.kind = 'receivable'
             WHERE contract.id = :contract
        """),
        {"contract": purchase.contract_id},
    ).one()
    return Names(*row)
