"""Tables of the record: one chain of events for each office, and the head of each chain."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class AuditHead(Base):
    """Where a chain ends: the number and the hash of its last event. Its row is the lock of the chain."""

    __tablename__ = "audit_heads"

    stream: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]


class AuditEvent(Base):
    """One deed. ``hash`` covers the event before it, its number and the payload, which holds every other column."""

    __tablename__ = "audit_events"

    #: The office of whoever did it; the nil UUID for the service itself.
    stream: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime]
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    action: Mapped[str] = mapped_column(String(40))
    subject_kind: Mapped[str] = mapped_column(String(30))
    subject: Mapped[str] = mapped_column(String(80))
    #: Transactions of the books that this deed made.
    transaction_ids: Mapped[list[UUID]] = mapped_column(ARRAY(UuidType()))
    payload: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes]

    __table_args__ = (
        Index("ix_audit_events_subject", "subject_kind", "subject"),
        Index("ix_audit_events_actor_id", "actor_id", "at"),
        Index("ix_audit_events_at", "at", postgresql_using="brin"),
        CheckConstraint("seq > 0", name="seq"),
        CheckConstraint("length(hash) = 32", name="hash"),
    )
