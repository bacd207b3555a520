"""What the edge remembers: answers already given, by the key of their request."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class IdempotencyKey(Base):
    """One request that moved value, and its answer, byte for byte; kept for good."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (CheckConstraint("(status IS NULL) = (body IS NULL)", name="answer_is_whole"),)

    #: Method, route and person: two clients may choose the same key.
    scope: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    #: Empty only inside the transaction that does the work; no other one ever sees it so.
    status: Mapped[int | None]
    body: Mapped[bytes | None]
    created_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
