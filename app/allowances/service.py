"""Changes to the allowance: opening it, granting energy, posting what was supplied."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.allowances.models import Allowance
from app.audit import service as audit
from app.audit.rules import Deed
from app.database import Step, new_id, together
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Posting

_GRANT = text("""
    WITH raised AS (
        UPDATE allowances
           SET paid_until_wh = paid_until_wh + :energy_wh, kept_nfen = :kept_nfen
         WHERE supply_point_id = :supply_point_id
     RETURNING paid_until_wh
    )
    INSERT INTO allowance_grants
           (id, supply_point_id, transaction_id, reason, energy_wh, paid_until_wh, order_no, granted_at)
    SELECT :id, :supply_point_id, :transaction_id, :reason, :energy_wh, paid_until_wh, :order_no, :granted_at
      FROM raised
 RETURNING paid_until_wh
""")

_KEEP_MONEY = text("UPDATE allowances SET kept_nfen = :kept WHERE supply_point_id = :id RETURNING paid_until_wh")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Energy to be granted once, with the money that waits for the next purchase."""

    supply_point_id: UUID
    transaction_id: UUID
    reason: str
    energy_wh: int
    kept_nfen: int
    order_no: int


def open_allowance(session: Session, supply_point_id: UUID, *, opening_supplied_wh: int) -> None:
    """Open the allowance at the terminal's counter as it stood at commissioning."""
    session.add(
        Allowance(
            supply_point_id=supply_point_id,
            opening_supplied_wh=opening_supplied_wh,
            paid_until_wh=opening_supplied_wh,
            posted_supplied_wh=opening_supplied_wh,
        )
    )
    session.flush()


def grant(session: Session, new: Grant, *, now: datetime) -> int:
    """Grant energy under the supply point's lock; returns the new ``paid_until_wh``."""
    (paid_until_wh,) = together(session, to_grant(new, now=now))
    return int(paid_until_wh)


def to_grant(new: Grant, *, now: datetime) -> Step[int]:
    """Return the step that grants energy; its answer is the new ``paid_until_wh``."""
    values = {**new.__dict__, "id": new_id(), "granted_at": now}
    return Step(statement=_GRANT, values=values, read=_paid_until_wh)


def keep_money(session: Session, supply_point_id: UUID, *, kept_nfen: int) -> int:
    """Record money that moves no whole Wh; returns ``paid_until_wh``, as it was."""
    (paid_until_wh,) = together(session, to_keep_money(supply_point_id, kept_nfen=kept_nfen))
    return int(paid_until_wh)


def to_keep_money(supply_point_id: UUID, *, kept_nfen: int) -> Step[int]:
    """Return the step that records money which bought no whole Wh; its answer is ``paid_until_wh``, as it was."""
    return Step(statement=_KEEP_MONEY, values={"kept": kept_nfen, "id": supply_point_id}, read=_paid_until_wh)


def _paid_until_wh(rows: list[Any]) -> int:
    (row,) = rows
    return int(row.paid_until_wh)


def post_supplied(session: Session, supply_point_id: UUID, *, supplied_wh: int, now: datetime) -> int:
    """Post to the energy book what was supplied since the last posting; returns it in Wh (0: nothing to post).

    The caller holds the supply point's lock. A counter below what was posted is not posted: it is for a person.
    """
    posted_wh, opening_wh = session.execute(
        text("SELECT posted_supplied_wh, opening_supplied_wh FROM allowances WHERE supply_point_id = :id"),
        {"id": supply_point_id},
    ).one()
    fresh_wh = supplied_wh - posted_wh
    if fresh_wh <= 0:
        return 0
    posted = ledger.post(
        session,
        supply_point_id,
        [
            Posting(
                kind="supplied",
                # Counted from the opening, which moves with the counter: another terminal's readings may repeat.
                business_key=f"supplied:{supply_point_id}:from-opening:{supplied_wh - opening_wh}",
                lines=(
                    Line(kind=AccountKind.ALLOWANCE, amount=fresh_wh),
                    Line(kind=AccountKind.ENERGY_SUPPLIED, amount=-fresh_wh),
                ),
            )
        ],
        now=now,
        actor_id=None,
    )
    session.execute(
        text("UPDATE allowances SET posted_supplied_wh = :supplied_wh WHERE supply_point_id = :id"),
        {"supplied_wh": supplied_wh, "id": supply_point_id},
    )
    deed = Deed(
        action="energy.supplied",
        subject_kind="supply_point",
        subject=str(supply_point_id),
        before={"supplied_wh": posted_wh},
        after={"supplied_wh": supplied_wh},
        transaction_ids=tuple(posted),
    )
    audit.record(session, deed, at=now)
    return int(fresh_wh)


def rebase(
    session: Session, allowance: Allowance, *, opening_supplied_wh: int, posted_supplied_wh: int, paid_until_wh: int
) -> None:
    """Move an allowance to the readings of another counter, under the supply point's lock; no energy moves."""
    allowance.opening_supplied_wh = opening_supplied_wh
    allowance.posted_supplied_wh = posted_supplied_wh
    allowance.paid_until_wh = paid_until_wh
    session.flush()
