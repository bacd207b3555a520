"""Reads for closings: how an account stands, and what became of a closing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.closings.models import Closing
from app.closings.rules import Account, ClosingRefused, ClosingState, Readiness, Source
from app.commands.queries import held_at
from app.commands.rules import IN_DOUBT
from app.customers import queries as customers
from app.customers.models import SupplyContract
from app.errors import NotFound
from app.load_control import queries as load_control
from app.load_control.facts import Facts, Stage
from app.load_control.service import Pace
from app.quantities import NANOFEN_PER_FEN, price_nfen_per_wh
from app.refunds.queries import terminals_hold
from app.shifts.models import Receipt

# What was paid for, oldest first: an opening for what it brought along, each purchase less what refunds took back.
_SOURCES = text("""
    SELECT 0 AS order_no, 'opening' AS name, opening.remaining_wh AS energy_wh, opening.energy_paid_fen,
           NULL AS yuan_per_kwh
      FROM opening_balances AS opening WHERE opening.supply_point_id = :point
    UNION ALL
    SELECT purchase.order_no, purchase.purchase_no,
           purchase.energy_wh - CAST(coalesce(sum(
               refund.energy_wh
               + CASE refund.kind WHEN 'reversal' THEN purchase.emergency_repaid_wh ELSE 0 END
               - CASE refund.state WHEN 'withdrawn' THEN refund.regranted_wh ELSE 0 END), 0) AS bigint),
           NULL, purchase.yuan_per_kwh
      FROM purchases AS purchase LEFT JOIN refunds AS refund ON refund.purchase_id = purchase.id
     WHERE purchase.supply_point_id = :point
     GROUP BY purchase.id
     ORDER BY order_no
""")

_STANDS = text("""
    SELECT allowance.paid_until_wh, allowance.posted_supplied_wh, allowance.opening_supplied_wh, allowance.kept_nfen,
           (SELECT jsonb_object_agg(kind, balance) FROM ledger_accounts WHERE supply_point_id = :point) AS balances,
           EXISTS (SELECT FROM refunds WHERE supply_point_id = :point AND state = 'taking_back') AS refund_under_way,
           EXISTS (SELECT FROM cheques AS cheque JOIN supply_contracts AS contract ON contract.id = cheque.contract_id
                    WHERE contract.supply_point_id = :point AND cheque.state = 'in_clearing') AS cheque_in_clearing,
           EXISTS (SELECT FROM commands WHERE supply_point_id = :point AND command_class = 'cut'
                      AND state = ANY(:in_doubt) AND ended_at IS NULL) AS cut_on_its_way,
           live.supplied_wh, live.supplied_at
      FROM allowances AS allowance
      LEFT JOIN terminals AS terminal
        ON terminal.supply_point_id = allowance.supply_point_id AND terminal.retired_at IS NULL
      LEFT JOIN terminal_live AS live ON live.terminal_id = terminal.id
     WHERE allowance.supply_point_id = :point
""")


_STANDING_AS = {"deposit": "deposit_fen", "receivable": "debt_fen", "emergency": "emergency_wh"}


class NoSuchClosing(NotFound):
    title = "There is no such closing"

    def __init__(self, *, contract_no: str) -> None:
        super().__init__(
            f"Nobody has asked for the account of contract {contract_no} to be closed.",
            remedy=f"Ask for it: POST /api/v1/contracts/{contract_no}/closing.",
            contract_no=contract_no,
        )


class Stands(NamedTuple):
    """An account as its tables have it now; ``counted_at`` is when the terminal read its counter."""

    paid_until_wh: int
    posted_supplied_wh: int
    opening_supplied_wh: int
    kept_nfen: int
    balances: dict[str, int]
    refund_under_way: bool
    cheque_in_clearing: bool
    cut_on_its_way: bool
    counter_wh: int | None
    counted_at: datetime | None

    @property
    def unsettled(self) -> dict[str, int]:
        """What keeps a contract from being closed outright, by name, in fen or Wh; whole fen of money kept count."""
        counted_wh = self.posted_supplied_wh if self.counter_wh is None else self.counter_wh
        amounts = {
            **{_STANDING_AS.get(kind, kind): amount for kind, amount in self.balances.items() if kind != "allowance"},
            "kept_fen": self.kept_nfen // NANOFEN_PER_FEN,
            "remaining_wh": self.paid_until_wh - max(counted_wh, self.opening_supplied_wh),
        }
        return {name: amount for name, amount in amounts.items() if amount}


def stands(session: Session, supply_point_id: UUID) -> Stands:
    values = {"point": supply_point_id, "in_doubt": sorted(IN_DOUBT)}
    return Stands(*session.execute(_STANDS, values).one())


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An account that is asked about, and the terminal that holds its energy."""

    contract: SupplyContract
    terminal_id: str
    account: Account
    ready: Readiness


def account_at(session: Session, contract: SupplyContract, *, pace: Pace, now: datetime) -> Asked:
    """Read how an account stands by the last report, and what could stand against its closing.

    Raises:
        ClosingRefused: no terminal could tell a final reading.
    """
    point = contract.supply_point_id
    terminal_id, facts = facts_at(session, point, pace=pace, now=now)
    now_stands = stands(session, point)
    fresh = facts.supplied_at is not None and now - facts.supplied_at <= facts.report_valid_for
    account = Account(
        reading_wh=facts.supplied_wh or 0,
        paid_until_wh=now_stands.paid_until_wh,
        lent_wh=now_stands.balances["emergency"],
        deposit_fen=now_stands.balances["deposit"],
        debt_fen=now_stands.balances["receivable"],
        kept_nfen=now_stands.kept_nfen,
        sources=tuple(_source(row) for row in session.execute(_SOURCES, {"point": point})),
        yuan_per_kwh=customers.price_in_force(session, contract.id, at=now).yuan_per_kwh,
    )
    ready = Readiness(
        report_fresh=fresh and not facts.estimated,
        reading_wh=facts.supplied_wh,
        posted_supplied_wh=now_stands.posted_supplied_wh,
        active_power_w=facts.active_power_w,
        supply_cut=_is_cut(facts),
        cut_on_its_way=now_stands.cut_on_its_way,
        refund_under_way=now_stands.refund_under_way,
        cheque_in_clearing=now_stands.cheque_in_clearing,
    )
    return Asked(contract=contract, terminal_id=terminal_id, account=account, ready=ready)


def _source(row: Any) -> Source:
    if row.yuan_per_kwh is None:
        return Source(row.name, row.energy_wh, row.energy_paid_fen * NANOFEN_PER_FEN)
    return Source(row.name, row.energy_wh, row.energy_wh * price_nfen_per_wh(row.yuan_per_kwh))


def _is_cut(facts: Facts) -> bool:
    """Whether the service limits or cuts supply, or has not given back yet what it took."""
    limited = facts.limit_w is not None and facts.limit_by_service
    tripped = any(one.tripped_by_service and one.relay == "0" for one in facts.rounds)
    return facts.stage >= Stage.LIMITED or limited or tripped


def facts_at(session: Session, supply_point_id: UUID, *, pace: Pace, now: datetime) -> tuple[str, Facts]:
    """Return the terminal of a supply point under an open contract, and the facts there.

    Raises:
        ClosingRefused: there is none.
    """
    found = load_control.pictures(
        session, [supply_point_id], report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )
    if not found:
        raise ClosingRefused(
            "no_terminal",
            detail="No terminal is fitted that could tell the final reading and take the last order.",
            remedy="Register a terminal for the supply point first.",
        )
    return found[0].terminal_id, found[0].facts


def latest_closing(session: Session, contract: SupplyContract) -> Closing:
    """Return the closing of a contract that was asked for last.

    Raises:
        NoSuchClosing: none was.
    """
    found = session.scalar(
        select(Closing)
        .where(Closing.contract_id == contract.id)
        .order_by(Closing.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NoSuchClosing(contract_no=contract.contract_no)
    return found


class ClosingSeen(NamedTuple):
    """A closing, the numbers around it, what was used after the final reading, and whether the terminal is empty."""

    closing: Closing
    contract_no: str
    receipt_no: str | None
    used_since_wh: int
    given_up: bool
    held: list[dict[str, Any]]


def closing_seen(session: Session, contract_no: str) -> ClosingSeen:
    """Return the latest closing of a contract.

    Raises:
        NoSuchContract, NoSuchClosing: there is nothing to see.
    """
    closing = latest_closing(session, customers.contract_by_no(session, contract_no))
    receipt_no = session.scalar(select(Receipt.receipt_no).where(Receipt.id == closing.receipt_id))
    now_stands = stands(session, closing.supply_point_id)
    under_way = closing.state == ClosingState.CLOSING
    return ClosingSeen(
        closing=closing,
        contract_no=contract_no,
        receipt_no=receipt_no,
        used_since_wh=max((now_stands.counter_wh or 0) - closing.reading_wh, 0),
        given_up=given_up(session, closing, now_stands),
        held=held_at(session, [closing.supply_point_id]).get(closing.supply_point_id, []) if under_way else [],
    )


def given_up(session: Session, closing: Closing, now_stands: Stands) -> bool:
    """Tell whether the terminal has shown the closing's order and read its counter after it."""
    held = terminals_hold(session, [closing.supply_point_id])[closing.supply_point_id]
    read_after = now_stands.counted_at is not None and now_stands.counted_at >= closing.asked_at
    return read_after and held.has_shown(closing.order_no)


class Names(NamedTuple):
    """What a closing's receipt says besides its amounts."""

    customer_no: str
    customer_zh: str
    customer_en: str
    point_no: str
    terminal_id: str | None


def names_around(session: Session, supply_point_id: UUID) -> Names:
    row = session.execute(
        text("""
            SELECT customer.customer_no, customer.name_zh, customer.name_en, point.point_no,
                   (SELECT id FROM terminals WHERE supply_point_id = point.id AND retired_at IS NULL) AS terminal_id
              FROM supply_points AS point JOIN customers AS customer ON customer.id = point.customer_id
             WHERE point.id = :point
        """),
        {"point": supply_point_id},
    ).one()
    return Names(*row)
