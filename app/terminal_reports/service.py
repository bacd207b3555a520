"""Records batches of what terminals told, with set-based SQL, and has control look at what has changed."""

import secrets
from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.orm import Session

from app.commands import books as command_books
from app.commands import service as commands
from app.commands.models import Command
from app.commands.rules import OPEN, CommandState, Evidence, Op
from app.customers import service as customers
from app.database import new_id
from app.load_control import queries as load_control_queries
from app.load_control import service as load_control
from app.load_control.service import Pace
from app.notices import service as notices
from app.terminal_reports.rules import Batch, EventRow, Heard, ReportRow, Seen, Unreadable, last_seen, newest, tallied
from app.terminals import presence
from app.terminals.models import Terminal
from app.terminals.presence import Counter, Told

_ADD_REPORTS = text("""
    WITH added AS (
    INSERT INTO terminal_reports
           (terminal_id, spool_id, seq, at, received_at, backfilled, supplied_wh, active_power_w, payload)
    SELECT told.terminal_id, told.spool_id, told.seq, told.at, :now, told.backfilled, told.supplied_wh,
           told.active_power_w, CAST(told.payload AS jsonb)
      FROM unnest(CAST(:terminals AS text[]), CAST(:spools AS uuid[]), CAST(:seqs AS bigint[]),
                  CAST(:ats AS timestamptz[]), CAST(:backfilled AS boolean[]), CAST(:supplied AS bigint[]),
                  CAST(:powers AS bigint[]), string_to_array(:payloads, E'\\n'))
        AS told (terminal_id, spool_id, seq, at, backfilled, supplied_wh, active_power_w, payload)
      LEFT JOIN terminal_spools AS spool ON spool.terminal_id = told.terminal_id AND spool.spool_id = told.spool_id
     -- The primary key holds `at`, as partitions want it; a number is stored once whatever time it comes with. A
     -- number can be taken without a report of that number, by an event or by a birth that gave it up for lost. What
     -- was let go with its month and comes again is not new.
     WHERE (spool.stored @> told.seq) IS NOT TRUE
        OR (NOT EXISTS (SELECT FROM terminal_reports AS kept WHERE kept.terminal_id = told.terminal_id
                           AND kept.spool_id = told.spool_id AND kept.seq = told.seq)
            AND told.at >= coalesce((SELECT max(before) FROM reports_let_go), '-infinity'))
    ON CONFLICT DO NOTHING
    RETURNING backfilled)
    SELECT count(*) FILTER (WHERE NOT backfilled) AS report, count(*) FILTER (WHERE backfilled) AS backfill FROM added
""")

_ADD_EVENTS = text("""
    INSERT INTO terminal_events (terminal_id, spool_id, seq, at, received_at, type, detail)
    SELECT told.terminal_id, told.spool_id, told.seq, told.at, :now, told.type, CAST(told.detail AS jsonb)
      FROM unnest(CAST(:terminals AS text[]), CAST(:spools AS uuid[]), CAST(:seqs AS bigint[]),
                  CAST(:ats AS timestamptz[]), CAST(:types AS text[]), CAST(:details AS text[]))
        AS told (terminal_id, spool_id, seq, at, type, detail)
    ON CONFLICT DO NOTHING RETURNING seq
""")

_QUARANTINE = text("""
    INSERT INTO quarantined_messages (id, topic, payload, reason, received_at)
    SELECT id, topic, payload, reason, :now
      FROM unnest(CAST(:ids AS uuid[]), CAST(:topics AS text[]), CAST(:payloads AS bytea[]),
                  CAST(:reasons AS text[])) AS told (id, topic, payload, reason)
""")

_KEEP_SPOOLS = text("""
    WITH told AS (
        SELECT terminal_id, spool_id, range_agg(int8range(low, high, '[]')) AS stored
          FROM unnest(CAST(:terminals AS text[]), CAST(:spools AS uuid[]), CAST(:lows AS bigint[]),
                      CAST(:highs AS bigint[])) AS number (terminal_id, spool_id, low, high)
         GROUP BY terminal_id, spool_id ORDER BY terminal_id, spool_id
    ), kept AS (
        INSERT INTO terminal_spools AS spool (terminal_id, spool_id, stored, lost_before, created_at)
        SELECT terminal_id, spool_id, stored, 1, :now FROM told
        ON CONFLICT (terminal_id, spool_id) DO UPDATE SET stored = spool.stored + excluded.stored
        RETURNING terminal_id, spool_id, stored
    )
    SELECT terminal_id, spool_id, upper(stored) - 1 AS upto,
           (SELECT array_agg(gap) FROM (SELECT unnest(int8multirange(int8range(1, upper(stored))) - stored) AS gap
                                         LIMIT :gaps) AS first) AS missing
      FROM kept
""")


#: More supply points at once would hold their locks, and the cashiers', for too long; the sweep takes the rest.
_DECIDED_AT_ONCE = 50
#: A terminal that invents numbers makes gaps without end; no receipt has room for more than these.
GAPS_NAMED = 100


class Receipt(NamedTuple):
    """What a terminal may forget: everything up to ``upto`` but the inclusive ranges that are missing.

    Of very many ranges only the first ``GAPS_NAMED`` and one more are there.
    """

    terminal_id: str
    spool_id: UUID
    upto: int
    missing: list[tuple[int, int]]


@dataclass(kw_only=True)
class Recorded:
    """What is to be sent once the batch is committed, and what became of its messages by kind and outcome.

    A message is `stored` as a row of its own, `repeated` when such a row was there, `noted` when it moved or could
    have moved the live state, or `quarantined`.
    """

    receipts: list[Receipt]
    challenges: dict[str, str]
    changed: list[commands.Changed]
    outcomes: Tally[tuple[str, str]]


def record(
    session: Session, batch: Batch, *, pace: Pace, now: datetime, heard_at: datetime | None = None
) -> Recorded:
    """Record a batch whole: reports and events once each, live state, answers, proofs, and what follows from them.

    ``heard_at`` is when its oldest message arrived, where that was before now: evidence is as old as that.
    """
    current = presence.sessions_of(session, batch.terminal_ids())
    strangers = batch.terminal_ids() - set(current)
    known = batch.without(strangers) if strangers else batch
    strange = [one for one in batch.heard if one.terminal_id in strangers]
    quarantine(session, [*known.unreadable, *_of_strangers(strange)], now=now)
    seen = last_seen(known.seen)
    challenges = {name: secrets.token_hex(8) for name, row in seen.items() if row.session != current[name]}
    _note_presence(session, known, seen, challenges, now=now)
    added = {**_add_reports(session, known.reports, now=now), "event": _add_events(session, known.events, now=now)}
    receipts = _keep_spools(session, known, now=now)
    stray, changed = _follow_up(
        session, known, seen, births=set(challenges), pace=pace, now=now, heard_at=heard_at or now
    )
    added["ack"] = len(known.answers) - stray
    outcomes = tallied(heard=Tally(one.kind for one in known.heard), added=added, stray=stray)
    outcomes.update((one.kind, "quarantined") for one in strange)
    return Recorded(receipts=receipts, challenges=challenges, outcomes=outcomes, changed=changed)


def quarantine(session: Session, unreadable: Iterable[Unreadable], *, now: datetime) -> None:
    """Keep what could not be read, with the reason."""
    if rows := list(unreadable):
        topics, payloads, reasons = (list(column) for column in zip(*rows, strict=True))
        values = {"ids": [new_id() for _ in rows], "topics": topics, "payloads": payloads, "reasons": reasons}
        session.execute(_QUARANTINE, {**values, "now": now})


def _of_strangers(strange: Iterable[Heard]) -> list[Unreadable]:
    reason = "the terminal is not registered, is retired, or its credential is revoked"
    return [Unreadable(topic=one.topic, payload=one.payload, reason=reason) for one in strange]


def _note_presence(
    session: Session, batch: Batch, seen: dict[str, Seen], challenges: dict[str, str], *, now: datetime
) -> None:
    presence.note_told(
        session,
        [
            Told(
                terminal_id=row.terminal_id,
                session=row.session,
                uptime_s=row.uptime_s,
                clock=row.clock,
                state=row.state,
                told_at=row.at,
                active_power_w=row.active_power_w,
                echo=row.echo,
                boot=row.boot,
                firmware=row.firmware,
                keys_told=row.keys_told,
            )
            for row in seen.values()
        ],
        challenges=challenges,
        now=now,
    )
    keys_told = {one.terminal_id: one.detail["keys"] for one in batch.answers if "keys" in one.detail}
    presence.note_keys(session, keys_told)
    counters = [
        Counter(
            terminal_id=row.terminal_id,
            spool_id=row.spool_id,
            at=row.at,
            clock=row.clock,
            supplied_wh=row.supplied_wh,
            active_power_w=row.active_power_w,
            state=row.state,
        )
        for row in newest(batch.reports).values()
    ]
    presence.note_counters(session, counters, now=now)
    if batch.deaths:
        presence.note_deaths(session, batch.deaths, now=now)


def _add_reports(session: Session, reports: list[ReportRow], *, now: datetime) -> dict[str, int]:
    """Store reports; returns how many of each kind were new."""
    if not reports:
        return {}
    once = {(row.terminal_id, row.spool_id, row.seq): row for row in reversed(reports)}
    columns = list(zip(*once.values(), strict=True))
    added = session.execute(
        _ADD_REPORTS,
        {
            "terminals": list(columns[0]),
            "spools": list(columns[1]),
            "seqs": list(columns[2]),
            "ats": list(columns[3]),
            "backfilled": list(columns[4]),
            "supplied": list(columns[6]),
            "powers": list(columns[7]),
            # One text: to escape a thousand documents for an array literal would cost more than all the rest. JSON
            # text as we write it has no line break.
            "payloads": "\n".join(columns[9]),
            "now": now,
        },
    ).one()
    return {"report": added.report, "backfill": added.backfill}


def _add_events(session: Session, events: list[EventRow], *, now: datetime) -> int:
    """Store events; returns how many were new."""
    if not events:
        return 0
    columns = [list(column) for column in zip(*events, strict=True)]
    names = ("terminals", "spools", "seqs", "ats", "types", "details")
    added = session.execute(_ADD_EVENTS, {**dict(zip(names, columns, strict=True)), "now": now})
    return len(added.all())


def _keep_spools(session: Session, batch: Batch, *, now: datetime) -> list[Receipt]:
    numbers = [
        *((row.terminal_id, row.spool_id, row.seq, row.seq) for row in batch.reports),
        *((row.terminal_id, row.spool_id, row.seq, row.seq) for row in batch.events),
        # What a birth says is no longer kept cannot come any more: asking for it again would never end.
        *(
            (row.terminal_id, row.spool[0], 1, row.spool[1] - 1)
            for row in batch.seen
            if row.spool is not None and row.spool[1] > 1
        ),
    ]
    if not numbers:
        return []
    names = ("terminals", "spools", "lows", "highs")
    columns = [list(column) for column in zip(*numbers, strict=True)]
    values = {**dict(zip(names, columns, strict=True)), "now": now, "gaps": GAPS_NAMED + 1}
    return [
        Receipt(row.terminal_id, row.spool_id, row.upto, [_inclusive(gap) for gap in row.missing or ()])
        for row in session.execute(_KEEP_SPOOLS, values)
    ]


def _inclusive(gap: Range[int]) -> tuple[int, int]:
    return gap.lower or 1, (gap.upper or 1) - 1


def _follow_up(
    session: Session,
    batch: Batch,
    seen: dict[str, Seen],
    *,
    births: set[str],
    pace: Pace,
    now: datetime,
    heard_at: datetime,
) -> tuple[int, list[commands.Changed]]:
    """Apply answers and evidence, then decide anew where something changed. Locks supply points before commands.

    Returns how many answers fit no command, and the commands whose state changed.
    """
    crossed = load_control_queries.crossed(session, {row.terminal_id for row in batch.reports})
    answered = {answer.terminal_id for answer in batch.answers}
    waiting = _with_unproved_commands(session, batch.terminal_ids())
    concerned = crossed + list(waiting.values()) + _points_of(session, answered - set(waiting))
    if concerned:
        customers.lock_supply_points(session, concerned)
    if births:
        # What a terminal holds may differ from the books after whatever happened to it; the sweep compares. After the
        # locks: the sweep has a point's lock when it writes the row that is written here.
        load_control.look_again(session, _points_of(session, births), now)
    if not concerned:
        return 0, []
    if births:
        command_books.retry_at_birth(session, births, now=now)
    changed, stray = commands.note_answers(session, batch.answers, now=now)
    quarantine(
        session,
        [
            Unreadable(f"lm/v1/{one.terminal_id}/up/ack", str(one.command_id).encode(), reason)
            for one, reason in stray
        ],
        now=now,
    )
    evidence = _evidence(session, batch, seen, set(waiting) | answered, births=births, now=heard_at)
    changed += commands.weigh(session, evidence, clock=pace.clock, now=now)
    # What was refused for its key is worth another try at once.
    rekeyed = {one.terminal_id for one in changed if one.op is Op.KEYS and one.state is CommandState.EXECUTED}
    if rekeyed:
        command_books.retry_at_birth(session, rekeyed, now=now)
    shown = [one.command_id for one in changed if one.op is Op.WARN and one.state is CommandState.EXECUTED]
    served = notices.mark_shown(session, shown, now=now) if shown else []
    again = sorted({*crossed, *served, *(one.supply_point_id for one in changed if _may_change_the_stage(one))})
    load_control.reassess(session, again[:_DECIDED_AT_ONCE], trigger="report", pace=pace, now=now)
    if again[_DECIDED_AT_ONCE:]:
        load_control.look_again(session, again[_DECIDED_AT_ONCE:], now)
    return len(stray), changed


def _may_change_the_stage(changed: commands.Changed) -> bool:
    over = changed.state not in OPEN and changed.state is not CommandState.EXECUTED
    return over or changed.op is Op.CREDIT


def _with_unproved_commands(session: Session, terminal_ids: set[str]) -> dict[str, UUID]:
    rows = session.execute(
        select(Command.terminal_id, Command.supply_point_id)
        .where(
            Command.terminal_id.in_(terminal_ids),
            Command.ended_at.is_(None),
        )
        .distinct()
    )
    return {row.terminal_id: row.supply_point_id for row in rows}


def _points_of(session: Session, terminal_ids: set[str]) -> list[UUID]:
    if not terminal_ids:
        return []
    return list(session.scalars(select(Terminal.supply_point_id).where(Terminal.id.in_(terminal_ids))))


def _evidence(
    session: Session, batch: Batch, seen: dict[str, Seen], concerned: set[str], *, births: set[str], now: datetime
) -> dict[str, Evidence]:
    # A report that was sent again late tells of a time before what it would be held against.
    reported = {name: row for name, row in newest(batch.reports).items() if name in concerned}
    newest_told = presence.told_at(session, reported)
    found = {
        name: Evidence(at=now, state=row.state, active_power_w=row.active_power_w, live=False)
        for name, row in reported.items()
        if row.at >= newest_told.get(name, row.at)
    }
    for name, told in seen.items():
        if name in concerned:
            found[name] = Evidence(
                at=now,
                state=told.state,
                active_power_w=told.active_power_w,
                results=told.results or {},
                after_birth=told.results is not None and name in births,
            )
    return found
