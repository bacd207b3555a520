"""HTTP in: people ask for what they may not do alone, and others approve, refuse or review it."""

from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.approvals import queries, service
from app.approvals.books import Asked, Looked
from app.approvals.models import Approval
from app.approvals.rules import ApprovalState, Kind
from app.approvals.schemas import (
    ApprovalNow,
    ApprovalShown,
    Approve,
    CampaignNow,
    CampaignToApprove,
    LimitToApprove,
    OrderAlone,
    OrdersToApprove,
    PointSeen,
    PolicyToApprove,
    RefundToApprove,
    Refuse,
    Review,
    RuleEndToApprove,
)
from app.campaigns import books as campaign_books
from app.campaigns import queries as campaign_queries
from app.campaigns.routes import progress_of
from app.http.idempotency import Keyed, KeyedRequest
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.load_control import queries as load_control_queries
from app.load_control.service import Pace
from app.notices.queries import notices_of
from app.roles import Role

router = APIRouter(prefix="/approvals", tags=["approvals"])

_NOTICES_SHOWN = 10


class _Wanted(Protocol):
    def asked(self, *, by: UUID) -> Asked: ...


@router.post(
    "/orders",
    summary="Ask for cuts",
    status_code=201,
    response_model=ApprovalShown,
    dependencies=[allow(Role.OPERATOR)],
)
async def ask_orders(wanted: OrdersToApprove, request: Keyed) -> Response:
    """A trip, a lower limit, the end of a guarantee, control enabled, a correction: done when another approves it."""
    return await _ask(wanted, request)


@router.post(
    "/alone",
    summary="Cut without approval",
    status_code=201,
    response_model=ApprovalShown,
    dependencies=[allow(Role.OPERATOR, keys=False)],
)
async def order_alone(wanted: OrderAlone, request: Keyed) -> Response:
    """Breaks the glass: one order at one supply point goes out at once, loudly; an approver reviews it within a day.

    Every interlock holds all the same.
    """

    def give(session: Session) -> tuple[int, ApprovalShown]:
        asked = wanted.asked(by=request.person.id)
        approval = service.order_alone(session, asked, pace=Pace.of(request.settings), now=request.now)
        return 201, _shown(session, approval.id, request)

    return await request.once(give)


@router.post(
    "/campaigns",
    summary="Ask for a campaign that cuts",
    status_code=201,
    response_model=ApprovalShown,
    dependencies=[allow(Role.OPERATOR)],
)
async def ask_campaign(wanted: CampaignToApprove, request: Keyed) -> Response:
    """Its first wave begins when another approves it; read its dry run at `GET /api/v1/campaigns/{campaign_id}`."""
    return await _ask(wanted, request)


@router.post(
    "/refunds",
    summary="Ask for a large refund",
    status_code=201,
    response_model=ApprovalShown,
    dependencies=[allow(Role.CASHIER, Role.ACCOUNT_MANAGER)],
)
async def ask_refund(wanted: RefundToApprove, request: Keyed) -> Response:
    """More than one person may take back alone; the energy leaves the books when another approves it."""
    return await _ask(wanted, request)


@router.post(
    "/brake-limits",
    summary="Ask for a higher limit of the brake",
    status_code=201,
    response_model=ApprovalShown,
    dependencies=[allow(Role.ADMINISTRATOR)],
)
async def ask_limit(wanted: LimitToApprove, request: Keyed) -> Response:
    return await _ask(wanted, request)


@router.post(
    "/no-cut-rule-ends",
    summary="Ask for the end of a rule that bars cuts",
    status_code=201,
    response_model=ApprovalShown,
    dependencies=[allow(Role.ADMINISTRATOR)],
)
async def ask_rule_end(wanted: RuleEndToApprove, request: Keyed) -> Response:
    return await _ask(wanted, request)


@router.post(
    "/trip-policies",
    summary="Propose a trip policy",
    status_code=201,
    response_model=ApprovalShown,
    dependencies=[allow(Role.ADMINISTRATOR)],
)
async def ask_policy(wanted: PolicyToApprove, request: Keyed) -> Response:
    """What the service may limit and trip by itself from then on, and how long before a trip it tells."""
    return await _ask(wanted, request)


@router.get("", summary="What was asked for", dependencies=[signed_in()])
def list_approvals(
    session: Db,
    now: Now,
    paging: Paging,
    state: ApprovalState | None = None,
    unreviewed: Annotated[
        bool | None, Query(description="only what one person did alone and nobody has reviewed, or all but that")
    ] = None,
) -> Page[ApprovalShown]:
    """Newest first."""
    rows = queries.list_approvals(
        session, state=state, unreviewed=unreviewed, limit=paging.rows_wanted, before_id=paging.after_id
    )
    return page_of(
        rows, request=paging, key=lambda row: row.approval.id, show=lambda row: ApprovalShown.of(row, now=now)
    )


@router.get("/{approval_id}", summary="A request, and what it would meet now", dependencies=[signed_in()])
def read_approval(approval_id: UUID, session: Db, now: Now, settings: AppSettings) -> ApprovalNow:
    """Everything that is needed to decide: the live state, the notices, what stands against it, what has changed."""
    seen = queries.approval_seen(session, approval_id)
    looked: Looked | None = None
    changed: list[str] = []
    campaign: CampaignNow | None = None
    if ApprovalShown.of(seen, now=now).state is ApprovalState.ASKED:
        looked, changed = service.look_at(session, seen.approval, pace=Pace.of(settings), now=now)
        campaign = _campaign(session, seen.approval, pace=Pace.of(settings), now=now)
    points = _points(session, seen.approval)
    return ApprovalNow.at(seen, looked=looked, changed=changed, points=points, campaign=campaign, now=now)


@router.post(
    "/{approval_id}/approve",
    summary="Approve, and have it done",
    response_model=ApprovalShown,
    dependencies=[allow(Role.APPROVER)],
)
async def approve(approval_id: UUID, wanted: Approve, request: Keyed) -> Response:
    """Nobody approves what they have asked for. What has changed since, or is barred now, is not done."""

    def give(session: Session) -> tuple[int, ApprovalShown]:
        service.approve(
            session,
            approval_id,
            digest=wanted.digest,
            approver_id=request.person.id,
            pace=Pace.of(request.settings),
            now=request.now,
        )
        return 200, _shown(session, approval_id, request)

    return await request.once(give)


@router.post("/{approval_id}/refuse", summary="Refuse", dependencies=[allow(Role.APPROVER)])
def refuse(approval_id: UUID, wanted: Refuse, session: Db, now: Now, person: CurrentPerson) -> ApprovalShown:
    service.refuse(session, approval_id, because=wanted.reason, approver_id=person.id, now=now)
    return ApprovalShown.of(queries.approval_seen(session, approval_id), now=now)


@router.post("/{approval_id}/withdraw", summary="Withdraw your own request", dependencies=[signed_in()])
def withdraw(approval_id: UUID, session: Db, now: Now, person: CurrentPerson) -> ApprovalShown:
    service.withdraw(session, approval_id, by=person.id, now=now)
    return ApprovalShown.of(queries.approval_seen(session, approval_id), now=now)


@router.post("/{approval_id}/review", summary="Review what one person did alone", dependencies=[allow(Role.APPROVER)])
def review(approval_id: UUID, wanted: Review, session: Db, now: Now, person: CurrentPerson) -> ApprovalShown:
    """Say what was found; it stands in the record beside the order."""
    service.review(session, approval_id, finding=wanted.finding, by=person.id, now=now)
    return ApprovalShown.of(queries.approval_seen(session, approval_id), now=now)


async def _ask(wanted: _Wanted, request: KeyedRequest) -> Response:
    asked = wanted.asked(by=request.person.id)

    def ask(session: Session) -> tuple[int, ApprovalShown]:
        approval = service.ask(session, asked, pace=Pace.of(request.settings), now=request.now)
        return 201, _shown(session, approval.id, request)

    return await request.once(ask)


def _shown(session: Session, approval_id: UUID, request: KeyedRequest) -> ApprovalShown:
    return ApprovalShown.of(queries.approval_seen(session, approval_id), now=request.now)


def _campaign(session: Session, approval: Approval, *, pace: Pace, now: datetime) -> CampaignNow | None:
    if approval.kind != Kind.CAMPAIGN:
        return None
    campaign_id = UUID(approval.wanted["campaign_id"])
    made = campaign_queries.campaign_seen(session, campaign_id).campaign
    shown = progress_of(session, campaign_id).model_dump()
    return CampaignNow(**shown, left_out_now=campaign_books.left_out_now(session, made, pace=pace, now=now))


def _points(session: Session, approval: Approval) -> list[PointSeen]:
    if approval.kind != Kind.ORDERS:
        return []
    wanted = dict.fromkeys(UUID(one["supply_point_id"]) for one in approval.wanted["orders"])
    return [
        PointSeen.of(load_control_queries.site(session, one), notices_of(session, one, limit=_NOTICES_SHOWN))
        for one in wanted
    ]
