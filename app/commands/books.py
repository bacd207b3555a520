"""What is noted of commands: that they left, by the line or in a hand, come due, and what became known of many."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, text, update
from sqlalchemy.orm import Session

from app.commands.models import Command, CommandStep
from app.commands.rules import OPEN, CommandClass
from app.database import new_id

# In id order, as answers lock them, too.
_SENT = text("""
    UPDATE commands SET sent_at = coalesce(sent_at, :now),
           state = CASE WHEN state = 'waiting' THEN 'sent' ELSE state END
     WHERE id IN (SELECT id FROM commands WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE)
       AND (sent_at IS NULL OR state = 'waiting')
""")
_SENT_OPERATE = text("""
    UPDATE commands SET operate_sent_at = coalesce(operate_sent_at, :now),
           state = CASE WHEN state = 'waiting' THEN 'sent' ELSE state END
     WHERE id IN (SELECT id FROM commands WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE)
       AND (operate_sent_at IS NULL OR state = 'waiting')
""")
_TRIED = text("""
    UPDATE commands SET attempts = attempts + 1, held = NULL, held_since = NULL, due_at = tried.due_at
      FROM unnest(CAST(:ids AS uuid[]), CAST(:due AS timestamptz[])) AS tried (id, due_at)
     WHERE commands.id = tried.id
""")

_ADD_STEPS = text("""
    INSERT INTO command_steps (id, command_id, step, code, at, terminal_at, detail)
    SELECT id, command_id, step, code, at, terminal_at, detail
      FROM jsonb_to_recordset(CAST(:steps AS jsonb)) AS known (
           id uuid, command_id uuid, step text, code text, at timestamptz, terminal_at timestamptz, detail jsonb)
""")

_KEEP = text("""
    UPDATE commands AS command
       SET state = known.state, sent_at = known.sent_at, received_at = known.received_at, armed_at = known.armed_at,
           delaying_until = known.delaying_until, executed_at = known.executed_at, verified_at = known.verified_at,
           ended_at = known.ended_at, outcome = known.outcome, due_at = known.due_at, nonce = known.nonce,
           armed_power_w = known.armed_power_w
      FROM jsonb_to_recordset(CAST(:commands AS jsonb)) AS known (
           id uuid, state text, sent_at timestamptz, received_at timestamptz, armed_at timestamptz,
           delaying_until timestamptz, executed_at timestamptz, verified_at timestamptz, ended_at timestamptz,
           outcome text, due_at timestamptz, nonce text, armed_power_w bigint)
     WHERE command.id = known.id
""")
#: What answers and evidence can change of a command.
_KEPT = (
    "state", "sent_at", "received_at", "armed_at", "delaying_until", "executed_at", "verified_at", "ended_at",
    "outcome", "due_at", "nonce", "armed_power_w",
)  # fmt: skip


def note_site_code(session: Session, command: Command, *, now: datetime) -> None:
    """Count a try: the command has left by a site code and may arrive at any time."""
    command.attempts = max(command.attempts, 1)
    session.add(CommandStep(command_id=command.id, step="site code", at=now, detail={}))
    session.flush()


def note_tried(session: Session, due_at: Mapping[UUID, datetime]) -> None:
    """Count a try of each of these commands, which the caller has locked, and set when its next one is due."""
    session.execute(_TRIED, {"ids": list(due_at), "due": list(due_at.values())})


def note_sent(session: Session, command_ids: Iterable[UUID], *, step: str, now: datetime) -> None:
    """Record that the broker took a step of these commands."""
    ids = list(command_ids)
    statement = _SENT_OPERATE if step == "operate" else _SENT
    session.execute(statement, {"ids": ids, "now": now})
    session.execute(_ADD_STEPS, {"steps": json.dumps([row_of(one, f"sent {step}", at=now) for one in ids])})


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


def locked(session: Session, which: ColumnElement[bool]) -> Sequence[Command]:
    """Lock commands in id order and take them out of the session; :class:`Known` writes what becomes known."""
    session.flush()
    found = session.scalars(
        select(Command).where(which).order_by(Command.id).with_for_update(),
        execution_options={"populate_existing": True},
    ).all()
    for command in found:
        session.expunge(command)
    return found


@dataclass(kw_only=True)
class Known:
    """What became known of commands in one batch, to be written in two statements, however many they are."""

    commands: dict[UUID, Command] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def write(self, session: Session) -> None:
        if self.commands:
            kept = [
                {"id": str(command.id), **{name: _plain(getattr(command, name)) for name in _KEPT}}
                for command in self.commands.values()
            ]
            session.execute(_KEEP, {"commands": json.dumps(kept)})
        if self.steps:
            session.execute(_ADD_STEPS, {"steps": json.dumps(self.steps)})


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def row_of(
    command_id: UUID,
    name: str,
    *,
    at: datetime,
    code: str | None = None,
    terminal_at: datetime | None = None,
    detail: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write one thing that became known as a row of `command_steps`."""
    return {
        "id": str(new_id()),
        "command_id": str(command_id),
        "step": name,
        "code": code,
        "at": at.isoformat(),
        "terminal_at": terminal_at.isoformat() if terminal_at else None,
        "detail": {word: _plain(value) for word, value in (detail or {}).items()},
    }
