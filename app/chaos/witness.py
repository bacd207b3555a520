"""Looks at the commands again and again, and knows when a fact that was there is gone or changed."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.database import transaction

_FACTS = text("""
    SELECT id, sent_at, received_at, executed_at, verified_at, ended_at, state FROM commands
     WHERE ended_at IS NULL OR id = ANY(:known_open)
""")
_ALL_FACTS = text("SELECT id, sent_at, received_at, executed_at, verified_at, ended_at, state FROM commands")


class Facts(NamedTuple):
    """The four facts of a command, and its end; each a moment, set once."""

    sent_at: datetime | None
    received_at: datetime | None
    executed_at: datetime | None
    verified_at: datetime | None
    ended_at: datetime | None
    state: str


#: What follows what; within a rank a state may take another's place. What was given up may be found done after all.
_RANKS = (
    ("waiting", "sent", "received"),
    ("armed",),
    ("operating",),
    ("delaying",),
    ("unknown",),
    ("expired", "cancelled", "superseded", "failed"),
    ("executed",),
    ("verified", "refused"),
)
_RANK = {state: rank for rank, states in enumerate(_RANKS) for state in states}


class Witness:
    """Remembers what was true; ``went_back`` names every fact that was taken back."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[UUID, Facts] = {}
        self.looks = 0
        self.went_back: list[str] = []

    @property
    def commands(self) -> int:
        return len(self._known)

    def look(self) -> None:
        """Look at what can still change; a database that is away is looked at next time."""
        still_open = [command_id for command_id, facts in self._known.items() if facts.ended_at is None]
        try:
            with transaction(self._engine) as session:
                rows = session.execute(_FACTS, {"known_open": still_open}).all()
        except DBAPIError:
            return
        self.compare({row.id: Facts(*row[1:]) for row in rows})

    def look_at_all(self) -> None:
        """Look at every command once more; one that was seen before and is gone went back as well."""
        with transaction(self._engine) as session:
            found = {row.id: Facts(*row[1:]) for row in session.execute(_ALL_FACTS)}
        self.compare(found)
        self.went_back += [f"command {gone} is gone" for gone in self._known.keys() - found.keys()]

    def compare(self, found: dict[UUID, Facts]) -> None:
        """Hold what is so now against what was."""
        self.looks += 1
        for command_id, facts in found.items():
            before = self._known.get(command_id)
            if before is not None:
                self.went_back += [
                    f"command {command_id}: {name} was {was}, is {getattr(facts, name)}"
                    for name, was in before._asdict().items()
                    if was is not None and getattr(facts, name) != was and name not in ("ended_at", "state")
                ]
                if _RANK[facts.state] < _RANK[before.state]:
                    self.went_back.append(f"command {command_id}: was {before.state}, is {facts.state}")
        self._known.update(found)
