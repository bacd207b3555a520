"""Tables of terminals, the rounds fitted to them, what each last told, and which keys may command them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Wh


class Terminal(Base):
    """A device at a supply point, with the two counters that are taken under its row's lock."""

    __tablename__ = "terminals"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    meter_no: Mapped[str] = mapped_column(String(64))
    safe_load_w: Mapped[int] = mapped_column(BigInteger)
    credential_hash: Mapped[str] = mapped_column(String(100))
    mosquitto_hash: Mapped[str | None] = mapped_column(String(120))
    #: Since then nobody signs in with its credential, and what comes under its name is put aside.
    credential_revoked_at: Mapped[datetime | None]
    #: Serial of the key statement and ids of the keys that it was given to pin; None: given by an earlier version.
    keys_pinned: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    #: Which secret its site key was made of when it was given one; None: its keypad takes no codes.
    site_key_id: Mapped[str | None] = mapped_column(String(16))
    last_version: Mapped[int] = mapped_column(BigInteger, default=0)
    last_order_no: Mapped[int] = mapped_column(BigInteger, default=0)
    registered_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_terminals_supply_point_id",
            "supply_point_id",
            unique=True,
            postgresql_where=text("retired_at IS NULL"),
        ),
        Index("ix_terminals_supply_point_id", "supply_point_id"),
        CheckConstraint("id ~ '^[A-Z0-9-]{4,32}$'", name="id_form"),
        CheckConstraint("last_order_no BETWEEN 0 AND 4294967295", name="order_no_uint32"),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class TerminalRound(Base):
    """One trip relay: what it feeds, and how much the customer can do without it (1 goes first)."""

    __tablename__ = "terminal_rounds"

    terminal_id: Mapped[str] = mapped_column(ForeignKey("terminals.id"), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    feeds_zh: Mapped[str] = mapped_column(String(100))
    feeds_en: Mapped[str] = mapped_column(String(100))
    importance: Mapped[int]
    load_w: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        CheckConstraint("round BETWEEN 1 AND 8", name="round"),
        CheckConstraint("load_w >= 0", name="load"),
    )


class TerminalLive(Base):
    """What a terminal last told: connection, counter, state. One narrow row that reports update in sets."""

    __tablename__ = "terminal_live"

    terminal_id: Mapped[str] = mapped_column(ForeignKey("terminals.id"), primary_key=True)
    online: Mapped[bool] = mapped_column(default=False)
    session: Mapped[str | None] = mapped_column(String(32))
    boot: Mapped[int | None] = mapped_column(BigInteger)
    firmware: Mapped[str | None] = mapped_column(String(64))
    clock: Mapped[str | None] = mapped_column(String(10))
    challenge: Mapped[str | None] = mapped_column(String(64))
    commandable: Mapped[bool] = mapped_column(default=False)
    uptime_s: Mapped[int | None] = mapped_column(BigInteger)
    uptime_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    spool_id: Mapped[UUID | None]
    supplied_wh: Mapped[Wh | None]
    supplied_at: Mapped[datetime | None]
    supplied_received_at: Mapped[datetime | None]
    recent_load_w: Mapped[int] = mapped_column(BigInteger, default=0)
    active_power_w: Mapped[int | None] = mapped_column(BigInteger)
    power_at: Mapped[datetime | None]
    state: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    state_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]
    #: The same of the keys that it trusts now; None where it has not told.
    keys_told: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class RecordedStatement(Base):
    """What the anchor states about the keys that may sign: public halves by their ids; only ever added."""

    __tablename__ = "key_statements"

    serial: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    statement: Mapped[str] = mapped_column(Text)
    keys: Mapped[dict[str, str]] = mapped_column(JSONB)
    issued_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
