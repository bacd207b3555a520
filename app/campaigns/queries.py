"""Reads of campaigns: whom a choice means, how far each target is, and whose turn it is."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.campaigns.models import Campaign, CampaignTarget
from app.campaigns.rules import PROGRESS, CampaignState, Counts, NoSuchCampaign, Progress, standing_digest
from app.commands.models import Command
from app.commands.rules import RECALLABLE, CommandClass
from app.customers.models import Customer, SupplyContract, SupplyPoint
from app.load_control.models import ControlState
from app.staff.models import Office, StaffMember


class CampaignSeen(NamedTuple):
    """A campaign and the sign-in name of who made it."""

    campaign: Campaign
    made_by: str


class TargetSeen(NamedTuple):
    """A target, its supply point, its customer, and the state of its command."""

    target: CampaignTarget
    point_no: str
    customer_zh: str
    customer_en: str
    command_state: str | None

    @property
    def progress(self) -> Progress:
        return _progress(self.command_state, left_out=self.target.left_out is not None)


class Place(NamedTuple):
    """A supply point that a choice means."""

    supply_point_id: UUID
    feeder: str


def campaign_seen(session: Session, campaign_id: UUID) -> CampaignSeen:
    """Return one campaign.

    Raises:
        NoSuchCampaign: none has the id.
    """
    row = session.execute(_seen().where(Campaign.id == campaign_id)).first()
    if row is None:
        raise NoSuchCampaign(campaign_id=campaign_id)
    return CampaignSeen(*row)


def list_campaigns(
    session: Session, *, state: CampaignState | None, limit: int, before_id: UUID | None
) -> list[CampaignSeen]:
    """Return up to ``limit`` campaigns, newest first, made before the one with ``before_id``."""
    wanted = _seen().order_by(Campaign.id.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(Campaign.state == state)
    if before_id is not None:
        wanted = wanted.where(Campaign.id < before_id)
    return [CampaignSeen(*row) for row in session.execute(wanted)]


def list_targets(session: Session, campaign_id: UUID, *, limit: int, after: int | None) -> list[TargetSeen]:
    """Return up to ``limit`` targets in their order, after the position ``after``."""
    wanted = (
        select(CampaignTarget, SupplyPoint.point_no, Customer.name_zh, Customer.name_en, Command.state)
        .join(SupplyPoint, SupplyPoint.id == CampaignTarget.supply_point_id)
        .join(Customer, Customer.id == SupplyPoint.customer_id)
        .outerjoin(Command, Command.id == CampaignTarget.command_id)
        .where(CampaignTarget.campaign_id == campaign_id)
        .order_by(CampaignTarget.position)
        .limit(limit)
    )
    if after is not None:
        wanted = wanted.where(CampaignTarget.position > after)
    return [TargetSeen(*row) for row in session.execute(wanted)]


def places(
    session: Session, *, ids: Sequence[UUID], office: str | None, feeder: str | None, stage: str | None
) -> list[Place]:
    """Return the supply points that a choice means, by number: those named, or those under contract that fit."""
    wanted = (
        select(SupplyPoint.id, SupplyPoint.feeder)
        .join(Customer, Customer.id == SupplyPoint.customer_id)
        .join(Office, Office.id == Customer.office_id)
        .join(ControlState, ControlState.supply_point_id == SupplyPoint.id)
        .order_by(SupplyPoint.point_no)
    )
    if ids:
        wanted = wanted.where(SupplyPoint.id.in_(ids))
    else:
        under_contract = select(SupplyContract.supply_point_id).where(SupplyContract.closed_at.is_(None))
        wanted = wanted.where(SupplyPoint.id.in_(under_contract))
    if office is not None:
        wanted = wanted.where(Office.code == office)
    if feeder is not None:
        wanted = wanted.where(SupplyPoint.feeder == feeder)
    if stage is not None:
        wanted = wanted.where(ControlState.stage == stage)
    return [Place(*row) for row in session.execute(wanted)]


def counts(session: Session, campaign_id: UUID, *, until_wave: int | None = None) -> Counts:
    """Count how far the targets of a campaign, or of its waves up to one, are."""
    left_out = CampaignTarget.left_out.is_not(None)
    wanted = (
        select(Command.state, left_out, func.count())
        .select_from(CampaignTarget)
        .outerjoin(Command, Command.id == CampaignTarget.command_id)
        .where(CampaignTarget.campaign_id == campaign_id)
        .group_by(Command.state, left_out)
    )
    if until_wave is not None:
        wanted = wanted.where(CampaignTarget.wave <= until_wave)
    counted = asdict(Counts())
    for row in session.execute(wanted):
        counted[_progress(row[0], left_out=row[1])] += row[2]
    return Counts(**counted)


def standing_of(campaign: Campaign, *, counts: Counts) -> str:
    """Return the digest of where and why a campaign stands, to which its resumption is bound."""
    return standing_digest(
        list_digest=campaign.list_digest,
        stopped_because=campaign.stopped_because,
        wave=campaign.wave,
        counts=counts,
    )


def why_left_out(session: Session, campaign_id: UUID) -> dict[str, int]:
    """Count the targets that are left out by the code of each reason."""
    code = func.jsonb_array_elements(CampaignTarget.left_out).op("->>")("code")
    rows = session.execute(
        select(code.label("code"), func.count())
        .where(CampaignTarget.campaign_id == campaign_id, CampaignTarget.left_out.is_not(None))
        .group_by("code")
        .order_by(func.count().desc())
    )
    return {row[0]: row[1] for row in rows}


def power_at_stake_w(session: Session, campaign_id: UUID) -> int:
    """Return the power, in W, that the targets would lose in all."""
    summed = func.coalesce(func.sum(CampaignTarget.power_w), 0)
    return int(session.scalar(select(summed).where(CampaignTarget.campaign_id == campaign_id)) or 0)


def running(session: Session) -> list[UUID]:
    return list(session.scalars(select(Campaign.id).where(Campaign.state == CampaignState.RUNNING)))


def whose_turn(session: Session, campaign: Campaign, *, elapsed_s: int, limit: int) -> list[CampaignTarget]:
    """Return the targets of the waves so far whose turn has come, in their order."""
    wanted = (
        select(CampaignTarget)
        .where(
            CampaignTarget.campaign_id == campaign.id,
            CampaignTarget.command_id.is_(None),
            CampaignTarget.left_out.is_(None),
            # What is left of earlier waves comes first; a campaign that went on has set it back to waiting.
            or_(
                CampaignTarget.wave < campaign.wave,
                and_(CampaignTarget.wave == campaign.wave, CampaignTarget.after_s <= elapsed_s),
            ),
        )
        .order_by(CampaignTarget.position)
        .limit(limit)
    )
    return list(session.scalars(wanted))


def with_command(session: Session, campaign_id: UUID, *, states: Iterable[str]) -> list[CampaignTarget]:
    """Return the targets whose command is in one of these states, in the order of supply points."""
    wanted = (
        select(CampaignTarget)
        .join(Command, Command.id == CampaignTarget.command_id)
        .where(CampaignTarget.campaign_id == campaign_id, Command.state.in_(list(states)))
        .order_by(CampaignTarget.supply_point_id)
    )
    return list(session.scalars(wanted))


def to_give_back(session: Session, campaign_id: UUID) -> list[CampaignTarget]:
    """Return the targets that have, or may have, been cut, in their order."""
    later = aliased(Command)
    wanted = (
        select(CampaignTarget)
        .join(Command, Command.id == CampaignTarget.command_id)
        .where(
            CampaignTarget.campaign_id == campaign_id,
            or_(Command.executed_at.is_not(None), Command.operate_sent_at.is_not(None)),
            # What was cut again since is another's to give back.
            ~exists().where(
                later.terminal_id == Command.terminal_id,
                later.slot == Command.slot,
                later.version > Command.version,
                later.command_class == CommandClass.CUT,
                or_(later.executed_at.is_not(None), later.operate_sent_at.is_not(None)),
            ),
        )
        .order_by(CampaignTarget.position)
    )
    return list(session.scalars(wanted))


def may_still_be_recalled(session: Session, campaign_id: UUID) -> bool:
    """Tell whether a cut of the campaign is on its way that nothing has acted on yet."""
    wanted = (
        select(CampaignTarget.position)
        .join(Command, Command.id == CampaignTarget.command_id)
        .where(
            CampaignTarget.campaign_id == campaign_id,
            Command.state.in_(RECALLABLE),
            Command.command_class == CommandClass.CUT,
        )
        .limit(1)
    )
    return session.scalar(wanted) is not None


def is_given_back(session: Session, campaign_id: UUID) -> bool:
    """Tell whether a campaign runs that gives back what this one has cut."""
    running_back = Campaign.gives_back == campaign_id, Campaign.state == CampaignState.RUNNING
    return session.scalar(select(Campaign.id).where(*running_back).limit(1)) is not None


def told(session: Session, campaign_id: UUID) -> list[CampaignTarget]:
    """Return the targets that are to be told something, in their order."""
    wanted = (
        select(CampaignTarget)
        .where(CampaignTarget.campaign_id == campaign_id, CampaignTarget.wave.is_not(None))
        .order_by(CampaignTarget.position)
    )
    return list(session.scalars(wanted))


def frozen(session: Session, campaign_id: UUID) -> list[dict[str, Any]]:
    """Return the targets as they are hashed, in their order."""
    return [as_hashed(row) for row in told(session, campaign_id)]


def as_hashed(target: CampaignTarget) -> dict[str, Any]:
    return {
        "position": target.position,
        "wave": target.wave,
        "supply_point_id": str(target.supply_point_id),
        "terminal_id": target.terminal_id,
        "op": target.op,
        "args": target.args,
        "paid_until_wh": target.paid_until_wh,
    }


def _progress(command_state: str | None, *, left_out: bool) -> Progress:
    if left_out:
        return Progress.LEFT_OUT
    if command_state is None:
        return Progress.WAITING
    return PROGRESS.get(command_state, Progress.UNDER_WAY)


def _seen() -> Select[Campaign, str]:
    return select(Campaign, StaffMember.sign_in_name).join(StaffMember, StaffMember.id == Campaign.made_by)
