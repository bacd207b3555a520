"""What each kind of request looks at, and what it does once two persons stand behind it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.approvals.rules import Kind, NeedsNobody, OrderedTwice, standing_of
from app.brake import queries as brake_queries
from app.brake import service as brake
from app.brake.rules import Limit, Scope, in_words, raises
from app.calendars import queries as calendar_queries
from app.calendars import service as calendars
from app.calendars.queries import as_no_cut
from app.calendars.rules import RuleEnded
from app.campaigns import queries as campaign_queries
from app.campaigns import service as campaigns
from app.campaigns.rules import (
    CUTS,
    DRAFT_LASTS_S,
    AskedByItsMaker,
    CampaignState,
    DraftTooOld,
    NotInThatState,
)
from app.commands.rules import Op, slot_of
from app.customers import queries as customer_queries
from app.load_control.facts import Cut
from app.load_control.reasons import Reason
from app.load_control.rules import Step
from app.load_control.service import Pace
from app.orders import service as orders
from app.orders.rules import Action, Order, read_from_json
from app.policies import queries as policy_queries
from app.policies import service as policies
from app.policies.rules import NewPolicy, check_policy
from app.refunds import queries as refund_queries
from app.refunds import service as refunds
from app.refunds.rules import RefundKind
from app.refunds.service import NewRefund
from app.staff.queries import get_office

_OFFICES_AT_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Something that is asked for: ``wanted`` names targets and arguments in plain JSON, as its kind has them."""

    kind: Kind
    wanted: Mapping[str, Any]
    reason: str
    requested_by: UUID


class Against(NamedTuple):
    """What stands against a cut at one supply point at this moment."""

    supply_point_id: UUID
    cut: Cut
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What would be done, completed by what follows from it, what it would meet, and what stands against it now."""

    wanted: dict[str, Any]
    standing: dict[str, dict[str, Any]]
    against: tuple[Against, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Approved:
    """Who stands behind it; ``approval_id`` goes with each command."""

    approval_id: UUID
    by: UUID


def points_of(session: Session, asked: Asked) -> list[UUID]:
    """Return the supply points that must be locked before anything is looked at."""
    if asked.kind is Kind.ORDERS:
        return [UUID(one["supply_point_id"]) for one in asked.wanted["orders"]]
    if asked.kind is Kind.REFUND:
        return [refund_queries.purchase_by_no(session, asked.wanted["purchase_no"]).supply_point_id]
    return []


def look(session: Session, asked: Asked, *, pace: Pace, now: datetime) -> Looked:
    """Look at what is asked for as it stands now; nothing is written or locked.

    Raises:
        NeedsNobody: it takes nothing away.
        And whatever the feature raises that would do it, but for a cut's interlocks: those are returned.
    """
    return _LOOKS[asked.kind](session, asked, pace, now)


def carry_out(session: Session, asked: Asked, approved: Approved, *, pace: Pace, now: datetime) -> dict[str, Any]:
    """Do it; returns the ids of what came of it."""
    return _DEEDS[asked.kind](session, asked, approved, pace, now)


def orders_of(asked: Asked) -> list[Order]:
    """Return the orders of a request as :mod:`app.orders` takes them."""
    return [
        Order(
            action=Action(one["action"]),
            supply_point_id=UUID(one["supply_point_id"]),
            reason=one["reason"],
            requested_by=asked.requested_by,
            arguments=read_from_json(one["arguments"]),
        )
        for one in asked.wanted["orders"]
    ]


def _look_at_orders(session: Session, asked: Asked, pace: Pace, now: datetime) -> Looked:
    commands, standing, against, slots = [], {}, [], set()
    for order in orders_of(asked):
        ready = orders.would_give(session, order, pace=pace, now=now)
        if not ready.needs_two:
            remedy = "Order it at POST /api/v1/commands."
            raise NeedsNobody(what=f"An order to {order.action.words}, as things stand,", remedy=remedy)
        slot = (order.supply_point_id, slot_of(Op(ready.step.op), ready.step.args))
        if slot in slots:
            raise OrderedTwice(supply_point_id=order.supply_point_id, action=order.action.words)
        slots.add(slot)
        commands.append(
            {
                "supply_point_id": str(order.supply_point_id),
                "terminal_id": ready.terminal_id,
                "op": str(ready.step.op),
                "args": _bound(ready.step),
            }
        )
        point = customer_queries.supply_point(session, order.supply_point_id)
        standing[point.point_no] = standing_of(ready.facts, terminal_id=ready.terminal_id)
        if ready.cut is not None:
            against.append(Against(order.supply_point_id, ready.cut, ready.interlocks))
    return Looked(wanted={**asked.wanted, "commands": commands}, standing=standing, against=tuple(against))


def _bound(step: Step) -> dict[str, Any]:
    """Return the arguments that are approved: all, but of a correction not the levels, which follow the load."""
    if step.op == Op.CREDIT:
        return {name: step.args[name] for name in ("mode", "paid_until_wh")}
    return dict(step.args)


def _give_orders(session: Session, asked: Asked, approved: Approved, pace: Pace, now: datetime) -> dict[str, Any]:
    given = [
        orders.give(session, order, approval_id=approved.approval_id, pace=pace, now=now)
        for order in orders_of(asked)
    ]
    return {"command_ids": [str(command.id) for command in given]}


def _look_at_refund(session: Session, asked: Asked, pace: Pace, now: datetime) -> Looked:
    new = _refund(asked)
    found, taken = refunds.would_take_back(session, new, pace=pace, now=now)
    # Where all is asked for that can be spared, it is that much: what is approved is a figure.
    energy_wh = taken.energy_wh if new.kind is RefundKind.REFUND else None
    standing = {"deposited_fen": found.standing.deposited_fen, **asdict(taken)}
    return Looked(wanted={**asked.wanted, "energy_wh": energy_wh}, standing={new.purchase_no: standing})


def _take_back(session: Session, asked: Asked, _: Approved, pace: Pace, now: datetime) -> dict[str, Any]:
    refund = refunds.ask(session, _refund(asked), alone_fen=None, pace=pace, now=now)
    return {"refund_id": str(refund.id)}


def _refund(asked: Asked) -> NewRefund:
    return NewRefund(
        purchase_no=asked.wanted["purchase_no"],
        kind=RefundKind(asked.wanted["kind"]),
        energy_wh=asked.wanted["energy_wh"],
        reason=asked.reason,
        asked_by=asked.requested_by,
    )


def _look_at_limit(session: Session, asked: Asked, _pace: Pace, _now: datetime) -> Looked:
    limit = _limit(asked)
    before = brake_queries.limit_of(session, limit.scope)
    if not raises(limit, above=before):
        remedy = "Set it at PUT /api/v1/brake/limits/{scope}."
        raise NeedsNobody(what="A limit that lets an hour bring no more than before", remedy=remedy)
    standing = {"cuts_per_hour": before.cuts, "power_w_per_hour": before.power_w}
    return Looked(wanted=dict(asked.wanted), standing={f"brake {in_words(limit.scope, '')}": standing})


def _set_limit(session: Session, asked: Asked, approved: Approved, _: Pace, now: datetime) -> dict[str, Any]:
    limit = brake.set_limit(session, _limit(asked), by=approved.by, because=asked.reason, now=now)
    return {"scope": limit.scope.value}


def _limit(asked: Asked) -> Limit:
    wanted = asked.wanted
    return Limit(scope=Scope(wanted["scope"]), cuts=wanted["cuts_per_hour"], power_w=wanted["power_w_per_hour"])


def _look_at_rule(session: Session, asked: Asked, _pace: Pace, _now: datetime) -> Looked:
    seen = calendar_queries.rule_seen(session, UUID(asked.wanted["rule_id"]))
    if seen.rule.ended_at is not None:
        raise RuleEnded(ended_at=seen.rule.ended_at)
    standing = {"rule": as_no_cut(seen.rule.__dict__).words, "office": seen.office, "source": seen.rule.source}
    return Looked(wanted=dict(asked.wanted), standing={"no-cut rule": standing})


def _end_rule(session: Session, asked: Asked, approved: Approved, _: Pace, now: datetime) -> dict[str, Any]:
    seen = calendars.end_rule(session, UUID(asked.wanted["rule_id"]), by=approved.by, because=asked.reason, now=now)
    return {"rule_id": str(seen.rule.id)}


def _look_at_policy(session: Session, asked: Asked, _: Pace, now: datetime) -> Looked:
    new = _policy(asked)
    check_policy(new, now=now)
    if new.office is not None:
        get_office(session, code=new.office)
    in_force = policy_queries.list_policies(session, in_force=True, limit=_OFFICES_AT_MOST, before_id=None, now=now)
    versions = {seen.office or "everywhere": seen.policy.version for seen in in_force}
    there = {place: versions.get(place) for place in ("everywhere", new.office) if place is not None}
    return Looked(wanted=dict(asked.wanted), standing={"policy in force": there})


def _put_in_force(session: Session, asked: Asked, approved: Approved, _: Pace, now: datetime) -> dict[str, Any]:
    seen = policies.put_in_force(
        session, _policy(asked), proposed_by=asked.requested_by, approved_by=approved.by, now=now
    )
    return {"version": seen.policy.version}


def _policy(asked: Asked) -> NewPolicy:
    begins = asked.wanted["valid_from"]
    return NewPolicy(**{**asked.wanted, "valid_from": datetime.fromisoformat(begins) if begins else None})


def _look_at_campaign(session: Session, asked: Asked, pace: Pace, now: datetime) -> Looked:
    campaign = campaign_queries.campaign_seen(session, UUID(asked.wanted["campaign_id"])).campaign
    if Action(campaign.action) not in CUTS:
        remedy = "Start it at POST /api/v1/campaigns/{id}/start."
        raise NeedsNobody(what=f"A campaign to {Action(campaign.action).words}", remedy=remedy)
    if campaign.state != CampaignState.DRAFT:
        raise NotInThatState(state=CampaignState(campaign.state), needed=(CampaignState.DRAFT,))
    seen = campaign_queries.campaign_seen(session, campaign.id)
    if campaign.made_by != asked.requested_by:
        raise AskedByItsMaker(made_by=seen.made_by)
    if now - campaign.made_at > pace.clock.lived(DRAFT_LASTS_S):
        raise DraftTooOld(made_at=campaign.made_at)
    campaigns.refuse_changed_list(session, campaign)
    standing = {
        "action": campaign.action,
        "arguments": campaign.arguments,
        "targets": campaign.targets,
        "list_digest": campaign.list_digest,
    }
    return Looked(wanted=dict(asked.wanted), standing={"campaign": standing})


def _start_campaign(session: Session, asked: Asked, approved: Approved, _: Pace, now: datetime) -> dict[str, Any]:
    campaign_id = UUID(asked.wanted["campaign_id"])
    started = campaigns.start(session, campaign_id, approval_id=approved.approval_id, now=now)
    return {"campaign_id": str(started.id)}


_LOOKS: dict[Kind, Callable[[Session, Asked, Pace, datetime], Looked]] = {
    Kind.ORDERS: _look_at_orders,
    Kind.REFUND: _look_at_refund,
    Kind.BRAKE_LIMIT: _look_at_limit,
    Kind.NO_CUT_RULE_END: _look_at_rule,
    Kind.TRIP_POLICY: _look_at_policy,
    Kind.CAMPAIGN: _look_at_campaign,
}
_DEEDS: dict[Kind, Callable[[Session, Asked, Approved, Pace, datetime], dict[str, Any]]] = {
    Kind.ORDERS: _give_orders,
    Kind.REFUND: _take_back,
    Kind.BRAKE_LIMIT: _set_limit,
    Kind.NO_CUT_RULE_END: _end_rule,
    Kind.TRIP_POLICY: _put_in_force,
    Kind.CAMPAIGN: _start_campaign,
}
