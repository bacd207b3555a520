"""What terminals tell is stored once, receipted exactly, and moves the live state only when it speaks of now."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from factories import a_contract, a_purchase, a_state, a_terminal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from app.clock import Clock, monotonic_s, sleep
from app.commands import service as commands
from app.commands.models import Command, CommandStep
from app.commands.rules import Op
from app.customers.queries import contract_by_no
from app.database import new_id, transaction
from app.load_control.models import StageDecisionRecord
from app.load_control.queries import pictures
from app.load_control.service import Pace, reassess
from app.mqtt import topics
from app.terminal_reports.ingest import Frame, Ingest, read_batch
from app.terminal_reports.models import QuarantinedMessage, TerminalEvent, TerminalReport
from app.terminal_reports.service import Receipt, Recorded, record
from app.terminals.models import TerminalLive
from app.terminals.queries import terminal

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
TERMINAL = "SH-0001"
NEIGHBOUR = "SH-0002"
SPOOL = UUID(int=7)
OTHER_SPOOL = UUID(int=8)
SESSION = "a" * 32
LATER_SESSION = "b" * 32
PACE = Pace(clock=Clock(), report_interval_s=900)
WAIT_S = 15.0


def moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def frame(kind: str, body: object, *, terminal_id: str = TERMINAL) -> Frame:
    return topics.up(terminal_id, kind), json.dumps(body).encode()


def report_body(seq: int, *, at: datetime = NOON, **changes: Any) -> dict[str, Any]:
    return {
        "spool_id": str(SPOOL),
        "seq": seq,
        "at": moment(at),
        "clock": "synced",
        "uptime_s": 60,
        "supplied_wh": 1_000 * seq,
        "active_power_w": 480_000,
        "meters": [],
        "state": a_state(),
        **changes,
    }


def a_report(
    seq: int, *, kind: str = "report", at: datetime = NOON, terminal_id: str = TERMINAL, **changes: Any
) -> Frame:
    return frame(kind, report_body(seq, at=at, **changes), terminal_id=terminal_id)


def event_body(seq: int, *, at: datetime = NOON, kind: str = "relay") -> dict[str, Any]:
    return {"spool_id": str(SPOOL), "seq": seq, "at": moment(at), "type": kind, "detail": {"round": 1}}


def heartbeat_body(session: str = SESSION, *, at: datetime = NOON, **changes: Any) -> dict[str, Any]:
    return {"session": session, "uptime_s": 60, "at": moment(at), "clock": "synced", "state": a_state(), **changes}


def a_heartbeat(session: str = SESSION, *, at: datetime = NOON, **changes: Any) -> Frame:
    return frame("heartbeat", heartbeat_body(session, at=at, **changes))


def birth_body(session: str = SESSION, *, at: datetime = NOON, first: int = 0, last: int = 0) -> dict[str, Any]:
    return {
        "session": session,
        "boot": 3,
        "uptime_s": 0,
        "at": moment(at),
        "clock": "synced",
        "firmware": "1.0",
        "spool": {"id": str(SPOOL), "first": first, "last": last},
        "slots": {},
        "state": a_state(),
        "results": [],
    }


def a_birth(session: str = SESSION, *, at: datetime = NOON, first: int = 0, last: int = 0) -> Frame:
    return frame("birth", birth_body(session, at=at, first=first, last=last))


def a_death(session: str = SESSION) -> Frame:
    return frame("death", {"session": session})


def ack_body(command_id: UUID | None, *, step: str = "executed", at: datetime = NOON) -> dict[str, Any]:
    return {"command_id": str(command_id) if command_id else None, "step": step, "at": moment(at), "uptime_s": 9}


@dataclass(frozen=True, kw_only=True)
class Site:
    """Two supply points with a terminal each; what they tell is recorded as the worker would."""

    database: Database
    supply_point_id: UUID

    def take(self, *frames: Frame, now: datetime = NOON) -> Recorded:
        with transaction(self.database.engine) as session:
            return record(session, read_batch(list(frames)), pace=PACE, now=now)

    def rows(self, model: Any) -> list[Any]:
        with transaction(self.database.engine) as session:
            return list(session.scalars(select(model)))

    def live(self) -> TerminalLive:
        with transaction(self.database.engine) as session:
            return session.get_one(TerminalLive, TERMINAL)

    def stored(self) -> list[tuple[str, UUID, int]]:
        return sorted((one.terminal_id, one.spool_id, one.seq) for one in self.rows(TerminalReport))

    def reasons(self) -> list[str]:
        return sorted(one.reason for one in self.rows(QuarantinedMessage))

    def connect(self, session: str = SESSION, *, now: datetime = NOON) -> None:
        """A birth, and the heartbeat that proves the downlink."""
        challenge = self.take(a_birth(session, at=now), now=now).challenges[TERMINAL]
        self.take(a_heartbeat(session, at=now, echo=challenge), now=now)


@pytest.fixture
def site(database: Database) -> Site:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no="HT-0001")
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
        a_terminal(session, supply_point_id=a_contract(session).supply_point_id, terminal_id=NEIGHBOUR)
        return Site(database=database, supply_point_id=contract.supply_point_id)


def test_a_report_is_stored_once_however_often_it_is_sent(site: Site) -> None:
    site.take(a_report(1), a_report(1), a_report(2))
    site.take(a_report(2), a_report(1, kind="backfill"), now=NOON + MINUTE)
    assert site.stored() == [(TERMINAL, SPOOL, 1), (TERMINAL, SPOOL, 2)]
    assert {one.received_at for one in site.rows(TerminalReport)} == {NOON}


def test_a_number_that_comes_again_under_another_time_is_not_stored_twice(site: Site) -> None:
    site.take(a_report(1))
    site.take(a_report(1, at=NOON + MINUTE), now=NOON + MINUTE)
    assert site.stored() == [(TERMINAL, SPOOL, 1)]


def test_equal_numbers_of_two_terminals_and_of_two_spools_are_different_reports(site: Site) -> None:
    recorded = site.take(a_report(1), a_report(1, spool_id=str(OTHER_SPOOL)), a_report(1, terminal_id=NEIGHBOUR))
    assert site.stored() == [(TERMINAL, SPOOL, 1), (TERMINAL, OTHER_SPOOL, 1), (NEIGHBOUR, SPOOL, 1)]
    assert sorted(recorded.receipts) == [
        Receipt(TERMINAL, SPOOL, 1, []),
        Receipt(TERMINAL, OTHER_SPOOL, 1, []),
        Receipt(NEIGHBOUR, SPOOL, 1, []),
    ]


def test_a_report_is_kept_with_all_that_it_told(site: Site) -> None:
    site.take(a_report(4, supplied_wh=77, active_power_w=-5), now=NOON + SECOND)
    (kept,) = site.rows(TerminalReport)
    assert (kept.at, kept.received_at, kept.backfilled) == (NOON, NOON + SECOND, False)
    assert (kept.supplied_wh, kept.active_power_w, kept.payload["state"]) == (77, -5, a_state())


def test_a_receipt_covers_what_is_stored_without_a_gap(site: Site) -> None:
    assert site.take(a_report(1), a_report(3), a_report(2)).receipts == [Receipt(TERMINAL, SPOOL, 3, [])]
    assert site.take(a_report(4)).receipts == [Receipt(TERMINAL, SPOOL, 4, [])]


def test_a_receipt_names_exactly_what_is_missing_and_no_more_once_it_has_come(site: Site) -> None:
    assert site.take(a_report(3), a_report(5), a_report(9)).receipts == [
        Receipt(TERMINAL, SPOOL, 9, [(1, 2), (4, 4), (6, 8)])
    ]
    assert site.take(a_report(7), a_report(4, kind="backfill")).receipts == [
        Receipt(TERMINAL, SPOOL, 9, [(1, 2), (6, 6), (8, 8)])
    ]
    filled = site.take(*(a_report(seq, kind="backfill") for seq in (8, 6, 2, 1)))
    assert filled.receipts == [Receipt(TERMINAL, SPOOL, 9, [])]


def test_a_repeat_is_receipted_again_since_the_first_receipt_may_be_lost(site: Site) -> None:
    site.take(a_report(1), a_report(2))
    assert site.take(a_report(1)).receipts == [Receipt(TERMINAL, SPOOL, 2, [])]


def test_what_a_birth_says_is_no_longer_kept_is_not_asked_for(site: Site) -> None:
    assert site.take(a_report(3), a_report(8)).receipts == [Receipt(TERMINAL, SPOOL, 8, [(1, 2), (4, 7)])]
    assert site.take(a_birth(first=6, last=9)).receipts == [Receipt(TERMINAL, SPOOL, 8, [(6, 7)])]
    assert site.take(a_report(10)).receipts == [Receipt(TERMINAL, SPOOL, 10, [(6, 7), (9, 9)])]


def test_what_a_birth_gave_up_for_lost_is_stored_when_it_comes_all_the_same(site: Site) -> None:
    site.take(a_birth(first=2**62, last=2**62))
    recorded = site.take(a_report(4), a_report(5))
    assert [seq for _, _, seq in site.stored()] == [4, 5]
    assert recorded.outcomes == {("report", "stored"): 2}
    assert site.take(a_report(4, at=NOON + MINUTE)).outcomes == {("report", "repeated"): 1}
    assert [seq for _, _, seq in site.stored()] == [4, 5]


def test_a_report_is_stored_though_an_event_has_taken_its_number(site: Site) -> None:
    site.take(frame("event", event_body(1)))
    assert site.take(a_report(1)).outcomes == {("report", "stored"): 1}
    assert site.stored() == [(TERMINAL, SPOOL, 1)]


def test_numbers_without_end_make_no_receipt_without_end(site: Site) -> None:
    (receipt,) = site.take(*(a_report(seq) for seq in range(2, 900, 2))).receipts
    assert receipt.missing == [(seq, seq) for seq in range(1, 203, 2)]


def test_what_became_of_each_message_is_counted(site: Site) -> None:
    recorded = site.take(
        a_birth(),
        a_heartbeat(),
        a_death(LATER_SESSION),
        a_report(1),
        a_report(1),
        a_report(2, kind="backfill"),
        frame("event", event_body(3)),
        frame("ack", ack_body(new_id())),
        a_report(1, terminal_id="SH-NONE"),
        ("nowhere", b""),
    )
    assert recorded.outcomes == {
        ("birth", "noted"): 1,
        ("heartbeat", "noted"): 1,
        ("death", "noted"): 1,
        ("report", "stored"): 1,
        ("report", "repeated"): 1,
        ("backfill", "stored"): 1,
        ("event", "stored"): 1,
        ("ack", "quarantined"): 1,
        ("report", "quarantined"): 1,
    }
    assert len(site.rows(QuarantinedMessage)) == 3


def test_reports_and_events_share_one_sequence(site: Site) -> None:
    told = site.take(a_report(1), frame("event", event_body(2)), a_report(3))
    assert told.receipts == [Receipt(TERMINAL, SPOOL, 3, [])]


def test_an_event_is_stored_once_with_what_happened(site: Site) -> None:
    site.take(frame("event", event_body(1)), frame("event", event_body(1)))
    site.take(frame("event", event_body(1)), frame("event", event_body(2, kind="tamper")))
    assert [(one.seq, one.at, one.type, one.detail) for one in site.rows(TerminalEvent)] == [
        (1, NOON, "relay", {"round": 1}),
        (2, NOON, "tamper", {"round": 1}),
    ]


def test_a_back_filled_report_is_stored_and_moves_nothing(site: Site) -> None:
    site.take(a_report(5, supplied_wh=5_000))
    before = site.live()
    late = {"supplied_wh": 9_000, "active_power_w": 1, "state": a_state(rounds="00------")}
    recorded = site.take(a_report(4, kind="backfill", at=NOON + HOUR, **late), now=NOON + HOUR)
    after = site.live()
    assert [(one.seq, one.backfilled) for one in site.rows(TerminalReport)] == [(5, False), (4, True)]
    assert recorded.receipts == [Receipt(TERMINAL, SPOOL, 5, [(1, 3)])]
    told = ("supplied_wh", "supplied_at", "active_power_w", "state", "state_at", "recent_load_w")
    assert [getattr(after, name) for name in told] == [getattr(before, name) for name in told]


def test_an_older_report_never_takes_back_what_a_newer_one_told(site: Site) -> None:
    site.take(a_report(9, at=NOON, supplied_wh=9_000))
    old = {"supplied_wh": 8_000, "active_power_w": 1, "state": a_state(rounds="00------")}
    site.take(a_report(8, at=NOON - MINUTE, **old), now=NOON + SECOND)
    live = site.live()
    assert (live.supplied_wh, live.supplied_at, live.active_power_w) == (9_000, NOON, 480_000)
    assert live.state is not None
    assert live.state["rounds"] == "11------"
    assert len(site.stored()) == 2


def test_a_report_older_than_the_last_heartbeat_does_not_bring_back_the_state_before_it(site: Site) -> None:
    site.connect()
    site.take(a_heartbeat(at=NOON + MINUTE, state=a_state(rounds="01------")), now=NOON + MINUTE)
    site.take(a_report(1, at=NOON), now=NOON + MINUTE)
    live = site.live()
    assert live.state is not None
    assert live.state["rounds"] == "01------"


def test_a_newer_report_moves_counter_power_state_and_clock(site: Site) -> None:
    site.take(a_report(1, at=NOON - HOUR), now=NOON - HOUR)
    told = {"supplied_wh": 70_000, "active_power_w": 90, "clock": "free", "state": a_state(limit_w=300_000)}
    site.take(a_report(2, **told), now=NOON + SECOND)
    live = site.live()
    assert (live.supplied_wh, live.active_power_w, live.clock) == (70_000, 90, "free")
    assert (live.supplied_at, live.supplied_received_at, live.state) == (
        NOON,
        NOON + SECOND,
        a_state(limit_w=300_000),
    )


def test_a_counter_never_goes_back_in_one_spool(site: Site) -> None:
    site.take(a_report(1, supplied_wh=5_000))
    site.take(a_report(2, at=NOON + MINUTE, supplied_wh=4_999), now=NOON + MINUTE)
    assert site.live().supplied_wh == 5_000
    assert len(site.stored()) == 2


def test_a_new_spool_may_begin_with_a_lower_counter(site: Site) -> None:
    site.take(a_report(9, supplied_wh=9_000))
    recorded = site.take(a_report(1, at=NOON + MINUTE, supplied_wh=10, spool_id=str(OTHER_SPOOL)), now=NOON + MINUTE)
    assert (site.live().supplied_wh, site.live().spool_id) == (10, OTHER_SPOOL)
    assert recorded.receipts == [Receipt(TERMINAL, OTHER_SPOOL, 1, [])]


def test_a_birth_is_challenged_and_not_commandable_until_the_echo(site: Site) -> None:
    recorded = site.take(a_birth())
    live = site.live()
    assert recorded.challenges == {TERMINAL: live.challenge}
    assert (live.online, live.commandable, live.session, live.boot, live.firmware) == (True, False, SESSION, 3, "1.0")
    again = site.take(a_heartbeat(echo=live.challenge))
    assert again.challenges == {}
    assert (site.live().online, site.live().commandable) == (True, True)


def test_a_wrong_echo_proves_nothing(site: Site) -> None:
    site.take(a_birth())
    site.take(a_heartbeat(echo="something else"))
    assert (site.live().online, site.live().commandable) == (True, False)


def test_a_heartbeat_that_has_no_challenge_to_echo_yet_is_taken_and_proves_nothing(site: Site) -> None:
    site.take(a_birth())
    told = site.take(a_heartbeat(at=NOON + SECOND, state=a_state(rounds="01------")), a_report(1), now=NOON + SECOND)
    live = site.live()
    assert (live.online, live.commandable, live.seen_at) == (True, False, NOON + SECOND)
    assert live.state is not None
    assert live.state["rounds"] == "01------"
    assert told.receipts == [Receipt(TERMINAL, SPOOL, 1, [])]


def test_a_proved_downlink_stays_proved_over_heartbeats(site: Site) -> None:
    site.connect()
    site.take(a_heartbeat(at=NOON + MINUTE), now=NOON + MINUTE)
    assert site.live().commandable


def test_a_birth_and_a_heartbeat_in_one_batch_wait_for_the_echo(site: Site) -> None:
    assert list(site.take(a_birth(), a_heartbeat()).challenges) == [TERMINAL]
    assert not site.live().commandable


def test_an_echo_of_the_session_before_does_not_prove_the_new_one(site: Site) -> None:
    site.connect()
    old = site.live().challenge
    assert list(site.take(a_birth(LATER_SESSION)).challenges) == [TERMINAL]
    site.take(a_heartbeat(LATER_SESSION, echo=old))
    assert site.live().challenge != old
    assert not site.live().commandable


def test_a_heartbeat_of_an_unknown_session_is_challenged_like_a_birth(site: Site) -> None:
    site.connect()
    recorded = site.take(a_heartbeat(LATER_SESSION, echo=site.live().challenge))
    live = site.live()
    assert recorded.challenges == {TERMINAL: live.challenge}
    assert (live.session, live.online, live.commandable) == (LATER_SESSION, True, False)
    site.take(a_heartbeat(LATER_SESSION, echo=live.challenge))
    assert site.live().commandable


def test_the_death_of_the_current_session_takes_the_terminal_off_line(site: Site) -> None:
    site.connect()
    site.take(a_death(), now=NOON + MINUTE)
    live = site.live()
    assert (live.online, live.commandable, live.state_at) == (False, False, NOON + MINUTE)


def test_the_death_of_another_session_says_nothing(site: Site) -> None:
    site.connect()
    site.take(a_death(LATER_SESSION))
    assert (site.live().online, site.live().commandable) == (True, True)


@pytest.mark.parametrize(
    ("frames", "online"),
    [
        ((a_death(), a_birth(LATER_SESSION)), True),
        ((a_birth(LATER_SESSION), a_death()), True),
        ((a_birth(LATER_SESSION), a_death(LATER_SESSION)), False),
        ((a_birth(LATER_SESSION), a_death(LATER_SESSION), a_death()), False),
    ],
)
def test_deaths_and_births_of_one_batch_leave_the_session_that_lives(
    site: Site,
    frames: tuple[Frame, ...],
    online: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    site.connect()
    site.take(*frames)
    assert (site.live().session, site.live().online) == (LATER_SESSION, online)


def test_a_terminal_that_fell_silent_and_goes_on_in_its_session_is_back(site: Site) -> None:
    site.connect()
    challenge = site.live().challenge
    site.take(a_death())
    site.take(a_heartbeat(echo=challenge))
    assert (site.live().online, site.live().commandable) == (True, True)


def test_an_unknown_or_retired_terminal_is_quarantined_and_the_rest_is_stored(site: Site) -> None:
    with transaction(site.database.engine) as session:
        terminal(session, NEIGHBOUR).retired_at = NOON
    strange = [a_report(seq, terminal_id=name) for name in ("SH-NONE", NEIGHBOUR) for seq in (1, 2)]
    recorded = site.take(*strange, a_report(1), a_birth())
    assert site.stored() == [(TERMINAL, SPOOL, 1)]
    assert recorded.receipts == [Receipt(TERMINAL, SPOOL, 1, [])]
    kept = site.rows(QuarantinedMessage)
    assert [(one.topic, one.payload) for one in kept] == strange
    assert {one.reason for one in kept} == {
        "the terminal is not registered, is retired, or its credential is revoked"
    }


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("lm/v1/SH-0001/up/report", b"\xff\xfe", "payload: Invalid JSON"),
        ("lm/v1/SH-0001/up/report", b'{"seq": 1', "payload: Invalid JSON"),
        ("lm/v1/SH-0001/up/report", b"[]", "payload: "),
        ("lm/v1/SH-0001/up/heartbeat", json.dumps(heartbeat_body("short")).encode(), "session: "),
        ("lm/v1/SH-0001/up/report", json.dumps(report_body(1, supplied_wh=1.5)).encode(), "supplied_wh: "),
        ("lm/v1/SH-0001/up/report", json.dumps(report_body(0)).encode(), "seq: "),
        ("lm/v1/SH-0001/up/event", json.dumps(event_body(1, kind="\x00")).encode(), "a text contains"),
        ("lm/v1/SH-0001/up/report", b" " * 20_000, "20000 bytes; at most 16384 are read"),
        ("lm/v1/SH-0001/up/rumour", b"{}", "not a topic of this protocol"),
        ("lm/v1/sh-0001/up/report", b"{}", "not a topic of this protocol"),
        ("lm/v1/SH-0001/up/ack", json.dumps(ack_body(None)).encode(), "the terminal could not read a command"),
    ],
)
def test_what_cannot_be_read_is_kept_with_the_reason_and_the_rest_is_stored(
    site: Site, topic: str, payload: bytes, reason: str
) -> None:
    site.take(a_report(1), (topic, payload), a_report(2))
    (kept,) = site.rows(QuarantinedMessage)
    assert (kept.topic, kept.payload, kept.received_at) == (topic, payload[: topics.MAX_PAYLOAD_BYTES], NOON)
    assert kept.reason.startswith(reason)
    assert [seq for _, _, seq in site.stored()] == [1, 2]


def a_close(site: Site) -> UUID:
    new = commands.NewCommand(
        terminal_id=TERMINAL,
        supply_point_id=site.supply_point_id,
        op=Op.CLOSE,
        args={"round": 1, "manner": "allow"},
        reason="test",
    )
    with transaction(site.database.engine) as session:
        return commands.issue(session, new, clock=PACE.clock, now=NOON).id


def test_an_answer_to_a_command_of_another_terminal_is_quarantined_and_changes_nothing(site: Site) -> None:
    command_id = a_close(site)
    site.take(frame("ack", ack_body(command_id), terminal_id=NEIGHBOUR), a_report(1))
    (command,) = site.rows(Command)
    (kept,) = site.rows(QuarantinedMessage)
    assert (command.state, command.executed_at, site.rows(CommandStep)) == ("waiting", None, [])
    assert (kept.topic, kept.payload) == (f"lm/v1/{NEIGHBOUR}/up/ack", str(command_id).encode())
    assert kept.reason == "the answer is for a command that this terminal was never given"
    assert site.stored() == [(TERMINAL, SPOOL, 1)]


def test_an_answer_to_no_command_at_all_is_quarantined(site: Site) -> None:
    a_close(site)
    site.take(frame("ack", ack_body(new_id())))
    assert [one.state for one in site.rows(Command)] == ["waiting"]
    assert site.reasons() == ["the answer is for a command that this terminal was never given"]


def test_answers_are_applied_in_the_order_in_which_they_came(site: Site) -> None:
    command_id = a_close(site)
    site.take(frame("ack", ack_body(command_id, step="received")), frame("ack", ack_body(command_id)))
    (command,) = site.rows(Command)
    assert (command.state, command.received_at, command.executed_at) == ("executed", NOON, NOON)
    assert sorted(step.step for step in site.rows(CommandStep)) == ["executed", "received"]
    assert site.reasons() == []


def test_the_first_report_gives_the_recent_load_and_later_ones_move_it_slowly(site: Site) -> None:
    site.take(a_report(1, supplied_wh=0, active_power_w=400_000))
    assert site.live().recent_load_w == 400_000
    site.take(a_report(2, at=NOON + HOUR, supplied_wh=400_000, active_power_w=9), now=NOON + HOUR)
    assert site.live().recent_load_w == 400_000
    site.take(a_report(3, at=NOON + 2 * HOUR, supplied_wh=650_000), now=NOON + 2 * HOUR)
    # 250 kW for one hour against a memory of 24 h: 400 - 150 / 25.
    assert site.live().recent_load_w == 394_000
    site.take(a_report(4, at=NOON + 2 * HOUR, supplied_wh=9_000_000), now=NOON + 2 * HOUR)
    assert site.live().recent_load_w == 394_000


def test_a_day_of_double_load_moves_the_recent_load_half_way(site: Site) -> None:
    site.take(a_report(1, supplied_wh=0, active_power_w=100_000))
    site.take(a_report(2, at=NOON + 24 * HOUR, supplied_wh=4_800_000), now=NOON + 24 * HOUR)
    assert site.live().recent_load_w == 150_000


def test_the_recent_load_does_not_move_over_a_new_counter(site: Site) -> None:
    site.take(a_report(9, supplied_wh=9_000_000, active_power_w=100_000))
    told = {"supplied_wh": 10, "spool_id": str(OTHER_SPOOL), "active_power_w": 7}
    site.take(a_report(1, at=NOON + HOUR, **told), now=NOON + HOUR)
    assert site.live().recent_load_w == 100_000


def test_a_counter_that_jumps_beyond_all_power_breaks_no_batch(site: Site) -> None:
    site.take(a_report(1, at=NOON - MINUTE, supplied_wh=0, active_power_w=400_000), now=NOON - MINUTE)
    site.take(a_report(2, supplied_wh=2**62))
    assert (site.live().supplied_wh, site.live().recent_load_w) == (2**62, 2**40)
    assert site.reasons() == []


def test_a_terminal_that_feeds_back_has_no_load(site: Site) -> None:
    site.take(a_report(1, active_power_w=-400_000))
    assert site.live().recent_load_w == 0


@pytest.mark.parametrize(("clock", "estimated"), [("unset", True), ("free", False), ("synced", False)])
def test_a_clock_that_was_never_set_makes_the_consumption_an_estimate(
    site: Site,
    clock: str,
    estimated: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    told_at = datetime(2000, 1, 1, tzinfo=UTC) if estimated else NOON - MINUTE
    site.take(a_report(1, at=told_at, clock=clock))
    with transaction(site.database.engine) as session:
        (seen,) = pictures(
            session,
            [site.supply_point_id],
            report_valid_for=PACE.report_valid_for,
            retry_after=PACE.retry_after,
            now=NOON,
        )
    assert seen.facts.estimated is estimated
    assert seen.facts.supplied_at == (NOON if estimated else told_at)


def test_a_report_from_the_future_counts_as_of_now(site: Site) -> None:
    site.take(a_report(1, at=NOON + HOUR))
    assert site.live().supplied_at == NOON


def test_a_report_that_crosses_a_threshold_makes_a_decision(site: Site) -> None:
    with transaction(site.database.engine) as session:
        a_purchase(session, contract=contract_by_no(session, "HT-0001"), now=NOON - HOUR, paid_fen=8_000_000)
    paid = a_state(paid_until_wh=100_000_000, order_no=1)
    site.take(a_report(1, supplied_wh=49_000_000, state=paid))
    with transaction(site.database.engine) as session:
        reassess(session, [site.supply_point_id], trigger="time", pace=PACE, now=NOON)
    decided = len(site.rows(StageDecisionRecord))
    site.take(a_report(2, at=NOON + HOUR, supplied_wh=49_999_999, state=paid), now=NOON + HOUR)
    assert len(site.rows(StageDecisionRecord)) == decided
    site.take(a_report(3, at=NOON + 2 * HOUR, supplied_wh=50_000_000, state=paid), now=NOON + 2 * HOUR)
    crossed = max(site.rows(StageDecisionRecord), key=lambda one: one.decided_at)
    assert (crossed.trigger, crossed.stage, crossed.decided_at) == ("report", "notice", NOON + 2 * HOUR)


BODIES: dict[str, dict[str, Any]] = {
    "birth": birth_body(first=1, last=2),
    "death": {"session": SESSION},
    "heartbeat": heartbeat_body(echo="c"),
    "report": report_body(1),
    "backfill": report_body(2),
    "event": event_body(3),
    "ack": ack_body(UUID(int=1)),
}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2**31, 2**53, 2**62, 2**62 + 1, 2**63]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [moment(NOON), "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", str(SPOOL), "01------", "\ud800"]
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def places(body: Any) -> list[tuple[Any, Any]]:
    """Every container of a body with every key in it."""
    if not isinstance(body, dict):
        return []
    return [(body, key) for key in body] + [place for inner in body.values() for place in places(inner)]


@st.composite
def mutated(draw: st.DrawFn, kind: str) -> bytes:
    """A payload of this kind in which up to three members are changed, lost or new, and some bytes are broken."""
    body = json.loads(json.dumps(BODIES[kind]))
    for _ in range(draw(st.integers(0, 3))):
        container, key = draw(st.sampled_from(places(body) or [(body, "seq")]))
        if draw(st.integers(0, 4)):
            container[key] = draw(VALUES)
        else:
            container.pop(key, None)
    written = bytearray(json.dumps(body).encode())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 4]))):
        written[draw(st.integers(0, len(written) - 1))] = draw(st.integers(0, 255))
    return bytes(written)


PAYLOADS = st.sampled_from(sorted(BODIES)).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        st.one_of(mutated(kind), st.binary(max_size=60), VALUES.map(lambda one: json.dumps(one).encode())),
    )
)
FUZZED = st.lists(PAYLOADS, min_size=1, max_size=12)


def frames_of(told: list[tuple[str, bytes]]) -> list[Frame]:
    return [(topics.up(TERMINAL, kind), payload) for kind, payload in told]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(FUZZED)
@example([("report", b"[" * 16_000)])
@example([("heartbeat", json.dumps(heartbeat_body(state=None)).encode())])
@pytest.mark.takes(seconds=20)
@pytest.mark.no_cover
def test_whatever_comes_is_read_or_put_aside_with_a_reason(told: list[tuple[str, bytes]]) -> None:
    batch = read_batch(frames_of(told))
    read = len(batch.reports) + len(batch.events) + len(batch.seen) + len(batch.answers)
    aside = [one for one in batch.unreadable if one.topic != topics.up(TERMINAL, "death")]
    assert read + len(aside) == len([kind for kind, _ in told if kind != "death"])
    assert all(0 < len(one.reason) <= 400 for one in batch.unreadable)


@settings(deadline=None, derandomize=True, database=None)
@given(st.text(max_size=60), st.binary(max_size=20))
def test_a_topic_that_is_none_of_ours_is_put_aside(topic: str, payload: bytes) -> None:
    batch = read_batch([(topic, payload)])
    assert len(batch.unreadable) == 1


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(FUZZED)
def test_whatever_is_read_is_recorded_or_refused_by_the_database(site: Site, told: list[tuple[str, bytes]]) -> None:
    # The thread that records takes a batch apart when the database refuses it; anything else would end the thread.
    before = len(site.rows(QuarantinedMessage))
    unreadable = len(read_batch(frames_of(told)).unreadable)
    try:
        site.take(*frames_of(told))
    except DBAPIError:
        assert len(site.rows(QuarantinedMessage)) == before
    else:
        assert len(site.rows(QuarantinedMessage)) >= before + unreadable


class Told:
    """What the service publishes, kept."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, topic: str, payload: bytes) -> None:
        self.sent.append((topic.removeprefix(f"lm/v1/{TERMINAL}/dn/"), json.loads(payload)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [body for topic, body in list(self.sent) if topic == kind]


@dataclass(frozen=True)
class Running:
    ingest: Ingest
    told: Told


@pytest.fixture
def running(site: Site) -> Iterator[Running]:
    told = Told()
    ingest = Ingest(site.database.engine, pace=PACE, publish=told)
    with capture_logs():
        yield Running(ingest, told)
        ingest.stop()


def eventually(happened: Callable[[], Any]) -> Any:
    until_s = monotonic_s() + WAIT_S
    while not (found := happened()):
        assert monotonic_s() < until_s, "it did not happen in time"
        sleep(0.01)
    return found


def covered(receipt: dict[str, Any]) -> set[int]:
    """The numbers that a terminal forgets after a receipt."""
    missing = {seq for low, high in receipt["missing"] for seq in range(low, high + 1)}
    return set(range(1, receipt["upto"] + 1)) - missing


def test_a_receipt_never_covers_what_is_not_stored_however_many_gaps_there_are(site: Site, running: Running) -> None:
    now = Clock().now()
    odd = range(1, 302, 2)
    for seq in odd:
        running.ingest.put(*a_report(seq, at=now))
    running.ingest.start()
    receipt = eventually(lambda: running.told.of("receipt"))[-1]
    assert {seq for _, _, seq in site.stored()} == set(odd)
    assert covered(receipt) - set(odd) == set()
    assert len(json.dumps(receipt)) <= topics.MAX_PAYLOAD_BYTES


def test_what_never_arrived_is_asked_for_with_the_receipt(running: Running) -> None:
    now = Clock().now()
    for seq in (1, 4, 5, 7):
        running.ingest.put(*a_report(seq, at=now))
    running.ingest.start()
    assert eventually(lambda: running.told.of("receipt")) == [
        {"spool_id": str(SPOOL), "upto": 7, "missing": [[2, 3], [6, 6]]}
    ]
    assert eventually(lambda: running.told.of("request")[1:] and running.told.of("request")) == [
        {"want": "resend", "from": 2, "to": 3},
        {"want": "resend", "from": 6, "to": 6},
    ]


def as_owner(site: Site, *statements: str) -> None:
    owner = create_engine(site.database.owner_url)
    with owner.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    owner.dispose()


def test_a_message_that_the_database_refuses_is_quarantined_and_its_batch_is_stored(
    site: Site, running: Running
) -> None:
    as_owner(site, "ALTER TABLE terminal_reports ADD CONSTRAINT odd CHECK (supplied_wh <> 66)")
    now = Clock().now()
    bad = a_report(2, at=now, supplied_wh=66)
    for told in (a_report(1, terminal_id=NEIGHBOUR, at=now), bad, frame("event", event_body(3, at=now))):
        running.ingest.put(*told)
    running.ingest.start()
    (kept,) = eventually(lambda: site.rows(QuarantinedMessage))
    assert (kept.topic, kept.payload) == bad
    assert kept.reason.startswith("it could not be recorded: ")
    assert eventually(lambda: site.rows(TerminalEvent))
    assert site.stored() == [(NEIGHBOUR, SPOOL, 1)]


def test_a_message_that_meets_a_limit_of_the_database_is_quarantined_and_nothing_waits_for_it(
    site: Site, running: Running
) -> None:
    # PostgreSQL calls this an operational error, as it does when it is away.
    as_owner(
        site,
        "CREATE FUNCTION too_much() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'too much' USING ERRCODE = '54000'; END $$",
        "CREATE TRIGGER too_much BEFORE INSERT ON terminal_events FOR EACH ROW WHEN (NEW.seq = 66) "
        "EXECUTE FUNCTION too_much()",
    )
    now = Clock().now()
    running.ingest.put(*frame("event", event_body(66, at=now)))
    running.ingest.put(*a_report(1, at=now))
    running.ingest.start()
    assert eventually(site.stored) == [(TERMINAL, SPOOL, 1)]
    (kept,) = eventually(lambda: site.rows(QuarantinedMessage))
    assert kept.reason.startswith("it could not be recorded: too much")


@pytest.mark.parametrize("topic", ["lm/v1/\0/up/report", "lm/v1/\ud800/up/report", "x" * 5_000])
def test_a_topic_that_no_text_can_hold_stops_nothing(site: Site, running: Running, topic: str) -> None:
    running.ingest.put(topic, b"\0")
    running.ingest.put(*a_report(1, at=Clock().now()))
    running.ingest.start()
    assert eventually(site.stored) == [(TERMINAL, SPOOL, 1)]
    (kept,) = site.rows(QuarantinedMessage)
    assert kept.reason.startswith("not a topic of this protocol")


def test_receipts_of_a_terminal_are_merged_and_come_at_most_once_a_second(running: Running) -> None:
    running.ingest.start()
    now = Clock().now()
    running.ingest.put(*a_report(1, at=now))
    eventually(lambda: running.told.of("receipt"))
    started_s = monotonic_s()
    for seq in range(2, 8):
        running.ingest.put(*a_report(seq, at=now))
        sleep(0.06)
    receipts = eventually(lambda: running.told.of("receipt")[1:])
    assert monotonic_s() - started_s > 0.9
    assert [receipt["upto"] for receipt in receipts] == [7]


def test_what_is_queued_at_the_end_is_recorded_before_the_end(site: Site) -> None:
    ingest = Ingest(site.database.engine, pace=PACE, publish=Told())
    for seq in range(1, 2001):
        ingest.put(*a_report(seq, at=NOON))
    ingest.start()
    ingest.stop()
    assert len(site.stored()) == 2000
