"""Reads of the rules that bar cuts."""

from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.calendars.models import NoCutRule
from app.calendars.rules import Bar, NoCut
from app.errors import NotFound
from app.staff.models import Office
from app.staff.queries import get_office

# What bars cuts at a supply point: to be put into a query that knows `customer`.
NO_CUT = """
    (SELECT jsonb_agg(jsonb_build_object(
                'bar', rule.bar, 'zone', rule.zone, 'country', rule.country, 'from_minute', rule.from_minute,
                'until_minute', rule.until_minute, 'day', rule.day, 'valid_from', rule.valid_from,
                'valid_until', rule.valid_until) ORDER BY rule.id)
       FROM no_cut_rules AS rule
      WHERE rule.ended_at IS NULL AND (rule.office_id IS NULL OR rule.office_id = customer.office_id))
"""


class NoSuchRule(NotFound):
    title = "There is no such rule"

    def __init__(self, *, rule_id: UUID) -> None:
        super().__init__(
            f"No rule that bars cuts has the id {rule_id}.",
            remedy="Take the id from GET /api/v1/no-cut-rules.",
            rule_id=str(rule_id),
        )


class RuleSeen(NamedTuple):
    """A rule and the code of its office; None: every office."""

    rule: NoCutRule
    office: str | None


def rule_seen(session: Session, rule_id: UUID) -> RuleSeen:
    """Return one rule.

    Raises:
        NoSuchRule: none has the id.
    """
    row = session.execute(_seen().where(NoCutRule.id == rule_id)).first()
    if row is None:
        raise NoSuchRule(rule_id=rule_id)
    return RuleSeen(*row)


def list_rules(session: Session, *, in_force: bool | None, limit: int, before_id: UUID | None) -> list[RuleSeen]:
    """Return up to ``limit`` rules, newest first, set before the one with ``before_id``; ``in_force``: not ended."""
    wanted = _seen().order_by(NoCutRule.id.desc()).limit(limit)
    if in_force is not None:
        wanted = wanted.where(NoCutRule.ended_at.is_(None) if in_force else NoCutRule.ended_at.is_not(None))
    if before_id is not None:
        wanted = wanted.where(NoCutRule.id < before_id)
    return [RuleSeen(*row) for row in session.execute(wanted)]


def rules_of_office(session: Session, code: str) -> list[NoCut]:
    """Return what bars cuts at an office's supply points.

    Raises:
        OfficeUnknown: none has the code.
    """
    wanted = select(NoCutRule).where(
        NoCutRule.ended_at.is_(None),
        or_(NoCutRule.office_id.is_(None), NoCutRule.office_id == get_office(session, code=code).id),
    )
    return [as_no_cut(rule.__dict__) for rule in session.scalars(wanted.order_by(NoCutRule.id))]


def as_no_cut(values: dict[str, Any]) -> NoCut:
    """Make the pure rule of a row or of its JSON."""
    day_of = {name: _date(values[name]) for name in ("day", "valid_from", "valid_until")}
    return NoCut(
        bar=Bar(values["bar"]),
        zone=values["zone"],
        country=values["country"],
        from_minute=values["from_minute"],
        until_minute=values["until_minute"],
        **day_of,
    )


def _date(value: Any) -> Any:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _seen() -> Any:
    return select(NoCutRule, Office.code).outerjoin(Office, Office.id == NoCutRule.office_id)
