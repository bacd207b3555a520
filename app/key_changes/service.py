"""Changes of keys: a statement is recorded once, and its command issued to every terminal, batch by batch."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.clock import Clock
from app.commands import service as commands
from app.commands.rules import Op
from app.customers.service import lock_supply_points
from app.key_changes import queries
from app.key_changes.rules import Last, Stated, check
from app.terminals.models import RecordedStatement
from app.terminals.queries import newest_statement

#: A batch holds the locks of its supply points, so no cashier waits for more than this.
BATCH = 100


def record(session: Session, stated: Stated, *, own: Mapping[str, str], key_id: str, now: datetime) -> None:
    """Record a statement, or go on with the last one.

    Raises:
        SerialNotHigher, LockedOut, KeyDiffers: see :func:`app.key_changes.rules.check`.
    """
    newest = newest_statement(session)
    last = Last(serial=newest.serial, text=newest.statement) if newest else None
    is_new = check(stated, last=last, own=own, key_id=key_id)
    if is_new:
        session.add(
            RecordedStatement(
                serial=stated.serial,
                statement=stated.text,
                keys=dict(stated.keys),
                issued_at=stated.issued_at,
                recorded_at=now,
            )
        )
        session.flush()
    before = sorted(newest.keys) if newest else None
    deed = Deed(
        action="keys.stated" if is_new else "keys.carried_on",
        subject_kind="key statement",
        subject=str(stated.serial),
        before={"kids": before},
        after={"kids": sorted(stated.keys), "keys": dict(stated.keys), "signs": key_id},
    )
    audit.record(session, deed, at=now)


def send(session: Session, stated: Stated, terminal_ids: Sequence[str], *, clock: Clock, now: datetime) -> None:
    """Issue the command to these terminals; one that has it on the way keeps it."""
    places = queries.places(session, terminal_ids)
    lock_supply_points(session, places.values())
    for terminal_id, supply_point_id in places.items():
        new = commands.NewCommand(
            terminal_id=terminal_id,
            supply_point_id=supply_point_id,
            op=Op.KEYS,
            args={"statement": stated.text},
            reason=f"key statement {stated.serial}",
        )
        commands.issue(session, new, clock=clock, now=now)
    deed = Deed(
        action="keys.sent",
        subject_kind="key statement",
        subject=str(stated.serial),
        after={"terminals": len(places), "first": terminal_ids[0], "last": terminal_ids[-1]},
    )
    audit.record(session, deed, at=now)
