"""What is kept of a decision: the stage with its reasons, and a record where it says anything new."""

from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.database import new_id
from app.load_control.facts import Facts
from app.load_control.models import ControlState, StageDecisionRecord
from app.load_control.queries import Picture
from app.load_control.rules import StageDecision

#: What holds the next round for a moment is no news worth a record.
_PASSING = frozenset({"round_in_flight", "round_pause", "retry_pause"})


def record(
    session: Session, before: ControlState, picture: Picture, decision: StageDecision, *, trigger: str, now: datetime
) -> UUID | None:
    """Note the state, and the decision where it says anything new; returns the decision's id then.

    The caller flushes, once for all the points that it decides about.
    """
    because = [reason.as_json() for reason in decision.because]
    held = [reason.as_json() for reason in decision.held]
    news = (
        before.stage != decision.stage.word
        or _codes(before.because) != _codes(because)
        or _codes(before.held) != _codes(held)
    )
    decision_id = new_id() if news else None
    if decision_id is not None:
        session.add(
            StageDecisionRecord(
                id=decision_id,
                supply_point_id=picture.supply_point_id,
                decided_at=now,
                trigger=trigger,
                stage_before=before.stage,
                stage=decision.stage.word,
                because=because,
                held=held,
                facts=_shown(picture.facts),
            )
        )
        before.decision_id = decision_id
    if before.stage != decision.stage.word:
        before.since = now
        before.stage = decision.stage.word
    before.paid_until_wh = picture.facts.paid_until_wh
    before.because = because
    before.held = held
    before.look_again_at = decision.look_again_at
    before.look_again_at_wh = decision.look_again_at_wh
    return decision_id


def _codes(reasons: list[dict[str, Any]]) -> list[str]:
    return [reason["code"] for reason in reasons if reason["code"] not in _PASSING]


def _shown(facts: Facts) -> dict[str, Any]:
    """Write the facts as JSON for the record: moments as text, spans in seconds."""

    def plain(value: Any) -> Any:
        match value:
            case date():
                return value.isoformat()
            case timedelta():
                return int(value.total_seconds())
            case dict():
                return {name: plain(inner) for name, inner in value.items()}
            case list() | tuple():
                return [plain(inner) for inner in value]
            case _:
                return value

    shown: dict[str, Any] = plain(asdict(facts))
    return {**shown, "remaining_wh": facts.remaining_wh}
