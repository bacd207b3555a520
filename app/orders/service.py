"""Orders by hand: issue the command under the supply point's lock, call one back, record that a notice arrived."""

from dataclasses import replace
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
from app.load_control import queries as load_control_queries
from app.load_control import service as load_control
from app.load_control.facts import Facts
from app.load_control.rules import Step
from app.load_control.service import CUTS, Pace
from app.notices import service as notices
from app.notices.models import Notice
from app.notices.rules import NoticeKind, Wording
from app.orders.rules import (
    NoticeOnItsWay,
    NotUnderContract,
    Order,
    TerminalRetired,
    check_cut,
    notice_kind_of,
    step_of,
)
from app.terminals.models import Terminal
from app.terminals.queries import NoTerminalFitted


def give(session: Session, order: Order, *, pace: Pace, now: datetime) -> Command:
    """Issue the command of an order, with the notice that it carries.

    Raises:
        NoSuchSupplyPoint, NotUnderContract, NoTerminalFitted, TerminalRetired: there is nothing to command.
        RoundNotFitted, LimitOutOfRange, NoticeTooShort, EndsInThePast: an argument does not fit.
        NoticeOnItsWay: the warning would take the place of a notice that has not arrived.
        CutRefused: an interlock stands against a cut.
    """
    customers.lock_supply_points(session, [order.supply_point_id])
    point_id = customer_queries.supply_point(session, order.supply_point_id).id
    contract = customer_queries.open_contract_of(session, point_id)
    if contract is None:
        raise NotUnderContract(supply_point_id=point_id)
    terminal = _terminal_in_service(session, point_id)
    facts = _facts(session, point_id, pace=pace, now=now)
    step = step_of(order, facts, capacity_w=capacity_w(contract.capacity_kva), now=now)
    op = Op(step.op)
    if class_of(op, step.args, limit_w=facts.limit_w) is CommandClass.CUT:
        braked = facts.braked or operator_is_braked(session, order.requested_by)
        check_cut(replace(facts, braked=braked), cut=CUTS[op], now=now)
    if op is Op.GUARANTEE and step.args["on"]:
        commands.call_back_cuts(session, point_id, because="supply was guaranteed", now=now)
    kind = notice_kind_of(order)
    step = _mind_the_slot(session, terminal.id, step, kind=kind)
    command = commands.issue(
        session,
        commands.NewCommand(
            terminal_id=terminal.id,
            supply_point_id=point_id,
            op=op,
            args=step.args,
            reason=order.reason,
            stage=kind.value if kind else None,
            requested_by=order.requested_by,
            limit_w=facts.limit_w,
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
