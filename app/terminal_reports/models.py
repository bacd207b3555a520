"""Tables of what terminals told: reports by month, events, spools, and what could not be read."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE, JSONB, Range
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, Wh


class TerminalReport(Base):
    """One report, once for each terminal, spool and number; partitioned by the month of ``at``."""

    __tablename__ = "terminal_reports"

    terminal_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    spool_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    received_at: Mapped[datetime]
    backfilled: Mapped[bool]
    supplied_wh: Mapped[Wh]
    active_power_w: Mapped[int] = mapped_column(BigInteger)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (
        Index("ix_terminal_reports_at", "terminal_id", "at"),
        {"postgresql_partition_by": "RANGE (at)"},
    )


class TerminalEvent(Base):
    """One event, once for each terminal, spool and number."""

    __tablename__ = "terminal_events"

    terminal_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    spool_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(20))
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index("ix_terminal_events_at", "terminal_id", "at"),)


class TerminalSpool(Base):
    """Which numbers of a terminal's spool are stored: the ground of every receipt."""

    __tablename__ = "terminal_spools"

    terminal_id: Mapped[str] = mapped_column(ForeignKey("terminals.id"), primary_key=True)
    spool_id: Mapped[UUID] = mapped_column(primary_key=True)
    stored: Mapped[list[Range[int]]] = mapped_column(INT8MULTIRANGE)
    lost_before: Mapped[int] = mapped_column(BigInteger, default=1)
    created_at: Mapped[datetime]

    __table_args__ = ({"postgresql_with": {"fillfactor": "70"}},)


class ReportsLetGo(Base):
    """A moment from before which the owner has dropped reports; only ever added."""

    __tablename__ = "reports_let_go"

    before: Mapped[datetime] = mapped_column(primary_key=True)


class QuarantinedMessage(Base):
    """A payload that could not be read, kept with the reason."""

    __tablename__ = "quarantined_messages"

    id: Mapped[Id]
    topic: Mapped[str] = mapped_column(Text)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    reason: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(index=True)
