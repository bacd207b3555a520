"""Reads of commands: what a terminal was told, by whom, and how far each is known to have come."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, not_, select
from sqlalchemy.orm import Session

from app.commands.models import Command, CommandStep
from app.commands.rules import OPEN, CommandState
from app.errors import NotFound
from app.staff.models import StaffMember


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
