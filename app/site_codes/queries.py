"""Reads for site codes: what stands at a terminal, and which codes were given out."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Select, exists, select, text
from sqlalchemy.orm import Session, aliased

from app.commands.models import Command
from app.commands.rules import CommandState, Op
from app.site_codes.models import IssuedSiteCode
from app.site_codes.rules import RoundStanding
from app.staff.models import StaffMember

# What left before and may have arrived, whatever is known of it: an offline terminal has had no way to tell.
_MAY_HOLD = text("""
    SELECT coalesce(max((args->>'paid_until_wh')::bigint), :told_wh) AS held_wh FROM commands
     WHERE terminal_id = :terminal_id AND slot = 'credit' AND version < :version
       AND attempts > 0 AND (args->>'order_no')::bigint > :told_order_no
""")
_ROUNDS = text("""
    SELECT fitted.round, latest.op, latest.state FROM terminal_rounds AS fitted
      LEFT JOIN LATERAL (SELECT op, state FROM commands
                          WHERE terminal_id = fitted.terminal_id AND slot = 'round-' || fitted.round
                          ORDER BY version DESC LIMIT 1) AS latest ON true
     WHERE fitted.terminal_id = :terminal_id ORDER BY fitted.round
""")
_CUT_SINCE = text("""
    SELECT EXISTS (SELECT FROM commands WHERE terminal_id = :terminal_id AND version > :version
                      AND command_class = 'cut' AND attempts > 0)
""")


class CodeGiven(NamedTuple):
    """A code and the sign-in name of who gave it out first."""

    code: IssuedSiteCode
    issued_by: str


def may_hold_wh(session: Session, terminal_id: str, *, version: int, told_order_no: int, told_wh: int) -> int:
    """Return the most that a terminal may hold besides the credit of that version."""
    values = {"terminal_id": terminal_id, "version": version, "told_order_no": told_order_no, "told_wh": told_wh}
    return max(told_wh, int(session.execute(_MAY_HOLD, values).scalar_one()))


def rounds_standing(session: Session, terminal_id: str, *, relays: str) -> list[RoundStanding]:
    """Return each fitted round; ``relays`` is what the terminal last told."""
    return [
        RoundStanding(
            told_tripped=relays[row.round - 1 : row.round] == "0",
            op=Op(row.op) if row.op else None,
            state=CommandState(row.state) if row.state else None,
        )
        for row in session.execute(_ROUNDS, {"terminal_id": terminal_id})
    ]


def cut_since(session: Session, terminal_id: str, *, version: int) -> bool:
    """Tell whether a cut was sent that was issued after the command of that version."""
    return bool(session.execute(_CUT_SINCE, {"terminal_id": terminal_id, "version": version}).scalar_one())


def code_of(session: Session, command_id: UUID) -> IssuedSiteCode | None:
    return session.scalar(select(IssuedSiteCode).where(IssuedSiteCode.command_id == command_id))


def code_given(session: Session, code_id: UUID) -> CodeGiven:
    return CodeGiven(*session.execute(_given().where(IssuedSiteCode.id == code_id)).one())


def code_carrying(session: Session, terminal_id: str, *, order_no: int) -> CodeGiven | None:
    """Return the latest code that was given out while an order was not known to have arrived.

    It may be of a later order, which contains this one.
    """
    sooner = aliased(Command)
    arrived_before = exists().where(
        sooner.terminal_id == terminal_id,
        sooner.slot == Op.CREDIT,
        sooner.args["order_no"].astext.cast(BigInteger) >= order_no,
        sooner.verified_at < IssuedSiteCode.issued_at,
    )
    row = session.execute(
        _given()
        .where(IssuedSiteCode.terminal_id == terminal_id, IssuedSiteCode.order_no >= order_no, ~arrived_before)
        .order_by(IssuedSiteCode.order_no.desc())
        .limit(1)
    ).first()
    return CodeGiven(*row) if row else None


def codes_at(session: Session, supply_point_id: UUID, *, limit: int, before_id: UUID | None) -> Sequence[CodeGiven]:
    """Return up to ``limit`` codes of a supply point, newest first, before the one with ``before_id``."""
    wanted = _given().where(IssuedSiteCode.supply_point_id == supply_point_id)
    if before_id is not None:
        wanted = wanted.where(IssuedSiteCode.id < before_id)
    return [CodeGiven(*row) for row in session.execute(wanted.order_by(IssuedSiteCode.id.desc()).limit(limit))]


def _given() -> Select[IssuedSiteCode, str]:
    return select(IssuedSiteCode, StaffMember.sign_in_name).join(
        StaffMember, StaffMember.id == IssuedSiteCode.issued_by
    )
