"""Takes over what a customer brings along: both books, the allowance, and the credit that tells the terminal."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.audit import service as audit
from app.audit.rules import Deed
from app.commands import service as commands
from app.commands.rules import Op
from app.customers import service as customers
from app.customers.queries import NoSuchContract
from app.database import Step, together
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting
from app.load_control import service as load_control
from app.load_control.service import Pace
from app.openings import queries
from app.openings.rules import Ground, Opening, granted_wh, money_lines
from app.terminals import service as terminals
from app.terminals.service import Counted

_KIND = "opening"

_BOOK = text("""
    INSERT INTO opening_balances (supply_point_id, contract_id, reading_wh, remaining_wh, granted_wh, energy_paid_fen,
           debt_fen, kept_fen, terminal_id, order_no, command_id, money_transaction_id, energy_transaction_id,
           opened_by, opened_at)
    VALUES (:supply_point_id, :contract_id, :reading_wh, :remaining_wh, :granted_wh, :energy_paid_fen,
           :debt_fen, :kept_fen, :terminal_id, :order_no, :command_id, :money_transaction_id, :energy_transaction_id,
           :opened_by, :opened_at)
""")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What became of it; ``command_id`` carries the energy to the terminal."""

    supply_point_id: UUID
    granted_wh: int
    order_no: int | None
    command_id: UUID | None


def ready(session: Session, contract_nos: Collection[str]) -> dict[str, Ground]:
    """Lock the supply points of these contracts, in the order of ids, and say what stands there.

    Sites that were there before openings get the utility's accounts for them.
    """
    found = queries.grounds(session, contract_nos)
    points = {ground.supply_point_id for ground in found.values()}
    if not points:
        return {}
    customers.lock_supply_points(session, points)
    ledger.open_accounts(session, min(points))
    # Read again: somebody may have sold while the locks were waited for.
    return queries.grounds(session, contract_nos)


def open_balance(session: Session, opening: Opening, *, by: UUID, pace: Pace, now: datetime) -> Opened:
    """Take over one opening balance, whole or not at all.

    Raises:
        NoSuchContract: no contract has the number.
        DomainError: what :func:`app.openings.rules.granted_wh` refuses.
    """
    ground = ready(session, [opening.contract_no]).get(opening.contract_no)
    if ground is None:
        raise NoSuchContract(contract_no=opening.contract_no)
    return open_locked(session, opening, ground, by=by, pace=pace, now=now)


def open_locked(session: Session, opening: Opening, ground: Ground, *, by: UUID, pace: Pace, now: datetime) -> Opened:
    """Do what :func:`open_balance` does on ground that :func:`ready` gave in this transaction."""
    energy_wh = granted_wh(opening, ground)
    point = ground.supply_point_id
    # Without energy there is no order, and control begins with the first purchase.
    counted = terminals.next_order(session, point) if opening.remaining_wh else None
    ids, post = _to_post(opening, ground, energy_wh=energy_wh, by=by, now=now)
    command_id, credit = _to_credit(opening, ground, counted, pace=pace, now=now) if counted else (None, [])
    row = {
        **opening.__dict__,
        "supply_point_id": point,
        "contract_id": ground.contract_id,
        "granted_wh": energy_wh,
        "terminal_id": ground.terminal_id if counted else None,
        "order_no": counted.order_no if counted else None,
        "command_id": command_id,
        "money_transaction_id": ids.get("money"),
        "energy_transaction_id": ids.get("energy"),
        "opened_by": by,
        "opened_at": now,
    }
    _, _, _, still_normal, *ended = together(
        session,
        post,
        _to_grant(opening, point, order_no=counted.order_no if counted else 0, granted=(ids, energy_wh), now=now),
        Step(statement=_BOOK, values=row, read=bool),
        load_control.to_look_again(point, now=now),
        *credit,
    )
    for commands_ended in ended:
        commands.note_made_way(session, commands_ended, now=now)
    load_control.after_purchase(session, point, still_normal=still_normal, pace=pace, now=now)
    deed = Deed(
        action="balance.opened",
        subject_kind="contract",
        subject=opening.contract_no,
        before={"paid_until_wh": ground.paid_until_wh},
        after={**asdict(opening), "granted_wh": energy_wh},
        transaction_ids=tuple(ids.values()),
    )
    audit.record(session, deed, at=now)
    return Opened(
        supply_point_id=point,
        granted_wh=energy_wh,
        order_no=counted.order_no if counted else None,
        command_id=command_id,
    )


def _to_post(
    opening: Opening, ground: Ground, *, energy_wh: int, by: UUID, now: datetime
) -> tuple[dict[str, UUID], Step[None]]:
    energy = (
        Line(kind=AccountKind.OPENING_ENERGY, amount=energy_wh),
        Line(kind=AccountKind.ALLOWANCE, amount=-energy_wh),
    )
    lines = {"money": money_lines(opening), "energy": energy if energy_wh else ()}
    posted = {book: which for book, which in lines.items() if which}
    point = ground.supply_point_id
    postings = [
        Posting(kind=_KIND, business_key=f"opening:{point}:{book}", lines=which) for book, which in posted.items()
    ]
    ids, step = ledger.to_post(point, postings, effective_and_recorded_at=(now, now), actor_id=by)
    return dict(zip(posted, ids, strict=True)), step


def _to_grant(
    opening: Opening, point: UUID, *, order_no: int, granted: tuple[dict[str, UUID], int], now: datetime
) -> Step[int]:
    ids, energy_wh = granted
    if not energy_wh:
        return allowances.to_keep_money(point, kept_nfen=opening.kept_nfen)
    new = allowances.Grant(
        supply_point_id=point,
        transaction_id=ids["energy"],
        reason=_KIND,
        energy_wh=energy_wh,
        kept_nfen=opening.kept_nfen,
        order_no=order_no,
    )
    return allowances.to_grant(new, now=now)


def _to_credit(
    opening: Opening, ground: Ground, counted: Counted, *, pace: Pace, now: datetime
) -> tuple[UUID, list[Step[list[Any]]]]:
    """Tell the terminal; ``refresh``, since what it holds from the system before may be more or less than this."""
    new = commands.NewCommand(
        terminal_id=ground.terminal_id or "",
        supply_point_id=ground.supply_point_id,
        op=Op.CREDIT,
        args={
            "order_no": counted.order_no,
            "mode": "refresh",
            "value_wh": opening.remaining_wh,
            "paid_until_wh": opening.reading_wh + opening.remaining_wh,
            "alarm_wh": ground.alarm_wh,
            "trip_wh": ground.trip_wh,
        },
        reason=f"opening balance of {opening.remaining_wh // 1000:,} kWh",
        version=counted.version,
    )
    command_id, step = commands.to_add(new, clock=pace.clock, now=now)
    return command_id, [step]
