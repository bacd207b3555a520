"""Gives out site codes: what one carries, and the record of it. Whoever calls writes the digits."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.clock import Clock
from app.commands import queries as command_queries
from app.commands import service as commands
from app.commands.books import note_site_code
from app.commands.models import Command
from app.commands.rules import Op
from app.customers import queries as customer_queries
from app.customers import service as customers
from app.customers.rules import ContractClosing
from app.database import new_id
from app.site_codes import queries
from app.site_codes.models import IssuedSiteCode
from app.site_codes.rules import (
    Credit,
    GivenBack,
    Holding,
    NoSiteKey,
    NotCommissioned,
    NothingToCarry,
    TerminalReachable,
    check_carries,
    given_back,
    needs_new_order,
)
from app.terminals import queries as terminal_queries
from app.terminals import service as terminals
from app.terminals.queries import TerminalSeen


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where a code is wanted, by whom, and of which secret the caller makes keys."""

    supply_point_id: UUID
    site_key_id: str
    asked_by: UUID


def give(session: Session, asked: Asked, *, clock: Clock, now: datetime) -> IssuedSiteCode:
    """Give out a code for the credit on its way to a terminal that is off line; asked again, it is the same code.

    From then on the credit counts as sent, since it may arrive at any time: a later credit that says less is looked
    at like one that lowers.

    Raises:
        NoSuchSupplyPoint, NoTerminalFitted: there is nothing to type at.
        ContractClosing: the account is being closed, and its energy taken back.
        NotCommissioned, TerminalReachable, NoSiteKey: this terminal takes no code now.
        NothingToCarry, CodeWouldLower, TooFarAhead: there is no credit that a code can bring.
    """
    customers.lock_supply_points(session, [asked.supply_point_id])
    point_id = customer_queries.supply_point(session, asked.supply_point_id).id
    contract = customer_queries.open_contract_of(session, point_id)
    if contract is not None and contract.closing_since is not None:
        raise ContractClosing(contract_no=contract.contract_no, closing_since=contract.closing_since)
    seen = _takes_codes(session, point_id, site_key_id=asked.site_key_id)
    credit = command_queries.open_in_slot(session, seen.terminal.id, Op.CREDIT)
    if credit is None or contract is None:
        raise NothingToCarry(terminal_id=seen.terminal.id)
    _check(session, credit, seen)
    back = _given_back(session, seen)
    code = queries.code_of(session, credit.id)
    before = GivenBack(rounds=code.release_rounds, limit=code.lift_limit) if code else None
    cut_since = queries.cut_since(session, seen.terminal.id, version=credit.version)
    if needs_new_order(before, back, cut_since=cut_since):
        credit, code = _under_a_new_order(session, credit, clock=clock, now=now), None
        _check(session, credit, seen)
    if code is None:
        code = _note(session, credit, back, asked, now=now)
    _record(session, code, now=now)
    return code


def _takes_codes(session: Session, supply_point_id: UUID, *, site_key_id: str) -> TerminalSeen:
    terminal = terminal_queries.terminal_at(session, supply_point_id)
    seen = terminal_queries.terminal_seen(session, terminal.id)
    if seen.live.state is None or seen.live.seen_at is None:
        raise NotCommissioned(terminal_id=terminal.id)
    if seen.live.online and seen.live.commandable:
        raise TerminalReachable(terminal_id=terminal.id, seen_at=seen.live.seen_at)
    if terminal.site_key_id != site_key_id:
        raise NoSiteKey(terminal_id=terminal.id)
    return seen


def _check(session: Session, credit: Command, seen: TerminalSeen) -> None:
    told = seen.live.state or {}
    may_hold_wh = queries.may_hold_wh(
        session,
        seen.terminal.id,
        version=credit.version,
        told_order_no=told["order_no"],
        told_wh=told["paid_until_wh"],
    )
    check_carries(
        Credit(order_no=credit.args["order_no"], paid_until_wh=credit.args["paid_until_wh"]),
        Holding(order_no=told["order_no"], paid_until_wh=told["paid_until_wh"], may_hold_wh=may_hold_wh),
        terminal_id=seen.terminal.id,
    )


def _given_back(session: Session, seen: TerminalSeen) -> GivenBack:
    relays = (seen.live.state or {})["rounds"]
    limit = command_queries.open_in_slot(session, seen.terminal.id, Op.LIMIT)
    return given_back(
        queries.rounds_standing(session, seen.terminal.id, relays=relays),
        limit_lifted=limit is not None and limit.args.get("power_w") is None,
    )


def _under_a_new_order(session: Session, credit: Command, *, clock: Clock, now: datetime) -> Command:
    """Say the same again under a new number; the credit before makes way."""
    counted = terminals.next_order(session, credit.supply_point_id)
    again = commands.NewCommand(
        terminal_id=credit.terminal_id,
        supply_point_id=credit.supply_point_id,
        op=Op.CREDIT,
        args={**credit.args, "order_no": counted.order_no},
        reason=credit.reason,
        stage=credit.stage,
        decision_id=credit.decision_id,
        requested_by=credit.requested_by,
        version=counted.version,
    )
    return session.get_one(Command, commands.add(session, again, clock=clock, now=now))


def _note(session: Session, credit: Command, back: GivenBack, asked: Asked, *, now: datetime) -> IssuedSiteCode:
    code = IssuedSiteCode(
        id=new_id(),
        supply_point_id=credit.supply_point_id,
        terminal_id=credit.terminal_id,
        command_id=credit.id,
        order_no=credit.args["order_no"],
        paid_until_wh=credit.args["paid_until_wh"],
        release_rounds=back.rounds,
        lift_limit=back.limit,
        site_key_id=asked.site_key_id,
        issued_by=asked.asked_by,
        issued_at=now,
    )
    session.add(code)
    session.flush()
    note_site_code(session, credit, now=now)
    return code


def _record(session: Session, code: IssuedSiteCode, *, now: datetime) -> None:
    deed = Deed(
        action="site_code.given",
        subject_kind="terminal",
        subject=code.terminal_id,
        after={
            "command_id": code.command_id,
            "supply_point_id": code.supply_point_id,
            "order_no": code.order_no,
            "paid_until_wh": code.paid_until_wh,
            "release_rounds": code.release_rounds,
            "lift_limit": code.lift_limit,
        },
    )
    audit.record(session, deed, at=now)
