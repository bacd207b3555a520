"""Tables of commands: what each terminal must do, and every step that is known of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.commands.rules import OPEN, CommandClass, CommandState, Op
from app.database import Base, Id, one_of

_OPEN_STATES = ", ".join(f"'{state}'" for state in sorted(OPEN))


class Command(Base):
    """One command; its id stays the same over all tries, its facts are times that are set once."""

    __tablename__ = "commands"

    id: Mapped[Id]
    terminal_id: Mapped[str] = mapped_column(ForeignKey("terminals.id"))
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    op: Mapped[str] = mapped_column(String(12))
    args: Mapped[dict[str, Any]] = mapped_column(JSONB)
    slot: Mapped[str] = mapped_column(String(32))
    version: Mapped[int] = mapped_column(BigInteger)
    command_class: Mapped[str] = mapped_column(String(8))
    stage: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text)
    decision_id: Mapped[UUID | None]
    requested_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    #: What two persons stand behind, where supply or energy is taken away by hand.
    approval_id: Mapped[UUID | None] = mapped_column(ForeignKey("approvals.id"))
    state: Mapped[str] = mapped_column(String(12), default=CommandState.WAITING)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    session: Mapped[str | None] = mapped_column(String(32))
    nonce: Mapped[str | None] = mapped_column(String(64))
    armed_power_w: Mapped[int | None] = mapped_column(BigInteger)
    sent_at: Mapped[datetime | None]
    received_at: Mapped[datetime | None]
    armed_at: Mapped[datetime | None]
    operate_sent_at: Mapped[datetime | None]
    delaying_until: Mapped[datetime | None]
    executed_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(Text)
    #: What keeps a credit that would lower the terminal from being sent, or has ended a cut at its last moment,
    #: reason by reason; None: nothing does.
    held: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    held_since: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("terminal_id", "version"),
        Index(
            "uq_commands_open",
            "terminal_id",
            "slot",
            unique=True,
            postgresql_where=text(f"state IN ({_OPEN_STATES})"),
        ),
        Index("ix_commands_due_at", "due_at", postgresql_where=text(f"state IN ({_OPEN_STATES})")),
        Index(
            "ix_commands_unproved",
            "terminal_id",
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_commands_slot", "terminal_id", "slot", "version"),
        Index(
            "ix_commands_order_no",
            "terminal_id",
            text("((args ->> 'order_no')::bigint)"),
            postgresql_where=text("slot = 'credit'"),
        ),
        Index("ix_commands_trips", "supply_point_id", "executed_at", postgresql_where=text("op = 'trip'")),
        Index("ix_commands_supply_point_id", "supply_point_id", "issued_at"),
        Index(
            "ix_commands_approved",
            "approval_id",
            "supply_point_id",
            postgresql_where=text("approval_id IS NOT NULL"),
        ),
        CheckConstraint("op <> 'trip' OR command_class = 'cut'", name="trips_cut"),
        CheckConstraint(one_of("op", Op), name="op"),
        CheckConstraint(one_of("state", CommandState), name="state"),
        CheckConstraint(one_of("command_class", CommandClass), name="command_class"),
        CheckConstraint("(command_class = 'cut') = (expires_at IS NOT NULL)", name="cuts_expire"),
    )


class CommandStep(Base):
    """One thing that became known of a command; only ever added."""

    __tablename__ = "command_steps"

    id: Mapped[Id]
    command_id: Mapped[UUID] = mapped_column(ForeignKey("commands.id"), index=True)
    step: Mapped[str] = mapped_column(String(20))
    code: Mapped[str | None] = mapped_column(String(30))
    at: Mapped[datetime]
    terminal_at: Mapped[datetime | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
