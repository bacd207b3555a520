"""Orders by hand: issue the command under the supply point's lock, call one back, record that a notice arrived."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.brake.queries import operator_is_braked
from app.commands import queries as command_queries
from app.commands import service as commands
from app.commands.models import Command
from app.commands.rules import CommandClass, Op, class_of, slot_of
from app.customers import queries as customer_queries
from app.customers import service as customers
from app.customers.rules import capacity_w
from app.errors import DomainError, TwoPersonsNeeded
from app.load_control import queries as load_control_queries
from app.load_control import service as load_control
from app.load_control.facts import Cut, Facts
from app.load_control.interlocks import why_not_cut
from app.load_control.reasons import Reason
from app.load_control.rules import Step
from app.load_control.service import CUTS, Pace
from app.notices import service as notices
from app.notices.models import Notice
from app.notices.rules import NoticeKind, Wording
from app.orders.rules import (
    CutRefused,
    NoticeOnItsWay,
    NotUnderContract,
    Order,
    RoundTripped,
    TerminalRetired,
    notice_kind_of,
    step_of,
)
from app.terminals import service as terminals
from app.terminals.models import Terminal
from app.terminals.queries import NoTerminalFitted


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What an order would do now: the command of its terminal, and of a cut what stands against it."""

    terminal_id: str
    facts: Facts
    step: Step
    cut: Cut | None
    interlocks: tuple[Reason, ...]

    @property
    def needs_two(self) -> bool:
        return self.cut is not None or self.step.op == Op.CREDIT

    @property
    def tripped_already(self) -> bool:
        """Whether a trip would take over what the service, or another person, has tripped or is tripping."""
        if self.cut is not Cut.TRIP:
            return False
        wanted = self.step.args["round"]
        return any(one.round == wanted and (one.relay == "0" or one.trip_in_flight) for one in self.facts.rounds)


def would_give(session: Session, order: Order, *, pace: Pace, now: datetime) -> Ready:
    """Say what an order would do; nothing is written or locked.

    Raises:
        NoSuchSupplyPoint, NotUnderContract, NoTerminalFitted, TerminalRetired: there is nothing to command.
        RoundNotFitted, LimitOutOfRange, NoticeTooShort, EndsInThePast: an argument does not fit.
        NoticeOnItsWay, CreditOnItsWay: it would take the place of what has not arrived.
        RoundTripped: there is nothing left to trip.
    """
    point_id = customer_queries.supply_point(session, order.supply_point_id).id
    contract = customer_queries.open_contract_of(session, point_id)
    if contract is None:
        raise NotUnderContract(supply_point_id=point_id)
    terminal = _terminal_in_service(session, point_id)
    facts = _facts(session, point_id, pace=pace, now=now)
    step = step_of(order, facts, capacity_w=capacity_w(contract.capacity_kva), now=now)
    step = _mind_the_slot(session, terminal.id, step, kind=notice_kind_of(order))
    braked = operator_is_braked(session, order.requested_by)
    ready = _ready(step, facts, terminal_id=terminal.id, braked=braked, now=now)
    if ready.tripped_already:
        raise RoundTripped(round_no=step.args["round"])
    return ready


def would_give_each(
    session: Session, orders: Sequence[Order], *, pace: Pace, now: datetime
) -> list[Ready | DomainError]:
    """Say what each of many orders of one person would do, or what refuses it, in the order in which they came.

    It asks for all of them together, and leaves what may be on its way in a slot to the moment of giving. Of a round
    that is tripped already the answer tells.
    """
    ids = [order.supply_point_id for order in orders]
    pictures = load_control_queries.pictures(
        session, ids, report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )
    found = {picture.supply_point_id: picture for picture in pictures}
    contracts = customer_queries.open_contracts_of(session, ids)
    braked = operator_is_braked(session, orders[0].requested_by) if orders else None

    def look(order: Order) -> Ready | DomainError:
        contract, picture = contracts.get(order.supply_point_id), found.get(order.supply_point_id)
        try:
            if contract is None:
                raise NotUnderContract(supply_point_id=order.supply_point_id)
            if picture is None:
                raise NoTerminalFitted(supply_point_id=order.supply_point_id)
            step = step_of(order, picture.facts, capacity_w=capacity_w(contract.capacity_kva), now=now)
            return _ready(step, picture.facts, terminal_id=picture.terminal_id, braked=braked, now=now)
        except DomainError as refusal:
            return refusal

    return [look(order) for order in orders]


def _ready(step: Step, facts: Facts, *, terminal_id: str, braked: str | None, now: datetime) -> Ready:
    op = Op(step.op)
    if class_of(op, step.args, limit_w=facts.limit_w) is not CommandClass.CUT:
        return Ready(terminal_id=terminal_id, facts=facts, step=step, cut=None, interlocks=())
    cut = CUTS[op]
    against = why_not_cut(replace(facts, braked=facts.braked or braked), cut=cut, automatic=False, now=now)
    return Ready(terminal_id=terminal_id, facts=facts, step=step, cut=cut, interlocks=against)


def give(session: Session, order: Order, *, approval_id: UUID | None = None, pace: Pace, now: datetime) -> Command:
    """Issue the command of an order, with the notice that it carries.

    A cut by hand needs a terminal that can be reached, since a cut is never kept for later, and one that holds all
    that was paid for, since it may act on what it holds.

    Raises:
        CutRefused: an interlock stands against a cut.
        TwoPersonsNeeded: it takes supply or energy away, and no approval stands behind it.
        And everything that :func:`would_give` raises.
    """
    customers.lock_supply_points(session, [order.supply_point_id])
    ready = would_give(session, order, pace=pace, now=now)
    op, args, version = Op(ready.step.op), ready.step.args, None
    if ready.cut is not None and ready.interlocks:
        raise CutRefused(cut=ready.cut, interlocks=ready.interlocks)
    if ready.needs_two and approval_id is None:
        raise TwoPersonsNeeded(what=f"An order to {order.action.words}", ask_at="/api/v1/approvals/orders")
    if op is Op.GUARANTEE and args["on"]:
        commands.call_back_cuts(session, order.supply_point_id, because="supply was guaranteed", now=now)
    if op is Op.CREDIT:
        counted = terminals.next_order(session, order.supply_point_id)
        args, version = {**args, "order_no": counted.order_no}, counted.version
    kind = notice_kind_of(order)
    command = commands.issue(
        session,
        commands.NewCommand(
            terminal_id=ready.terminal_id,
            supply_point_id=order.supply_point_id,
            op=op,
            args=args,
            version=version,
            reason=order.reason,
            stage=kind.value if kind else None,
            requested_by=order.requested_by,
            approval_id=approval_id,
            limit_w=ready.facts.limit_w,
        ),
        clock=pace.clock,
        now=now,
    )
    if kind is not None:
        _give_notice(session, order, command, kind=kind, now=now)
    _record(session, command, action="command.ordered", after={"reason": order.reason}, now=now)
    return command


def call_back(session: Session, command_id: UUID, *, because: str, now: datetime) -> Command:
    """Cancel a command that nothing acts on yet, and withdraw the notice that it was to carry.

    Raises:
        NoSuchCommand: no command has the id.
        NotRecallable: it has gone too far, or carries energy that was paid for.
    """
    command = command_queries.command_given(session, command_id).command
    customers.lock_supply_points(session, [command.supply_point_id])
    session.refresh(command, with_for_update=True)
    commands.call_back(session, command, because=because, now=now)
    notices.withdraw_unserved(session, command_id=command_id, because=because[:200], now=now)
    _record(session, command, action="command.called_back", after={"reason": because}, now=now)
    return command


def note_served(session: Session, notice_id: UUID, *, how: str, pace: Pace, now: datetime) -> Notice:
    """Record that a person handed a notice over, and decide anew, since a cut may have waited for it.

    Raises:
        NoSuchNotice, AlreadyServed, NoticeWithdrawn: see :func:`app.notices.service.mark_handed_over`.
    """
    found = session.get(Notice, notice_id)
    if found is None:
        raise notices.NoSuchNotice(notice_id=notice_id)
    customers.lock_supply_points(session, [found.supply_point_id])
    notice = notices.mark_handed_over(session, notice_id, how=how, now=now)
    load_control.reassess(session, [notice.supply_point_id], trigger="notice served", pace=pace, now=now)
    after = {"how": how, "kind": notice.kind, "supply_point_id": notice.supply_point_id}
    deed = Deed(action="notice.served", subject_kind="notice", subject=str(notice_id), after=after)
    audit.record(session, deed, at=now)
    return notice


def _record(session: Session, command: Command, *, action: str, after: dict[str, Any], now: datetime) -> None:
    said = {
        "command_id": command.id,
        "op": command.op,
        "args": command.args,
        "supply_point_id": command.supply_point_id,
        **after,
    }
    deed = Deed(action=action, subject_kind="terminal", subject=command.terminal_id, after=said)
    audit.record(session, deed, at=now)


def _terminal_in_service(session: Session, supply_point_id: UUID) -> Terminal:
    terminal = session.scalar(
        select(Terminal)
        .where(Terminal.supply_point_id == supply_point_id)
        .order_by(Terminal.retired_at.is_not(None))
        .limit(1)
    )
    if terminal is None:
        raise NoTerminalFitted(supply_point_id=supply_point_id)
    if terminal.retired_at is not None:
        raise TerminalRetired(terminal_id=terminal.id)
    return terminal


def _facts(session: Session, supply_point_id: UUID, *, pace: Pace, now: datetime) -> Facts:
    (picture,) = load_control_queries.pictures(
        session, [supply_point_id], report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )
    return picture.facts


def _mind_the_slot(session: Session, terminal_id: str, step: Step, *, kind: NoticeKind | None) -> Step:
    """Keep what a newer command of the same slot would lose: a notice of a cut, or settings not yet taken over."""
    op = Op(step.op)
    if op not in (Op.WARN, Op.CONFIGURE):
        return step
    waiting = command_queries.open_in_slot(session, terminal_id, slot_of(op, step.args))
    if waiting is None:
        return step
    if op is Op.CONFIGURE:
        return Step(op=step.op, args={**waiting.args, **step.args})
    if waiting.stage in (NoticeKind.WRITTEN, NoticeKind.SECOND) and waiting.stage != kind:
        raise NoticeOnItsWay(kind=str(waiting.stage), command_id=waiting.id)
    return step


def _give_notice(session: Session, order: Order, command: Command, *, kind: NoticeKind, now: datetime) -> None:
    said = command.args["text"]
    notices.give(
        session,
        notices.NewNotice(
            supply_point_id=order.supply_point_id,
            kind=kind,
            wording=Wording(zh=said["zh"], en=said["en"]),
            cut_not_before=order.arguments.get("cut_not_before"),
            command_id=command.id,
            issued_by=order.requested_by,
        ),
        now=now,
    )
