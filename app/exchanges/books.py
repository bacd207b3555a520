"""What an exchange ends at the old terminal, and what it orders at the new one."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.commands import service as commands
from app.commands.models import Command
from app.commands.rules import IN_DOUBT, CommandState, Op
from app.database import new_id
from app.exchanges.rules import Rebased
from app.load_control import queries as load_control_queries
from app.load_control.facts import Stage
from app.load_control.levels import Levels
from app.load_control.models import StageDecisionRecord
from app.load_control.reasons import Reason
from app.load_control.service import Pace
from app.notices import service as notices
from app.terminals.models import Terminal
from app.terminals.service import Counted


def end_commands(session: Session, open_ones: list[Command], *, new_terminal_id: str, now: datetime) -> None:
    """End what was open at the old terminal; what it may have done and never said stays unknown for good."""
    outcome = f"the terminal was exchanged for {new_terminal_id}"
    for command in open_ones:
        before = CommandState(command.state)
        state = CommandState.UNKNOWN if before in IN_DOUBT else before
        if before not in IN_DOUBT | {CommandState.EXECUTED}:
            state = CommandState.CANCELLED
        commands.end(session, command, state, outcome=outcome, now=now)
        command.ended_at = now
        # A notice that nobody can prove any more would stand in the way of the next one for ever.
        notices.withdraw_unserved(session, command_id=command.id, because=outcome, now=now)
    session.flush()


def begin_stage_anew(session: Session, supply_point_id: UUID, *, rebased: Rebased, now: datetime) -> None:
    """Take the point back to normal, since limit and trips went with the old relays, and have control look again.

    Raises:
        LookupError: the point is not under control; the caller has looked at it before.
    """
    control = load_control_queries.control_state(session, supply_point_id)
    if control is None:
        raise LookupError(f"supply point {supply_point_id} is not under control")
    session.refresh(control)
    because = [Reason("terminal_exchanged").as_json()]
    decision = StageDecisionRecord(
        id=new_id(),
        supply_point_id=supply_point_id,
        decided_at=now,
        trigger="terminal exchange",
        stage_before=control.stage,
        stage=Stage.NORMAL.word,
        because=because,
        held=[],
        facts={"paid_until_wh": rebased.paid_until_wh, "shift_wh": rebased.shift_wh},
    )
    session.add(decision)
    if control.stage != Stage.NORMAL.word:
        control.since = now
    control.stage = Stage.NORMAL.word
    control.decision_id = decision.id
    control.because, control.held = because, []
    control.paid_until_wh = rebased.paid_until_wh
    control.look_again_at, control.look_again_at_wh = now, None
    session.flush()


def to_credit(new: Terminal, *, rebased: Rebased, counted: Counted, at: Levels) -> commands.NewCommand:
    """Return the order that the new terminal hold all that is paid for; a ``refresh``, since it may hold anything."""
    remaining_wh = rebased.paid_until_wh - rebased.posted_supplied_wh
    return commands.NewCommand(
        terminal_id=new.id,
        supply_point_id=new.supply_point_id,
        op=Op.CREDIT,
        args={
            "order_no": counted.order_no,
            "mode": "refresh",
            "value_wh": remaining_wh,
            "paid_until_wh": rebased.paid_until_wh,
            "alarm_wh": at.warning,
            "trip_wh": at.trip,
        },
        reason=f"terminal exchanged, {remaining_wh // 1000:,} kWh left",
        version=counted.version,
    )


def order_again(session: Session, kept: list[Command], new: Terminal, *, pace: Pace, now: datetime) -> None:
    """Order at the new terminal what kept the old one from cutting."""
    for command in kept:
        again = commands.NewCommand(
            terminal_id=new.id,
            supply_point_id=new.supply_point_id,
            op=Op(command.op),
            args=command.args,
            reason=command.reason,
            requested_by=command.requested_by,
        )
        commands.add(session, again, clock=pace.clock, now=now)
