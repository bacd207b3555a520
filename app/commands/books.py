"""What is noted of commands beside what terminals answer: that they left, by the line or in a hand, and come due."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.commands.models import Command, CommandStep
from app.commands.rules import OPEN, CommandClass, CommandState


def note_site_code(session: Session, command: Command, *, now: datetime) -> None:
    """Count a try: the command has left by a site code and may arrive at any time."""
    command.attempts = max(command.attempts, 1)
    session.add(CommandStep(command_id=command.id, step="site code", at=now, detail={}))
    session.flush()


def note_sent(session: Session, command_ids: Iterable[UUID], *, step: str, now: datetime) -> None:
    """Record that the broker took a step of these commands."""
    ids = list(command_ids)
    sent_at = Command.operate_sent_at if step == "operate" else Command.sent_at
    session.execute(
        update(Command).where(Command.id.in_(ids), sent_at.is_(None)).values({sent_at: now}),
        execution_options={"synchronize_session": False},
    )
    session.execute(
        update(Command)
        .where(Command.id.in_(ids), Command.state == CommandState.WAITING)
        .values(state=CommandState.SENT),
        execution_options={"synchronize_session": False},
    )
    session.add_all(CommandStep(command_id=identity, step=f"sent {step}", at=now, detail={}) for identity in ids)
    session.flush()


def retry_at_birth(session: Session, terminal_ids: Iterable[str], *, now: datetime) -> None:
    """Make what is not a cut due at once for terminals that have just come back."""
    session.execute(
        update(Command)
        .where(
            Command.terminal_id.in_(list(terminal_ids)),
            Command.command_class != CommandClass.CUT,
            Command.state.in_(OPEN),
        )
        .values(due_at=now),
        execution_options={"synchronize_session": False},
    )
