"""Adds deeds to the record, each in the transaction that does it."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.audit.rules import FIRST_HASH, SERVICE_STREAM, Deed, canonical
from app.database import Step, actor_of, add_last, note_recorded

# The number and the hash come from the head's row, whose lock is held until the commit; a sequence would leave gaps
# where a transaction rolls back.
_ADD = text("""
    WITH office AS (
        SELECT coalesce((SELECT office_id FROM staff_members WHERE id = CAST(:actor_id AS uuid)), :service) AS stream
    ), head AS (
        INSERT INTO audit_heads AS head (stream, seq, hash)
        SELECT stream, 1, sha256(CAST(:first AS bytea) || convert_to(E'1\\n' || :payload, 'UTF8')) FROM office
            ON CONFLICT (stream) DO UPDATE
           SET seq = head.seq + 1,
               hash = sha256(head.hash || convert_to((head.seq + 1)::text || E'\\n' || :payload, 'UTF8'))
     RETURNING stream, seq, hash
    )
    INSERT INTO audit_events
           (stream, seq, at, actor_id, action, subject_kind, subject, transaction_ids, payload, hash)
    SELECT stream, seq, :at, CAST(:actor_id AS uuid), :action, :subject_kind, :subject,
           CAST(:transaction_ids AS uuid[]), :payload, hash
      FROM head
""")


def record(session: Session, deed: Deed, *, at: datetime) -> None:
    """Record a deed of whoever this transaction runs for; it is written right before the commit.

    The head of an office's chain is a row that all its people need, so its lock is taken as late as can be.
    """
    note_recorded(session)
    add_last(session, _to_add(session, deed, at=at))


def _to_add(session: Session, deed: Deed, *, at: datetime) -> Step[None]:
    actor = actor_of(session)
    payload = canonical(
        {
            "action": deed.action,
            "actor": actor.name,
            "actor_id": actor.staff_member_id,
            "address": actor.address,
            "after": deed.after,
            "at": at,
            "before": deed.before,
            "request_id": actor.request_id,
            "subject": deed.subject,
            "subject_kind": deed.subject_kind,
            "transaction_ids": [str(each) for each in deed.transaction_ids],
        }
    )
    values: dict[str, Any] = {
        "actor_id": actor.staff_member_id,
        "service": SERVICE_STREAM,
        "first": FIRST_HASH,
        "at": at,
        "action": deed.action,
        "subject_kind": deed.subject_kind,
        "subject": deed.subject,
        "transaction_ids": list(deed.transaction_ids),
        "payload": payload,
    }
    return Step(statement=_ADD, values=values, read=lambda _rows: None)
