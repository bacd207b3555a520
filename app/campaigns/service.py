"""The story of a campaign: made and looked at, started, one wave after the other, stopped, resumed, given back."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.campaigns import books, queries
from app.campaigns.books import Meant
from app.campaigns.models import Campaign
from app.campaigns.queries import Place
from app.campaigns.rules import (
    CUTS,
    RESTORES,
    RESUMED_WITHIN_S,
    STARTS_WITHIN_S,
    WAVE_LASTS_S,
    AnotherResumes,
    CampaignState,
    GivenBackAlready,
    ListChanged,
    NobodyToReach,
    NothingToGiveBack,
    NotInThatState,
    TooLateToResume,
    WentOnSince,
    list_digest,
    why_abort,
)
from app.commands.rules import CommandState
from app.database import new_id
from app.errors import TwoPersonsNeeded
from app.load_control.service import Pace
from app.orders.rules import Action, kept_as_json

AT_ONCE = 25

_random = random.SystemRandom()
_GIVES_BACK = {Action.LIMIT: Action.LIFT_LIMIT, Action.TRIP: Action.ALLOW_CLOSE}

# Nothing that acts was sent for these, and nobody took them back by hand: a resumed campaign orders them anew.
_AGAIN = text("""
    UPDATE campaign_targets AS target SET command_id = NULL FROM commands AS command
     WHERE target.campaign_id = :id AND command.id = target.command_id
       AND command.operate_sent_at IS NULL AND command.executed_at IS NULL
       AND (command.state = 'expired'
            OR (command.state = 'cancelled' AND (command.held @> '[{"code": "campaign_stopped"}]'
                                                 OR command.held @> '[{"code": "no_cut_time"}]'
                                                 OR command.held @> '[{"code": "brake_on"}]')))
""")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Whom a campaign means: the supply points named, or all under contract that fit office, feeder and stage."""

    supply_point_ids: Sequence[UUID] = ()
    office: str | None = None
    feeder: str | None = None
    stage: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """Who lets a campaign go on, whether they may approve cuts, and how it stood when they looked."""

    by: UUID
    approves: bool
    standing: str


def make(session: Session, choice: Choice, meant: Meant, *, pace: Pace, now: datetime) -> Campaign:
    """Freeze the list and look at each target: the dry run. Nothing is ordered yet.

    Raises:
        NobodyToReach: there is no supply point at which the order would be given.
    """
    places = queries.places(
        session, ids=choice.supply_point_ids, office=choice.office, feeder=choice.feeder, stage=choice.stage
    )
    return _made(session, places, meant, gives_back=None, pace=pace, now=now)


def start(session: Session, campaign_id: UUID, *, approval_id: UUID | None, now: datetime) -> Campaign:
    """Let the first wave begin.

    Raises:
        NoSuchCampaign, NotInThatState: it has begun or is over.
        TwoPersonsNeeded: it cuts, and no approval stands behind it.
        ListChanged: its list is not the one that was made.
    """
    campaign = _locked(session, campaign_id, needed=(CampaignState.DRAFT,))
    if Action(campaign.action) in CUTS and approval_id is None:
        raise TwoPersonsNeeded(what="A campaign that cuts", ask_at="/api/v1/approvals/campaigns")
    refuse_changed_list(session, campaign)
    campaign.approval_id, campaign.started_at, campaign.state = approval_id, now, CampaignState.RUNNING
    session.flush()
    _record(session, campaign, "started", now=now)
    return campaign


def refuse_changed_list(session: Session, campaign: Campaign) -> None:
    """Refuse a campaign whose targets are not those that were frozen.

    Raises:
        ListChanged: their digest is another.
    """
    if list_digest(queries.frozen(session, campaign.id)) != campaign.list_digest:
        raise ListChanged(campaign_id=campaign.id)


def stop(session: Session, campaign_id: UUID, *, by: UUID, because: str, now: datetime) -> Campaign:
    """Order nothing more; a cut that nothing acts on yet is not sent, since its campaign has stopped.

    Raises:
        NoSuchCampaign, NotInThatState: it does not run.
    """
    campaign = _locked(session, campaign_id, needed=(CampaignState.RUNNING,))
    _stop(session, campaign, by=by, because=because, now=now)
    return campaign


def resume(session: Session, campaign_id: UUID, resumed: Resumed, *, pace: Pace, now: datetime) -> Campaign:
    """Let a stopped campaign go on where it was; what it took back itself, or was not heard, is ordered anew.

    What was refused or unknown so far has been looked at, and stops it no second time.

    Raises:
        NoSuchCampaign, NotInThatState: it is not stopped.
        AnotherResumes: it cuts, and this person has made it or is no approver.
        WentOnSince: this person has looked at something else.
        TooLateToResume: it cuts, and began more than a day ago.
        ListChanged: its list is not the one that was made.
    """
    campaign = _locked(session, campaign_id, needed=(CampaignState.STOPPED,))
    began = campaign.started_at or now
    if Action(campaign.action) in CUTS:
        if campaign.made_by == resumed.by or not resumed.approves:
            raise AnotherResumes
        if now - began > pace.clock.lived(RESUMED_WITHIN_S):
            raise TooLateToResume(started_at=began)
    refuse_changed_list(session, campaign)
    if resumed.standing != queries.standing_of(campaign, counts=queries.counts(session, campaign.id)):
        raise WentOnSince(standing=resumed.standing)
    session.execute(_AGAIN, {"id": campaign.id})
    session.expire_all()
    campaign.looked_at = asdict(queries.counts(session, campaign.id))
    campaign.state, campaign.stopped_by, campaign.stopped_because = CampaignState.RUNNING, None, None
    campaign.wave_began_at = now
    session.flush()
    _record(session, campaign, "resumed", now=now)
    return campaign


def withdraw(session: Session, campaign_id: UUID, *, now: datetime) -> Campaign:
    """End a campaign that has not begun or was stopped, for good.

    Raises:
        NoSuchCampaign, NotInThatState: it runs, or is over.
    """
    campaign = _locked(session, campaign_id, needed=(CampaignState.DRAFT, CampaignState.STOPPED))
    campaign.state, campaign.ended_at = CampaignState.WITHDRAWN, now
    session.flush()
    _record(session, campaign, "withdrawn", now=now)
    return campaign


def give_back(session: Session, campaign_id: UUID, *, by: UUID, pace: Pace, now: datetime) -> Campaign:
    """Start the way back for every target that was, or may have been, cut; needs nobody else.

    Raises:
        NoSuchCampaign, NotInThatState: it still runs: stop it first.
        NothingToGiveBack: it has cut nobody.
        GivenBackAlready: the way back runs.
    """
    needed = (CampaignState.STOPPED, CampaignState.FINISHED, CampaignState.WITHDRAWN)
    campaign = _locked(session, campaign_id, needed=needed)
    back = _GIVES_BACK.get(Action(campaign.action))
    cut = queries.to_give_back(session, campaign_id)
    if back is None or not cut:
        raise NothingToGiveBack
    if queries.is_given_back(session, campaign_id):
        raise GivenBackAlready(campaign_id=campaign_id)
    arguments = {"round": campaign.arguments["round"]} if back is Action.ALLOW_CLOSE else {}
    meant = Meant(action=back, arguments=arguments, reason=f"given back: {campaign.reason}"[:180], by=by)
    places = [Place(target.supply_point_id, target.feeder) for target in cut]
    made = _made(session, places, meant, gives_back=campaign.id, pace=pace, now=now)
    return start(session, made.id, approval_id=None, now=now)


def stop_by_itself(session: Session, campaign_id: UUID, *, because: str, now: datetime) -> None:
    """Stop a campaign whose turn could not be taken, so that somebody looks."""
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is not None and campaign.state == CampaignState.RUNNING:
        _stop(session, campaign, by=None, because=because, now=now)


def take_turn(session: Session, campaign_id: UUID, *, pace: Pace, now: datetime) -> int:
    """Go one step on, unless another worker is at it: stop, begin the next wave, or order whose turn it is.

    Returns:
        How many targets it looked at.
    """
    campaign = session.get(Campaign, campaign_id, with_for_update={"skip_locked": True}, populate_existing=True)
    if campaign is None or campaign.state != CampaignState.RUNNING:
        return 0
    so_far = queries.counts(session, campaign.id).since(campaign.looked_at)
    because = None if Action(campaign.action) in RESTORES else why_abort(so_far)
    # What the brake took back on its last steps is not dropped: a person looks, and it is ordered again.
    if so_far.called_back and _brake_holds(session, campaign, pace=pace, now=now):
        because = books.BRAKE_IS_ON
    if because is not None:
        _stop(session, campaign, by=None, because=because, now=now)
        return 0
    if _wave_is_over(session, campaign, pace=pace, now=now):
        _next_wave(session, campaign, pace=pace, now=now)
        return 0
    began = campaign.wave_began_at or now
    elapsed_s = int(pace.clock.real_seconds(now - began))
    targets = queries.whose_turn(session, campaign, elapsed_s=elapsed_s, limit=AT_ONCE)
    if targets:
        because = books.order_all(session, campaign, targets, pace=pace, now=now)
        if because is not None:
            _stop(session, campaign, by=None, because=because, now=now)
    return len(targets)


def _made(
    session: Session,
    places: Sequence[Place],
    meant: Meant,
    *,
    gives_back: UUID | None,
    pace: Pace,
    now: datetime,
) -> Campaign:
    campaign_id = new_id()
    targets = books.list_of(session, campaign_id, places, meant, pace=pace, now=now)
    told = [target for target in targets if target.wave is not None]
    if not told:
        codes = Counter(reason["code"] for target in targets for reason in target.left_out or ())
        raise NobodyToReach(looked_at=len(places), left_out_because=codes)
    campaign = Campaign(
        id=campaign_id,
        action=meant.action,
        arguments=kept_as_json(meant.arguments),
        reason=meant.reason,
        state=CampaignState.DRAFT,
        targets=len(told),
        list_digest=list_digest(queries.as_hashed(target) for target in told),
        gives_back=gives_back,
        made_by=meant.by,
        made_at=now,
        looked_at={},
    )
    session.add(campaign)
    session.flush()
    session.add_all(targets)
    session.flush()
    _record(session, campaign, "made", now=now)
    return campaign


def _brake_holds(session: Session, campaign: Campaign, *, pace: Pace, now: datetime) -> bool:
    taken_back = queries.with_command(session, campaign.id, states=[CommandState.CANCELLED])
    return books.braked(session, campaign, taken_back, pace=pace, now=now)


def _wave_is_over(session: Session, campaign: Campaign, *, pace: Pace, now: datetime) -> bool:
    """Tell whether the next wave may begin: a cut is waited for until it was operated or has expired."""
    if campaign.wave == 0 or campaign.wave_began_at is None:
        return True
    so_far = queries.counts(session, campaign.id, until_wave=campaign.wave)
    if so_far.waiting or queries.may_still_be_recalled(session, campaign.id):
        return False
    lasts_s = WAVE_LASTS_S + 60 * int(campaign.arguments.get("alarm_delay_min") or 0)
    return so_far.under_way == 0 or now - campaign.wave_began_at > pace.clock.lived(lasts_s)


def _next_wave(session: Session, campaign: Campaign, *, pace: Pace, now: datetime) -> None:
    if queries.counts(session, campaign.id).waiting == 0:
        campaign.state, campaign.ended_at = CampaignState.FINISHED, now
        session.flush()
        _record(session, campaign, "finished", now=now)
        return
    campaign.wave += 1
    wait_s = 0 if Action(campaign.action) in RESTORES else _random.randrange(STARTS_WITHIN_S)
    campaign.wave_began_at = now + pace.clock.lived(wait_s)
    session.flush()


def _stop(session: Session, campaign: Campaign, *, by: UUID | None, because: str, now: datetime) -> None:
    campaign.state, campaign.stopped_by, campaign.stopped_because = CampaignState.STOPPED, by, because
    session.flush()
    _record(session, campaign, "stopped", now=now)


def _locked(session: Session, campaign_id: UUID, *, needed: Sequence[CampaignState]) -> Campaign:
    campaign = queries.campaign_seen(session, campaign_id).campaign
    session.refresh(campaign, with_for_update=True)
    if campaign.state not in needed:
        raise NotInThatState(state=CampaignState(campaign.state), needed=needed)
    return campaign


def _record(session: Session, campaign: Campaign, action: str, *, now: datetime) -> None:
    said: dict[str, Any] = {
        "action": campaign.action,
        "arguments": campaign.arguments,
        "reason": campaign.reason,
        "targets": campaign.targets,
        "list_digest": campaign.list_digest,
        "approval_id": campaign.approval_id,
        "wave": campaign.wave,
        "because": campaign.stopped_because,
    }
    deed = Deed(action=f"campaign.{action}", subject_kind="campaign", subject=str(campaign.id), after=said)
    audit.record(session, deed, at=now)
