"""Tables of the workers and of the shares of terminals that they hold."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class WorkerProcess(Base):
    """One life of a worker. All times are the database's own: machines do not agree about seconds."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    hears: Mapped[bool] = mapped_column(default=False)
    ended_at: Mapped[datetime | None]
    ended_why: Mapped[str | None] = mapped_column(String(200))

    __table_args__ = (
        Index("uq_workers_name", "name", unique=True, postgresql_where=text("ended_at IS NULL")),
        {"postgresql_with": {"fillfactor": "50"}},
    )


class WorkerShare(Base):
    """One of 64 parts of all terminals, and the worker that records what they tell."""

    __tablename__ = "worker_shares"

    share: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker_id: Mapped[UUID | None] = mapped_column(ForeignKey("workers.id"))
    taken_at: Mapped[datetime | None]
