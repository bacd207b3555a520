"""What terminals told, free of transport: the rows of a batch, and which of them say something about now."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.commands.rules import AckStep

_WITH_A_ROW = frozenset({"report", "backfill", "event", "ack"})


class ReportRow(NamedTuple):
    """One report as it is stored; ``payload`` is its JSON text."""

    terminal_id: str
    spool_id: UUID
    seq: int
    at: datetime
    backfilled: bool
    clock: str
    supplied_wh: int
    active_power_w: int
    state: dict[str, Any]
    payload: str


class EventRow(NamedTuple):
    terminal_id: str
    spool_id: UUID
    seq: int
    at: datetime
    type: str
    detail: str


class Seen(NamedTuple):
    """A birth (with what it remembers) or a heartbeat."""

    terminal_id: str
    session: str
    at: datetime
    uptime_s: int
    clock: str | None
    state: dict[str, Any]
    active_power_w: int | None = None
    echo: str | None = None
    boot: int | None = None
    firmware: str | None = None
    spool: tuple[UUID, int] | None = None
    results: dict[str, tuple[AckStep, str | None]] | None = None
    keys_told: dict[str, Any] | None = None


class Unreadable(NamedTuple):
    topic: str
    payload: bytes
    reason: str


class Heard(NamedTuple):
    """A message that could be read, as it came."""

    kind: str
    terminal_id: str
    topic: str
    payload: bytes


@dataclass(kw_only=True)
class Batch:
    """What has arrived since the last batch, in the order in which it came."""

    reports: list[ReportRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    deaths: set[tuple[str, str]] = field(default_factory=set)
    answers: list[Any] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)

    def terminal_ids(self) -> set[str]:
        told = (self.reports, self.events, self.seen, self.answers)
        return {row.terminal_id for rows in told for row in rows} | {terminal_id for terminal_id, _ in self.deaths}

    def without(self, strangers: set[str]) -> "Batch":
        """Return the batch less what unregistered terminals told."""
        return Batch(
            reports=[row for row in self.reports if row.terminal_id not in strangers],
            events=[row for row in self.events if row.terminal_id not in strangers],
            seen=[row for row in self.seen if row.terminal_id not in strangers],
            deaths={(name, session) for name, session in self.deaths if name not in strangers},
            answers=[row for row in self.answers if row.terminal_id not in strangers],
            unreadable=self.unreadable,
            heard=[row for row in self.heard if row.terminal_id not in strangers],
        )


def newest(reports: Iterable[ReportRow]) -> dict[str, ReportRow]:
    """Return the newest report of each terminal that speaks of now; a back-filled one never does.

    Of numbers 7, 9, 8 of one spool: 9. Of two spools: the one whose report came last.
    """
    found: dict[str, ReportRow] = {}
    for row in reports:
        if row.backfilled:
            continue
        before = found.get(row.terminal_id)
        if before is None or before.spool_id != row.spool_id or row.seq > before.seq:
            found[row.terminal_id] = row
    return found


def last_seen(seen: Iterable[Seen]) -> dict[str, Seen]:
    """Return the last birth or heartbeat of each terminal, carrying what a birth before it in the batch told."""
    found: dict[str, Seen] = {}
    for row in seen:
        before = found.get(row.terminal_id)
        if before is not None and row.boot is None and before.boot is not None and before.session == row.session:
            found[row.terminal_id] = row._replace(
                boot=before.boot,
                firmware=before.firmware,
                spool=before.spool,
                results=before.results,
                keys_told=before.keys_told,
            )
        else:
            found[row.terminal_id] = row
    return found


def tallied(*, heard: Mapping[str, int], added: Mapping[str, int], stray: int) -> Counter[tuple[str, str]]:
    """Say what became of messages that could be read, by kind and outcome; the sum is the number of messages.

    Ten reports heard, seven of them new: seven stored, three repeated. Births, heartbeats and deaths have no row of
    their own: they are noted.

    Args:
        heard: messages of known terminals, by kind.
        added: rows that were new, by kind.
        stray: answers that fit no command; they were put aside.
    """
    outcomes = Counter({("ack", "quarantined"): stray})
    for kind, number in heard.items():
        if kind in _WITH_A_ROW:
            aside = stray if kind == "ack" else 0
            outcomes[kind, "stored"] += added.get(kind, 0)
            outcomes[kind, "repeated"] += number - added.get(kind, 0) - aside
        else:
            outcomes[kind, "noted"] += number
    return +outcomes
