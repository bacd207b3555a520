"""Writes what terminals tell of themselves into one narrow row each, many terminals with one statement."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.terminals.models import Terminal, TerminalLive
from app.terminals.queries import may_sign_in


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a birth or a heartbeat told; ``clock`` is None where it was left out."""

    terminal_id: str
    session: str
    uptime_s: int
    clock: str | None
    state: dict[str, Any]
    told_at: datetime
    active_power_w: int | None = None
    echo: str | None = None
    boot: int | None = None
    firmware: str | None = None
    keys_told: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Counter:
    """What the newest report of a terminal in a batch told."""

    terminal_id: str
    spool_id: UUID
    at: datetime
    clock: str
    supplied_wh: int
    active_power_w: int
    state: dict[str, Any]


_TOLD = text("""
    UPDATE terminal_live AS live
       SET online = true, session = told.session, uptime_s = told.uptime_s, uptime_at = :now,
           clock = coalesce(told.clock, live.clock), state = told.state,
           state_at = :now, seen_at = :now, told_at = told.told_at,
           active_power_w = coalesce(told.active_power_w, live.active_power_w),
           power_at = CASE WHEN told.active_power_w IS NULL THEN live.power_at ELSE :now END,
           boot = coalesce(told.boot, live.boot), firmware = coalesce(told.firmware, live.firmware),
           challenge = coalesce(told.challenge, live.challenge),
           keys_told = coalesce(told.keys_told, live.keys_told),
           commandable = told.challenge IS NULL
                         AND (live.commandable OR coalesce(told.echo = live.challenge, false))
      FROM jsonb_to_recordset(CAST(:told AS jsonb)) AS told (
           terminal_id text, session text, uptime_s bigint, clock text, state jsonb, told_at timestamptz,
           active_power_w bigint, echo text, boot bigint, firmware text, challenge text,
           keys_told jsonb)
     WHERE live.terminal_id = told.terminal_id
       -- A heartbeat that another one has overtaken says nothing new.
       AND (live.session IS DISTINCT FROM told.session OR live.uptime_s <= told.uptime_s)
""")

_COUNTED = text("""
    UPDATE terminal_live AS live
       SET supplied_wh = fresh.supplied_wh, supplied_at = fresh.supplied_at, supplied_received_at = :now,
           spool_id = fresh.spool_id, active_power_w = fresh.active_power_w, power_at = :now, seen_at = :now,
           clock = fresh.clock, state = fresh.state, state_at = :now, told_at = fresh.at,
           recent_load_w = CASE
               WHEN live.supplied_wh IS NULL OR live.recent_load_w = 0 THEN greatest(fresh.active_power_w, 0)
               WHEN fresh.span_s <= 0 OR fresh.supplied_wh < live.supplied_wh THEN live.recent_load_w
               -- Exact without bounds, then brought back into them: no jump of a counter may break the batch.
               ELSE least(live.recent_load_w + div(
                    (div(CAST(fresh.supplied_wh - live.supplied_wh AS numeric) * 3600, fresh.span_s)
                     - live.recent_load_w) * fresh.span_s, fresh.span_s + :memory_s), :largest_w) END
      FROM (SELECT told.*, CASE WHEN told.clock = 'unset' THEN :now ELSE least(told.at, :now) END AS supplied_at,
                   CAST(extract(epoch FROM least(told.at, :now) - before.supplied_at) AS bigint) AS span_s
              FROM jsonb_to_recordset(CAST(:counters AS jsonb)) AS told (
                   terminal_id text, spool_id uuid, at timestamptz, clock text, supplied_wh bigint,
                   active_power_w bigint, state jsonb)
              JOIN terminal_live AS before USING (terminal_id)) AS fresh
     WHERE live.terminal_id = fresh.terminal_id
       AND (live.told_at IS NULL OR fresh.at >= live.told_at)
       AND (live.supplied_wh IS NULL OR fresh.supplied_wh >= live.supplied_wh OR fresh.spool_id <> live.spool_id)
""")

#: Memory of the recent load: a day old consumption counts about a third of today's.
LOAD_MEMORY_S = 24 * 3600
#: The largest power that the terminal protocol knows; a mean above it is a counter that jumped.
LARGEST_LOAD_W = 2**40


def sessions_of(session: Session, terminal_ids: Iterable[str]) -> dict[str, str | None]:
    """Return the current session of each of these terminals that is in service and may sign in."""
    rows = session.execute(
        select(TerminalLive.terminal_id, TerminalLive.session)
        .join(Terminal, Terminal.id == TerminalLive.terminal_id)
        .where(TerminalLive.terminal_id.in_(list(terminal_ids)), may_sign_in())
    )
    return {row.terminal_id: row.session for row in rows}


def challenges(session: Session) -> dict[str, str]:
    """Return the challenge that each terminal on line was given last."""
    rows = session.execute(
        select(TerminalLive.terminal_id, TerminalLive.challenge).where(
            TerminalLive.online, TerminalLive.challenge.is_not(None)
        )
    )
    return {row.terminal_id: row.challenge for row in rows}


def told_at(session: Session, terminal_ids: Iterable[str]) -> dict[str, datetime]:
    """Return the terminal's own time of the newest thing that each of these has told."""
    rows = session.execute(
        select(TerminalLive.terminal_id, TerminalLive.told_at).where(
            TerminalLive.terminal_id.in_(list(terminal_ids)), TerminalLive.told_at.is_not(None)
        )
    )
    return {row.terminal_id: row.told_at for row in rows}


def note_told(session: Session, told: Collection[Told], *, challenges: dict[str, str], now: datetime) -> None:
    """Write the last birth or heartbeat of each terminal; a terminal with a challenge must echo it first."""
    if not told:
        return
    rows = [
        {**one.__dict__, "told_at": one.told_at.isoformat(), "challenge": challenges.get(one.terminal_id)}
        for one in sorted(told, key=lambda one: one.terminal_id)
    ]
    session.execute(_TOLD, {"told": json.dumps(rows), "now": now})


def note_counters(session: Session, counters: Collection[Counter], *, now: datetime) -> None:
    """Write the newest report of each terminal, unless something newer was told already."""
    if not counters:
        return
    rows = [
        {**one.__dict__, "at": one.at.isoformat(), "spool_id": str(one.spool_id)}
        for one in sorted(counters, key=lambda one: one.terminal_id)
    ]
    values = {"now": now, "memory_s": LOAD_MEMORY_S, "largest_w": LARGEST_LOAD_W}
    session.execute(_COUNTED, {"counters": json.dumps(rows), **values})


def note_keys(session: Session, told: dict[str, dict[str, Any]]) -> None:
    """Write which keys terminals trust, as they have told with an answer; an older answer says nothing new."""
    if not told:
        return
    session.execute(
        text("""
            UPDATE terminal_live AS live SET keys_told = told.keys
              FROM jsonb_each(CAST(:told AS jsonb)) AS told (terminal_id, keys)
             WHERE live.terminal_id = told.terminal_id
               AND coalesce((live.keys_told->>'serial')::bigint, -1) <= (told.keys->>'serial')::bigint
        """),
        {"told": json.dumps(dict(sorted(told.items())))},
    )


def note_deaths(session: Session, deaths: Collection[tuple[str, str]], *, now: datetime) -> None:
    """Take terminals off line whose last will names the current session; another session's will says nothing.

    ``deaths`` are pairs of terminal and session.
    """
    session.execute(
        text("""
            UPDATE terminal_live AS live SET online = false, commandable = false, state_at = :now
              FROM unnest(CAST(:ids AS text[]), CAST(:sessions AS text[])) AS died (terminal_id, session)
             WHERE live.terminal_id = died.terminal_id AND live.session = died.session
        """),
        {"ids": [name for name, _ in deaths], "sessions": [ended for _, ended in deaths], "now": now},
    )


def note_silence(session: Session, *, seen_before: datetime) -> list[str]:
    """Take terminals off line that have not been heard since a moment; returns their ids."""
    rows = session.execute(
        text("""
            UPDATE terminal_live SET online = false, commandable = false
             WHERE online AND seen_at < :seen_before RETURNING terminal_id
        """),
        {"seen_before": seen_before},
    )
    return [row.terminal_id for row in rows]
