"""Sets and ends rules that bar cuts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.calendars import queries
from app.calendars.models import NoCutRule
from app.calendars.queries import RuleSeen
from app.calendars.rules import NoCut, RuleEnded
from app.database import new_id
from app.staff.queries import get_office


def set_rule(session: Session, rule: NoCut, *, office: str | None, source: str, by: UUID, now: datetime) -> RuleSeen:
    """Bar cuts from now on, at one office's supply points or everywhere.

    Raises:
        OfficeUnknown: no office has the code.
    """
    row = NoCutRule(
        id=new_id(),
        office_id=get_office(session, code=office).id if office is not None else None,
        source=source,
        set_by=by,
        set_at=now,
        **rule.__dict__,
    )
    session.add(row)
    session.flush()
    said = {"office": office, "rule": rule.words, "bar": rule.bar, "source": source, "valid_from": rule.valid_from}
    deed = Deed(action="no_cut_rule.set", subject_kind="no_cut_rule", subject=str(row.id), after=said)
    audit.record(session, deed, at=now)
    return RuleSeen(row, office)


def end_rule(session: Session, rule_id: UUID, *, by: UUID, because: str, now: datetime) -> RuleSeen:
    """Let cuts come again where one rule has barred them; others still do.

    Raises:
        NoSuchRule, RuleEnded: there is nothing to end.
    """
    seen = queries.rule_seen(session, rule_id)
    session.refresh(seen.rule, with_for_update=True)
    if seen.rule.ended_at is not None:
        raise RuleEnded(ended_at=seen.rule.ended_at)
    seen.rule.ended_by, seen.rule.ended_at = by, now
    session.flush()
    deed = Deed(
        action="no_cut_rule.ended",
        subject_kind="no_cut_rule",
        subject=str(rule_id),
        before={"rule": queries.as_no_cut(seen.rule.__dict__).words, "office": seen.office},
        after={"reason": because},
    )
    audit.record(session, deed, at=now)
    return seen
