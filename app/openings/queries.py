"""Reads for an opening: what stands at each supply point already."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.customers.rules import Threshold
from app.openings.rules import Ground

_GROUNDS = text("""
    SELECT contract.id AS contract_id, contract.contract_no, contract.closed_at, contract.closing_since,
           contract.supply_point_id,
           contract.warning_wh, contract.warning_hours, contract.trip_wh - contract.overdraft_wh AS trip_wh,
           allowance.paid_until_wh, terminal.id AS terminal_id, coalesce(live.recent_load_w, 0) AS recent_load_w,
           EXISTS (SELECT FROM purchases WHERE supply_point_id = contract.supply_point_id) AS purchased,
           EXISTS (SELECT FROM allowance_grants WHERE supply_point_id = contract.supply_point_id) AS granted,
           opening.opened_at
      FROM supply_contracts AS contract
      JOIN allowances AS allowance ON allowance.supply_point_id = contract.supply_point_id
      LEFT JOIN terminals AS terminal
        ON terminal.supply_point_id = contract.supply_point_id AND terminal.retired_at IS NULL
      LEFT JOIN terminal_live AS live ON live.terminal_id = terminal.id
      LEFT JOIN opening_balances AS opening ON opening.supply_point_id = contract.supply_point_id
     WHERE contract.contract_no = ANY(:contract_nos)
""")


def grounds(session: Session, contract_nos: Collection[str]) -> dict[str, Ground]:
    """Return what stands at the supply points of these contracts, by contract number; unknown ones are left out."""
    rows = session.execute(_GROUNDS, {"contract_nos": sorted(contract_nos)})
    return {
        row.contract_no: Ground(
            contract_id=row.contract_id,
            contract_no=row.contract_no,
            closed_at=row.closed_at,
            closing_since=row.closing_since,
            supply_point_id=row.supply_point_id,
            paid_until_wh=row.paid_until_wh,
            terminal_id=row.terminal_id,
            alarm_wh=max(
                Threshold(energy_wh=row.warning_wh, supply_hours=row.warning_hours).level_wh(
                    recent_load_w=row.recent_load_w
                ),
                row.trip_wh,
            ),
            trip_wh=row.trip_wh,
            purchased=row.purchased,
            granted=row.granted,
            opened_at=row.opened_at,
        )
        for row in rows
    }
