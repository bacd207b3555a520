"""Reads of terminal exchanges, and what stands at a supply point before one."""

from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.commands.models import Command
from app.commands.rules import CommandState, Op
from app.errors import Refused
from app.exchanges.models import TerminalExchange

# A batch of reports takes its live row first and the supply point after it; so must everybody who takes both.
_LOCK_LIVE = text("SELECT terminal_id FROM terminal_live WHERE terminal_id = :id FOR NO KEY UPDATE")

_DID_NOTHING = (CommandState.REFUSED, CommandState.EXPIRED, CommandState.CANCELLED, CommandState.FAILED)


class NoContractToServe(Refused):
    title = "No contract is open there"

    def __init__(self, *, supply_point_id: UUID) -> None:
        super().__init__(
            f"Supply point {supply_point_id} has no open contract, so no terminal is needed there.",
            remedy="Sign a contract first, or leave the terminal as it is.",
            supply_point_id=str(supply_point_id),
        )


def lock_live(session: Session, terminal_id: str) -> None:
    """Let no report of a terminal pass until the transaction ends; the first lock of an exchange."""
    session.execute(_LOCK_LIVE, {"id": terminal_id})


def not_ended(session: Session, terminal_id: str) -> list[Command]:
    """Return the commands of a terminal that are still open or not proved, locked."""
    rows = session.scalars(
        select(Command)
        .where(Command.terminal_id == terminal_id, Command.ended_at.is_(None))
        .order_by(Command.id)
        .with_for_update()
    )
    return list(rows)


def kept_from_cuts(session: Session, terminal_id: str) -> list[Command]:
    """Return what people ordered last at a terminal that keeps it from cutting: a guarantee, control disabled."""
    rows = session.scalars(
        select(Command)
        .ext(distinct_on(Command.slot))
        .where(
            Command.terminal_id == terminal_id,
            Command.op.in_((Op.GUARANTEE, Op.CONTROL)),
            Command.state.not_in(_DID_NOTHING),
        )
        .order_by(Command.slot, Command.version.desc())
    )
    return [one for one in rows if one.args.get("on") is True or one.args.get("enabled") is False]


def list_exchanges(
    session: Session, supply_point_id: UUID, *, limit: int, before_id: UUID | None
) -> list[TerminalExchange]:
    """Return up to ``limit`` exchanges of a supply point, newest first, made before the one with ``before_id``."""
    wanted = (
        select(TerminalExchange)
        .where(TerminalExchange.supply_point_id == supply_point_id)
        .order_by(TerminalExchange.id.desc())
        .limit(limit)
    )
    if before_id is not None:
        wanted = wanted.where(TerminalExchange.id < before_id)
    return list(session.scalars(wanted))
