"""HTTP in: operators make, start, stop, resume and give back campaigns; everybody watches them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.campaigns import queries, service
from app.campaigns.rules import CampaignState
from app.campaigns.schemas import AnyCampaign, CampaignProgress, CampaignShown, Resume, Stop, TargetShown
from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.load_control.service import Pace
from app.roles import Role

router = APIRouter(prefix="/campaigns", tags=["campaigns"])

_EXAMPLES = {
    "limit": {"value": {"action": "limit", "choose": {"feeder": "10kV-F17"}, "reason": "the grid is short tomorrow"}},
    "remind": {"value": {"action": "remind", "choose": {"stage": "notice"}, "reason": "a holiday is coming"}},
}


@router.post(
    "",
    summary="Make a campaign, and see its dry run",
    status_code=201,
    response_model=CampaignProgress,
    dependencies=[allow(Role.OPERATOR)],
)
async def make_campaign(wanted: Annotated[AnyCampaign, Body(openapi_examples=_EXAMPLES)], request: Keyed) -> Response:
    """Freezes the list and says who would be told or cut, and who not and why. Nothing is ordered until it starts."""

    def make(session: Session) -> tuple[int, CampaignProgress]:
        meant = wanted.meant(by=request.person.id)
        made = service.make(session, wanted.choose.choice(), meant, pace=Pace.of(request.settings), now=request.now)
        return 201, progress_of(session, made.id)

    return await request.once(make)


@router.get("", summary="List campaigns", dependencies=[signed_in()])
def list_campaigns(session: Db, paging: Paging, state: CampaignState | None = None) -> Page[CampaignShown]:
    """Newest first."""
    rows = queries.list_campaigns(session, state=state, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.campaign.id, show=CampaignShown.of)


@router.get("/{campaign_id}", summary="A campaign and how far it is", dependencies=[signed_in()])
def read_campaign(campaign_id: UUID, session: Db) -> CampaignProgress:
    return progress_of(session, campaign_id)


@router.get("/{campaign_id}/targets", summary="The targets of a campaign", dependencies=[signed_in()])
def list_targets(campaign_id: UUID, session: Db, paging: Paging) -> Page[TargetShown]:
    """In their order: those to be told wave by wave, then those left out with the reasons."""
    queries.campaign_seen(session, campaign_id)
    rows = queries.list_targets(session, campaign_id, limit=paging.rows_wanted, after=paging.after_number)
    return page_of(rows, request=paging, key=lambda row: str(row.target.position), show=TargetShown.of)


@router.post("/{campaign_id}/start", summary="Start a campaign", dependencies=[allow(Role.OPERATOR)])
def start_campaign(campaign_id: UUID, session: Db, now: Now) -> CampaignProgress:
    """One that cuts needs a second person: ask at `POST /api/v1/approvals/campaigns`."""
    service.start(session, campaign_id, approval_id=None, now=now)
    return progress_of(session, campaign_id)


@router.post("/{campaign_id}/stop", summary="Stop a campaign", dependencies=[allow(Role.OPERATOR, Role.APPROVER)])
def stop_campaign(campaign_id: UUID, wanted: Stop, session: Db, now: Now, person: CurrentPerson) -> CampaignProgress:
    """Nothing more is ordered, and a cut that nothing acts on yet is not sent any more."""
    service.stop(session, campaign_id, by=person.id, because=wanted.reason, now=now)
    return progress_of(session, campaign_id)


@router.post(
    "/{campaign_id}/resume",
    summary="Let a stopped campaign go on",
    dependencies=[allow(Role.OPERATOR, Role.APPROVER, keys=False)],
)
def resume_campaign(
    campaign_id: UUID, wanted: Resume, session: Db, now: Now, settings: AppSettings, person: CurrentPerson
) -> CampaignProgress:
    """After a look at why it was stopped; cuts are let go on by an approver who has not made it, within a day."""
    resumed = service.Resumed(by=person.id, approves=Role.APPROVER in person.roles, standing=wanted.standing)
    service.resume(session, campaign_id, resumed, pace=Pace.of(settings), now=now)
    return progress_of(session, campaign_id)


@router.post("/{campaign_id}/withdraw", summary="End a campaign for good", dependencies=[allow(Role.OPERATOR)])
def withdraw_campaign(campaign_id: UUID, session: Db, now: Now) -> CampaignProgress:
    """One that has not begun, or was stopped."""
    service.withdraw(session, campaign_id, now=now)
    return progress_of(session, campaign_id)


@router.post(
    "/{campaign_id}/give-back",
    summary="Give back what a campaign has cut",
    status_code=201,
    response_model=CampaignProgress,
    dependencies=[allow(Role.OPERATOR)],
)
async def give_back(campaign_id: UUID, request: Keyed) -> Response:
    """Starts the opposite, feeder by feeder, for all that were or may have been cut; it needs nobody else."""

    def give(session: Session) -> tuple[int, CampaignProgress]:
        made = service.give_back(
            session, campaign_id, by=request.person.id, pace=Pace.of(request.settings), now=request.now
        )
        return 201, progress_of(session, made.id)

    return await request.once(give)


def progress_of(session: Session, campaign_id: UUID) -> CampaignProgress:
    return CampaignProgress.at(
        queries.campaign_seen(session, campaign_id),
        counts=queries.counts(session, campaign_id),
        because=queries.why_left_out(session, campaign_id),
        power_w=queries.power_at_stake_w(session, campaign_id),
    )
