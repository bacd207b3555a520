"""Reads of the two books."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.ledger.models import LedgerAccount
from app.ledger.rules import AccountKind


def balances(session: Session, supply_point_id: UUID) -> dict[AccountKind, int]:
    """Return the kept balances of a supply point on each account's normal side, in fen or Wh."""
    rows = session.execute(
        select(LedgerAccount.kind, LedgerAccount.balance).where(LedgerAccount.supply_point_id == supply_point_id)
    )
    return {AccountKind(row.kind): row.balance or 0 for row in rows}
