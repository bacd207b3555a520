"""What is kept of a decision: the stage with its reasons, and a record where it says anything new."""

import json
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import new_id
from app.load_control.facts import Facts
from app.load_control.queries import Picture, StateBefore
from app.load_control.rules import StageDecision

_ADD_DECISIONS = text("""
    INSERT INTO stage_decisions
           (id, supply_point_id, decided_at, trigger, stage_before, stage, because, held, facts)
    SELECT id, supply_point_id, :now, :trigger, stage_before, stage, because, held, facts
      FROM jsonb_to_recordset(CAST(:decisions AS jsonb)) AS made (
           id uuid, supply_point_id uuid, stage_before text, stage text, because jsonb, held jsonb, facts jsonb)
""")

_KEEP_STATES = text("""
    UPDATE control_states AS control
       SET stage = made.stage, since = coalesce(made.since, control.since), paid_until_wh = made.paid_until_wh,
           because = made.because, held = made.held, decision_id = coalesce(made.decision_id, control.decision_id),
           look_again_at = made.look_again_at, look_again_at_wh = made.look_again_at_wh
      FROM jsonb_to_recordset(CAST(:states AS jsonb)) AS made (
           supply_point_id uuid, stage text, since timestamptz, paid_until_wh bigint, because jsonb, held jsonb,
           decision_id uuid, look_again_at timestamptz, look_again_at_wh bigint)
     WHERE control.supply_point_id = made.supply_point_id
""")

#: What holds the next round for a moment is no news worth a record.
_PASSING = frozenset({"round_in_flight", "round_pause", "retry_pause"})


@dataclass(kw_only=True)
class Records:
    """What is to be written of decisions that were made together: in two statements, however many they are."""

    trigger: str
    now: datetime
    states: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)

    def add(self, before: StateBefore, picture: Picture, decision: StageDecision) -> UUID | None:
        """Note the state, and the decision where it says anything new; returns the decision's id then."""
        because = [reason.as_json() for reason in decision.because]
        held = [reason.as_json() for reason in decision.held]
        softer_or_harder = before.stage != decision.stage.word
        news = softer_or_harder or _codes(before.because) != _codes(because) or _codes(before.held) != _codes(held)
        decision_id = new_id() if news else None
        said: dict[str, Any] = {"supply_point_id": str(picture.supply_point_id), "stage": decision.stage.word}
        said |= {"because": because, "held": held}
        if decision_id is not None:
            self.decisions.append(
                {**said, "id": str(decision_id), "stage_before": before.stage, "facts": _shown(picture.facts)}
            )
        self.states.append(
            {
                **said,
                "since": self.now.isoformat() if softer_or_harder else None,
                "paid_until_wh": picture.facts.paid_until_wh,
                "decision_id": str(decision_id) if decision_id else None,
                "look_again_at": decision.look_again_at.isoformat(),
                "look_again_at_wh": decision.look_again_at_wh,
            }
        )
        return decision_id

    def write(self, session: Session) -> None:
        if self.decisions:
            values = {"decisions": json.dumps(self.decisions), "now": self.now, "trigger": self.trigger}
            session.execute(_ADD_DECISIONS, values)
        if self.states:
            session.execute(_KEEP_STATES, {"states": json.dumps(self.states)})


def _codes(reasons: list[dict[str, Any]]) -> list[str]:
    return [reason["code"] for reason in reasons if reason["code"] not in _PASSING]


def _shown(facts: Facts) -> dict[str, Any]:
    """Write the facts as JSON for the record: moments as text, spans in seconds."""
    return {**_plain_fields(facts), "remaining_wh": facts.remaining_wh}


def _plain_fields(value: Any) -> dict[str, Any]:
    return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | str):
        return value
    if is_dataclass(value):
        return _plain_fields(value)
    match value:
        case date():
            return value.isoformat()
        case timedelta():
            return int(value.total_seconds())
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return value
