"""HTTP in: contracts are signed, and supply points show their stage and why."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.commands.queries import held_at
from app.customers.queries import contract_at_point
from app.customers.schemas import ContractShown, ContractToSign
from app.http.paging import Page, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.ledger.queries import balances
from app.load_control import queries, service
from app.load_control.schemas import (
    DecisionShown,
    NoticeShown,
    SupplyPointListed,
    SupplyPointShown,
    WhyShown,
)
from app.load_control.service import Pace
from app.notices.queries import list_notices, notices_of
from app.roles import Role
from app.site_codes.queries import code_carrying
from app.terminals.queries import rounds_of

router = APIRouter(tags=["supply points"])


@router.post(
    "/contracts",
    summary="Sign a contract on a new supply point",
    status_code=201,
    dependencies=[allow(Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR)],
)
def sign_contract(wanted: ContractToSign, session: Db, now: Now) -> ContractShown:
    """Opens the accounts, the allowance and the control of the supply point as well; then fit a terminal to it."""
    service.open_supply_point(session, wanted.to_sign(), opening_supplied_wh=wanted.opening_supplied_wh, now=now)
    return ContractShown.of(contract_at_point(session, wanted.contract_no))


@router.get("/supply-points", summary="List supply points", dependencies=[signed_in()])
def list_supply_points(session: Db, paging: Paging) -> Page[SupplyPointListed]:
    """In the order of their numbers."""
    rows = queries.list_sites(session, limit=paging.rows_wanted, after=paging.after)
    return page_of(rows, request=paging, key=lambda row: row.supply_point.point_no, show=SupplyPointListed.of)


@router.get("/supply-points/{supply_point_id}", summary="A supply point now", dependencies=[signed_in()])
def read_supply_point(supply_point_id: UUID, session: Db, now: Now, settings: AppSettings) -> SupplyPointShown:
    """What is left, how long it lasts, which stage and why, and what the terminal last told."""
    site = queries.site(session, supply_point_id)
    pace = Pace.of(settings)
    found = queries.pictures(
        session, [supply_point_id], report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )
    terminal_id = site.terminal.id if site.terminal else ""
    told = (site.live.state if site.live else None) or {}
    return SupplyPointShown.whole(
        site,
        site_code=code_carrying(session, terminal_id, order_no=told.get("order_no", 0) + 1),
        facts=found[0].facts if found else None,
        rounds=rounds_of(session, [terminal_id])[terminal_id],
        balances=balances(session, supply_point_id),
        now=now,
    )


@router.get("/supply-points/{supply_point_id}/why", summary="Why this stage", dependencies=[signed_in()])
def read_why(
    supply_point_id: UUID,
    session: Db,
    limit: Annotated[int, Query(ge=1, le=100, description="decisions and notices at most")] = 20,
) -> WhyShown:
    """The latest decisions with the facts that they rested on, and the latest notices."""
    control = queries.site(session, supply_point_id).control
    return WhyShown.model_validate(
        {
            "stage": control.stage,
            "since": control.since,
            "because": control.because,
            "held": control.held,
            "credit_held": held_at(session, [supply_point_id]).get(supply_point_id, []),
            "decisions": [
                DecisionShown.of(row) for row in queries.decisions_of(session, supply_point_id, limit=limit)
            ],
            "notices": [NoticeShown.of(row) for row in notices_of(session, supply_point_id, limit=limit)],
        }
    )


@router.get(
    "/supply-points/{supply_point_id}/notices", summary="What the customer was told", dependencies=[signed_in()]
)
def list_notices_of(supply_point_id: UUID, session: Db, paging: Paging) -> Page[NoticeShown]:
    """Newest first."""
    queries.site(session, supply_point_id)
    rows = list_notices(session, supply_point_id, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.id, show=NoticeShown.of)
