"""Reads of commands: what a terminal was told, by whom, and how far each is known to have come."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Select, and_, literal_column, not_, or_, select
from sqlalchemy.orm import Session

from app.clock import Clock
from app.commands.models import Command, CommandStep
from app.commands.rules import ARM_VALID_S, OPEN, RECALLABLE, CommandClass, CommandState
from app.errors import NotFound
from app.staff.models import StaffMember
from app.terminals.models import TerminalLive

RESTORE_VALID_S = 600
#: A credit of which the terminal has told nothing for so long after its end was never taken over: its token was good
#: for ten minutes, and what is told live is five minutes old at most.
_ARRIVES_WITHIN_S = RESTORE_VALID_S + 300

# A refresh below what the terminal told of, or may hold by now of an order that it has not told of yet. An `append`
# lowers nothing: terminals refuse it then.
_MAY_LOWER = """
    (commands.op = 'credit' AND commands.args->>'mode' = 'refresh'
     AND (commands.args->>'paid_until_wh')::bigint < greatest(
         coalesce((terminal_live.state->>'paid_until_wh')::bigint, 9223372036854775807),
         (SELECT max((earlier.args->>'paid_until_wh')::bigint) FROM commands AS earlier
           WHERE earlier.terminal_id = commands.terminal_id AND earlier.slot = 'credit'
             AND earlier.version < commands.version AND earlier.attempts > 0
             AND (earlier.args->>'order_no')::bigint > (terminal_live.state->>'order_no')::bigint
             -- A site code may be typed at any time, until the terminal shows its order or a later one.
             AND (EXISTS (SELECT FROM site_codes WHERE site_codes.command_id = earlier.id)
                  OR (earlier.state NOT IN ('refused', 'failed')
                      AND coalesce(earlier.executed_at, earlier.ended_at, 'infinity')
                          > terminal_live.state_at - interval '1 microsecond' * {arrives_within_us})))))
"""


class NoSuchCommand(NotFound):
    title = "There is no such command"

    def __init__(self, *, command_id: UUID) -> None:
        super().__init__(
            f"No command has the id {command_id}.",
            remedy="Take the id from GET /api/v1/commands.",
            command_id=str(command_id),
        )


class CommandGiven(NamedTuple):
    """A command and the sign-in name of who asked for it; None where the service decided."""

    command: Command
    requested_by: str | None


def command_given(session: Session, command_id: UUID) -> CommandGiven:
    """Return one command.

    Raises:
        NoSuchCommand: no command has the id.
    """
    row = session.execute(_given().where(Command.id == command_id)).first()
    if row is None:
        raise NoSuchCommand(command_id=command_id)
    return CommandGiven(*row)


def list_commands(
    session: Session,
    *,
    supply_point_id: UUID | None,
    state: CommandState | None,
    held: bool | None,
    limit: int,
    before_id: UUID | None,
) -> list[CommandGiven]:
    """Return up to ``limit`` commands, newest first, issued before the one with ``before_id``."""
    wanted = _given().order_by(Command.id.desc()).limit(limit)
    if supply_point_id is not None:
        wanted = wanted.where(Command.supply_point_id == supply_point_id)
    if state is not None:
        wanted = wanted.where(Command.state == state)
    if held is not None:
        is_held = and_(Command.state.in_(OPEN), Command.held.is_not(None))
        wanted = wanted.where(is_held if held else not_(is_held))
    if before_id is not None:
        wanted = wanted.where(Command.id < before_id)
    return [CommandGiven(*row) for row in session.execute(wanted)]


def steps_of(session: Session, command_id: UUID) -> list[CommandStep]:
    """Return what became known of a command, in the order in which it became known."""
    return list(
        session.scalars(select(CommandStep).where(CommandStep.command_id == command_id).order_by(CommandStep.id))
    )


def open_in_slot(session: Session, terminal_id: str, slot: str) -> Command | None:
    """Return the command of a terminal's slot that is still on its way."""
    return session.scalar(
        select(Command).where(Command.terminal_id == terminal_id, Command.slot == slot, Command.state.in_(OPEN))
    )


def held_at(session: Session, supply_point_ids: Iterable[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """Return why the credit on its way to these supply points is held, for those where one is."""
    rows = session.execute(
        select(Command.supply_point_id, Command.held).where(
            Command.supply_point_id.in_(list(supply_point_ids)), Command.state.in_(OPEN), Command.held.is_not(None)
        )
    )
    return {row.supply_point_id: row.held for row in rows}


def _given() -> Select[Command, str | None]:
    return select(Command, StaffMember.sign_in_name).outerjoin(StaffMember, StaffMember.id == Command.requested_by)


def may_lower(clock: Clock) -> ColumnElement[bool]:
    """Tell of a due command, joined with its terminal's live row, whether it is a credit that could lower it."""
    arrives_within_us = clock.lived(_ARRIVES_WITHIN_S) // timedelta(microseconds=1)
    return literal_column(_MAY_LOWER.format(arrives_within_us=arrives_within_us), Boolean)


def due_harmful(session: Session, *, clock: Clock, limit: int) -> list[UUID]:
    """Return what is due of cuts, and after them of credits that lower a terminal."""
    found = session.scalars(
        select(Command.id)
        .join(TerminalLive, TerminalLive.terminal_id == Command.terminal_id)
        .where(
            Command.state.in_(RECALLABLE),
            Command.due_at <= clock.now(),
            TerminalLive.online,
            TerminalLive.commandable,
            or_(Command.command_class == CommandClass.CUT, may_lower(clock)),
        )
        .order_by(Command.command_class != CommandClass.CUT, Command.due_at)
        .limit(limit)
    )
    return list(found)


def unanswered(session: Session, *, clock: Clock, now: datetime, limit: int) -> Sequence[Command]:
    """Return cuts whose time is over: never armed, or operated and not answered."""
    return session.scalars(
        select(Command)
        .where(
            Command.command_class == CommandClass.CUT,
            Command.state.in_(OPEN),
            or_(
                and_(Command.state.in_(RECALLABLE), Command.expires_at < now),
                and_(Command.state == CommandState.OPERATING, Command.due_at < now),
                and_(Command.state == CommandState.DELAYING, Command.due_at < now - clock.lived(ARM_VALID_S)),
            ),
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
