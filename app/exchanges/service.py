"""The story of an exchange: old energy posted, old terminal out, new one in, readings moved, credit on its way."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.allowances.models import Allowance
from app.allowances.queries import allowance_of
from app.audit import service as audit
from app.audit.rules import Deed
from app.commands import service as commands
from app.customers import queries as customer_queries
from app.customers import service as customers
from app.customers.rules import ContractClosing
from app.database import new_id
from app.errors import Conflict
from app.exchanges import books, queries
from app.exchanges.models import TerminalExchange
from app.exchanges.queries import NoContractToServe
from app.exchanges.rules import RefundUnproved, check_final_reading, rebase
from app.load_control import queries as load_control_queries
from app.load_control.levels import Levels, level_that_acts, levels
from app.load_control.service import Pace
from app.terminals import queries as terminal_queries
from app.terminals import service as terminals
from app.terminals.models import Terminal
from app.terminals.service import NewTerminal


class ExchangedMeanwhile(Conflict):
    title = "Somebody else has exchanged the terminal"

    def __init__(self, *, terminal_id: str) -> None:
        super().__init__(
            f"Terminal {terminal_id} was exchanged while you asked.",
            remedy="Look at the supply point again; the final reading is of the terminal that stands there now.",
            terminal_id=terminal_id,
        )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The new terminal, and both counters in Wh as they were read on site at the same moment."""

    new: NewTerminal
    credential: str
    old_final_wh: int
    new_start_wh: int
    reason: str
    exchanged_by: UUID


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """What stands at the supply point, locked, with its energy posted up to the old counter's last reading."""

    old: Terminal
    allowance: Allowance
    at: Levels
    supplied_wh: int


def exchange(session: Session, wanted: Wanted, *, pace: Pace, now: datetime) -> TerminalExchange:
    """Put a terminal in the place of another, whole or not at all; what remains is the same to the Wh.

    Raises:
        NoSuchSupplyPoint, NoTerminalFitted, NoContractToServe: there is nothing to exchange.
        RefundUnproved: a refund is on its way, and too little would stay without its energy.
        FinalReadingTooLow, FinalReadingTooHigh: the old counter cannot stand there.
        TerminalTaken: the new terminal's id is in use.
        ExchangedMeanwhile: another terminal has come while the locks were waited for.
    """
    standing = _posted(session, wanted, pace=pace, now=now)
    old, allowance = standing.old, standing.allowance
    before_wh = allowance.paid_until_wh
    rebased = rebase(
        opening_supplied_wh=allowance.opening_supplied_wh,
        posted_supplied_wh=allowance.posted_supplied_wh,
        paid_until_wh=before_wh,
        old_final_wh=wanted.old_final_wh,
        new_start_wh=wanted.new_start_wh,
    )
    kept = queries.kept_from_cuts(session, old.id)
    books.end_commands(session, queries.not_ended(session, old.id), new_terminal_id=wanted.new.terminal_id, now=now)
    new = terminals.exchange(session, old, wanted.new, credential=wanted.credential, now=now)
    allowances.rebase(
        session,
        allowance,
        opening_supplied_wh=rebased.opening_supplied_wh,
        posted_supplied_wh=rebased.posted_supplied_wh,
        paid_until_wh=rebased.paid_until_wh,
    )
    # Control begins with the first order, and an exchange before it must not begin it.
    order_no, command_id = 0, None
    if new.last_order_no:
        counted = terminals.next_order(session, new.supply_point_id)
        credit = books.to_credit(new, rebased=rebased, counted=counted, at=standing.at)
        order_no, command_id = counted.order_no, commands.add(session, credit, clock=pace.clock, now=now)
    made = TerminalExchange(
        id=new_id(),
        supply_point_id=new.supply_point_id,
        old_terminal_id=old.id,
        new_terminal_id=new.id,
        old_final_wh=wanted.old_final_wh,
        new_start_wh=wanted.new_start_wh,
        supplied_wh=standing.supplied_wh,
        paid_until_before_wh=before_wh,
        paid_until_after_wh=rebased.paid_until_wh,
        order_no=order_no,
        command_id=command_id,
        reason=wanted.reason,
        exchanged_by=wanted.exchanged_by,
        exchanged_at=now,
    )
    session.add(made)
    books.order_again(session, kept, new, pace=pace, now=now)
    books.begin_stage_anew(session, new.supply_point_id, rebased=rebased, now=now)
    _record(session, made, now=now)
    return made


def _posted(session: Session, wanted: Wanted, *, pace: Pace, now: datetime) -> _Standing:
    point = customer_queries.supply_point(session, wanted.new.supply_point_id).id
    old = _locked_terminal(session, point)
    contract = customer_queries.open_contract_of(session, point)
    found = load_control_queries.pictures(
        session, [point], report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )
    allowance = allowance_of(session, point)
    if contract is None or not found or allowance is None:
        raise NoContractToServe(supply_point_id=point)
    if contract.closing_since is not None:
        raise ContractClosing(contract_no=contract.contract_no, closing_since=contract.closing_since)
    facts = found[0].facts
    check_final_reading(
        wanted.old_final_wh,
        reported_wh=max(facts.supplied_wh or 0, allowance.posted_supplied_wh),
        capacity_kva=contract.capacity_kva,
        silent_for=now - (facts.supplied_at or old.registered_at),
        report_valid_for=pace.report_valid_for,
    )
    if facts.refunding_wh and facts.paid_until_wh - wanted.old_final_wh < level_that_acts(facts):
        raise RefundUnproved(refunding_wh=facts.refunding_wh)
    supplied_wh = allowances.post_supplied(session, point, supplied_wh=wanted.old_final_wh, now=now)
    session.refresh(allowance)
    return _Standing(old=old, allowance=allowance, at=levels(facts), supplied_wh=supplied_wh)


def _locked_terminal(session: Session, supply_point_id: UUID) -> Terminal:
    """Lock first the live row of the terminal that stands there and then the supply point; returns the terminal."""
    seen = terminal_queries.terminal_at(session, supply_point_id).id
    queries.lock_live(session, seen)
    customers.lock_supply_points(session, [supply_point_id])
    session.expire_all()
    standing = terminal_queries.terminal_at(session, supply_point_id)
    if standing.id != seen:
        raise ExchangedMeanwhile(terminal_id=seen)
    return standing


def _record(session: Session, made: TerminalExchange, *, now: datetime) -> None:
    deed = Deed(
        action="terminal.exchanged",
        subject_kind="supply_point",
        subject=str(made.supply_point_id),
        before={
            "terminal_id": made.old_terminal_id,
            "supplied_wh": made.old_final_wh,
            "paid_until_wh": made.paid_until_before_wh,
        },
        after={
            "terminal_id": made.new_terminal_id,
            "supplied_wh": made.new_start_wh,
            "paid_until_wh": made.paid_until_after_wh,
            "order_no": made.order_no,
            "reason": made.reason,
        },
    )
    audit.record(session, deed, at=now)
