"""What is kept of a command that a person carries to its terminal."""

from datetime import datetime

from sqlalchemy.orm import Session

from app.commands.models import Command, CommandStep


def note_site_code(session: Session, command: Command, *, now: datetime) -> None:
    """Count a try: the command has left by a site code and may arrive at any time."""
    command.attempts = max(command.attempts, 1)
    session.add(CommandStep(command_id=command.id, step="site code", at=now, detail={}))
    session.flush()
