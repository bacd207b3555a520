"""Writes a campaign's list, and orders the targets whose turn has come."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.campaigns import queries
from app.campaigns.models import Campaign, CampaignTarget
from app.campaigns.queries import Place
from app.campaigns.rules import (
    CUTS,
    POSTPONED_S,
    RESTORES,
    STARTS_WITHIN_S,
    WAVE_LASTS_S,
    OrderedAlready,
    by_feeder,
    wave_numbers,
)
from app.customers import queries as customer_queries
from app.customers import service as customers
from app.database import attempt
from app.errors import DomainError
from app.load_control.facts import Cut
from app.load_control.interlocks import power_at_stake
from app.load_control.service import Pace
from app.orders import service as orders
from app.orders.rules import Action, CutRefused, Order, kept_as_json, read_from_json
from app.orders.service import Ready

_random = random.SystemRandom()

_LIMITED_ALREADY = {
    "code": "limited_already",
    "zh": "现有限额已不高于此限额。",
    "en": "A limit that is no higher stands there already.",
}
_CHANGED = {
    "code": "changed_since",
    "zh": "名单冻结后情况已变（购电、换装或定值变化）。",
    "en": "A purchase, an exchange or a setting has changed it since the list was made.",
}
_TRIPPED_ALREADY = {
    "code": "tripped_already",
    "zh": "该轮次已跳闸或正在跳闸。",
    "en": "The round is tripped already, or about to be.",
}
_BRAKE = "brake_on"
BRAKE_IS_ON = "the brake on cuts is on"
#: A radio that reconnects, a report that is late: the target is looked at again while its wave lasts.
_PASSES = {"unreachable", "stale_report"}
#: What holds the campaign, not the target.
_HOLDS = {_BRAKE: BRAKE_IS_ON, "no_cut_time": "nobody is cut off at this time"}


@dataclass(frozen=True, kw_only=True)
class Meant:
    """What is to be ordered at each place, by whom and why."""

    action: Action
    arguments: dict[str, Any]
    reason: str
    by: UUID


def list_of(
    session: Session, campaign_id: UUID, places: Sequence[Place], meant: Meant, *, pace: Pace, now: datetime
) -> list[CampaignTarget]:
    """Look at every place and freeze what it would be told, or why not; those to be told come first, in waves.

    Places come in random order, so that the first waves say something about all of them; what gives supply back
    keeps its order, in one wave, feeder by feeder.
    """
    mixed = list(places)
    if meant.action not in RESTORES:
        _random.shuffle(mixed)
    wanted = _orders(session, mixed, meant)
    looked = orders.would_give_each(session, wanted, pace=pace, now=now)
    rows = [
        _target(campaign_id, place, order, ready, meant)
        for place, order, ready in zip(mixed, wanted, looked, strict=True)
    ]
    told = [row for row in rows if row.left_out is None]
    if meant.action in RESTORES:
        waves, turns = [1] * len(told), by_feeder([row.feeder for row in told])
    else:
        waves, turns = wave_numbers(len(told)), [_random.randrange(STARTS_WITHIN_S) for _ in told]
    for row, wave, after_s in zip(told, waves, turns, strict=True):
        row.wave, row.after_s = wave, after_s
    ordered = [*told, *(row for row in rows if row.left_out is not None)]
    for position, row in enumerate(ordered, start=1):
        row.position = position
    return ordered


def order_all(
    session: Session, campaign: Campaign, targets: Sequence[CampaignTarget], *, pace: Pace, now: datetime
) -> str | None:
    """Order the targets whose turn has come; returns why the campaign must stop, or None.

    What has changed since the list was made, and what an interlock forbids, is left out with its reason; but for the
    brake and a time without cuts: those hold the campaign, not the target.
    """
    customers.lock_supply_points(session, [target.supply_point_id for target in targets])
    for target, ready in _look(session, campaign, targets, pace=pace, now=now):
        reasons = _against(target, ready)
        if not reasons:
            reasons = _order(session, campaign, target, pace=pace, now=now)
        holds = {one["code"] for one in reasons} & _HOLDS.keys()
        if holds:
            return _HOLDS[holds.pop()]
        if reasons and _may_pass(campaign, target, reasons):
            target.after_s += POSTPONED_S
        else:
            target.left_out = reasons or None
    session.flush()
    return None


def braked(
    session: Session, campaign: Campaign, targets: Sequence[CampaignTarget], *, pace: Pace, now: datetime
) -> bool:
    """Tell whether the brake holds one of these targets now."""
    looked = _look(session, campaign, targets, pace=pace, now=now)
    interlocks = [reason for _, one in looked if not isinstance(one, DomainError) for reason in one.interlocks]
    return any(reason.code == _BRAKE for reason in interlocks)


def left_out_now(session: Session, campaign: Campaign, *, pace: Pace, now: datetime) -> dict[str, int]:
    """Count for which reasons targets of a frozen list would be left out at this moment."""
    looked = _look(session, campaign, queries.told(session, campaign.id), pace=pace, now=now)
    return dict(Counter(one["code"] for target, ready in looked for one in _against(target, ready)))


def _look(
    session: Session, campaign: Campaign, targets: Sequence[CampaignTarget], *, pace: Pace, now: datetime
) -> list[tuple[CampaignTarget, Ready | DomainError]]:
    wanted = [_order_of(campaign, target) for target in targets]
    return list(zip(targets, orders.would_give_each(session, wanted, pace=pace, now=now), strict=True))


def _order_of(campaign: Campaign, target: CampaignTarget) -> Order:
    return Order(
        action=Action(campaign.action),
        supply_point_id=target.supply_point_id,
        reason=campaign.reason,
        requested_by=campaign.made_by,
        arguments=read_from_json(target.arguments),
    )


def _order(
    session: Session, campaign: Campaign, target: CampaignTarget, *, pace: Pace, now: datetime
) -> list[dict[str, Any]]:
    order = _order_of(campaign, target)
    try:
        with attempt(session):
            command = orders.give(session, order, approval_id=campaign.approval_id, pace=pace, now=now)
            if command.approval_id != campaign.approval_id:
                raise OrderedAlready(command_id=command.id)
    except DomainError as refusal:
        return _as_reasons(refusal)
    target.command_id = command.id
    return []


def _orders(session: Session, places: Sequence[Place], meant: Meant) -> list[Order]:
    contracts = customer_queries.open_contracts_of(session, [place.supply_point_id for place in places])

    def arguments(place: Place) -> dict[str, Any]:
        if meant.action is not Action.LIMIT or "power_w" in meant.arguments:
            return meant.arguments
        contract = contracts.get(place.supply_point_id)
        return {**meant.arguments, "power_w": contract.limit_w if contract else 0}

    return [
        Order(
            action=meant.action,
            supply_point_id=place.supply_point_id,
            reason=meant.reason,
            requested_by=meant.by,
            arguments=arguments(place),
        )
        for place in places
    ]


def _target(
    campaign_id: UUID, place: Place, order: Order, ready: Ready | DomainError, meant: Meant
) -> CampaignTarget:
    row = CampaignTarget(
        campaign_id=campaign_id,
        supply_point_id=place.supply_point_id,
        feeder=place.feeder,
        arguments=kept_as_json(order.arguments),
        after_s=0,
    )
    if isinstance(ready, DomainError):
        row.left_out = _as_reasons(ready)
    elif meant.action in CUTS and ready.cut is None:
        row.left_out = [_LIMITED_ALREADY]
    elif ready.tripped_already:
        row.left_out = [_TRIPPED_ALREADY]
    elif ready.interlocks:
        row.left_out = [reason.as_json() for reason in ready.interlocks]
    else:
        row.terminal_id, row.op, row.args = ready.terminal_id, ready.step.op, ready.step.args
        row.paid_until_wh = ready.facts.paid_until_wh
        if ready.cut in (Cut.TRIP, Cut.LIMIT):
            row.power_w = power_at_stake(ready.facts, cut=ready.cut, args=ready.step.args)
    return row


def _against(target: CampaignTarget, ready: Ready | DomainError) -> list[dict[str, Any]]:
    if isinstance(ready, DomainError):
        return _as_reasons(ready)
    if ready.tripped_already:
        return [_TRIPPED_ALREADY]
    frozen = (target.terminal_id, target.op)
    if ready.cut is not None:
        # A purchase since then answers what the campaign was about.
        same = (frozen, target.args, target.paid_until_wh) == (
            (ready.terminal_id, ready.step.op), ready.step.args, ready.facts.paid_until_wh,
        )  # fmt: skip
        return [reason.as_json() for reason in ready.interlocks] or ([] if same else [_CHANGED])
    return [] if frozen == (ready.terminal_id, ready.step.op) and target.power_w is None else [_CHANGED]


def _may_pass(campaign: Campaign, target: CampaignTarget, reasons: Sequence[dict[str, Any]]) -> bool:
    in_this_wave = target.wave == campaign.wave and target.after_s + POSTPONED_S < WAVE_LASTS_S
    return in_this_wave and {one["code"] for one in reasons} <= _PASSES


def _as_reasons(refusal: DomainError) -> list[dict[str, Any]]:
    if isinstance(refusal, CutRefused):
        reasons: list[dict[str, Any]] = refusal.facts["interlocks"]
        return reasons
    return [{"code": refusal.slug().replace("-", "_"), "zh": refusal.detail, "en": refusal.detail}]
