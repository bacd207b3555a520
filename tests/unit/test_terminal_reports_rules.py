"""Of what terminals told, which part says something about now."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.commands.rules import AckStep
from app.commands.service import Answer
from app.terminal_reports.rules import Batch, EventRow, ReportRow, Seen, Unreadable, last_seen, newest, tallied

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
SPOOL = UUID(int=1)
OTHER_SPOOL = UUID(int=2)
RESULTS = {"c-1": (AckStep.EXECUTED, None)}
TERMINALS = ["SH-0001", "SH-0002", "SH-0003"]


def a_report(
    seq: int, *, spool_id: UUID = SPOOL, terminal_id: str = "SH-0001", backfilled: bool = False
) -> ReportRow:
    return ReportRow(terminal_id, spool_id, seq, AT, backfilled, "synced", 1000 * seq, 411_000, {}, "{}")


def a_heartbeat(session: str = "s1", *, terminal_id: str = "SH-0001", uptime_s: int = 60) -> Seen:
    return Seen(terminal_id, session, AT, uptime_s, "synced", {}, active_power_w=411_000, echo="c")


def a_birth(session: str = "s1", *, terminal_id: str = "SH-0001", boot: int = 0) -> Seen:
    return Seen(
        terminal_id, session, AT, 0, "synced", {}, boot=boot, firmware="1.0", spool=(SPOOL, 1), results=RESULTS
    )


def an_answer(terminal_id: str) -> Answer:
    return Answer(terminal_id=terminal_id, command_id=UUID(int=9), step=AckStep.RECEIVED, code=None, at=AT)


def test_the_highest_number_of_a_spool_is_the_newest() -> None:
    assert newest([a_report(7), a_report(9), a_report(8)]) == {"SH-0001": a_report(9)}


def test_of_two_spools_the_one_whose_report_came_last_is_the_newest() -> None:
    new = a_report(1, spool_id=OTHER_SPOOL)
    assert newest([a_report(9), new]) == {"SH-0001": new}
    assert newest([new, a_report(9)]) == {"SH-0001": a_report(9)}


def test_a_repeat_of_the_newest_changes_nothing() -> None:
    first = a_report(9)
    again = first._replace(supplied_wh=0)
    assert newest([first, again]) == {"SH-0001": first}


def test_a_back_filled_report_never_speaks_of_now() -> None:
    assert newest([a_report(9, backfilled=True)]) == {}
    assert newest([a_report(7), a_report(9, backfilled=True)]) == {"SH-0001": a_report(7)}


@given(st.lists(st.tuples(st.sampled_from(TERMINALS), st.integers(1, 99), st.booleans()), max_size=20))
def test_every_terminal_has_its_own_newest_report(told: list[tuple[str, int, bool]]) -> None:
    reports = [a_report(seq, terminal_id=name, backfilled=late) for name, seq, late in told]
    live = [(name, seq) for name, seq, late in told if not late]
    expected = {name: max(seq for other, seq in live if other == name) for name, _ in live}
    assert {name: row.seq for name, row in newest(reports).items()} == expected


def test_the_last_heartbeat_stands() -> None:
    later = a_heartbeat(uptime_s=120)
    assert last_seen([a_heartbeat(), later]) == {"SH-0001": later}


@pytest.mark.parametrize("heartbeats", [1, 2])
@pytest.mark.parametrize("boot", [0, 7])
def test_a_heartbeat_carries_what_the_birth_before_it_told(boot: int, heartbeats: int) -> None:
    later = a_heartbeat(uptime_s=120)
    carried = later._replace(boot=boot, firmware="1.0", spool=(SPOOL, 1), results=RESULTS)
    assert last_seen([a_birth(boot=boot), *[later] * heartbeats]) == {"SH-0001": carried}


def test_a_newer_birth_takes_the_place_of_the_one_before() -> None:
    assert last_seen([a_birth(boot=1), a_birth(boot=2)]) == {"SH-0001": a_birth(boot=2)}


def test_a_heartbeat_of_another_session_carries_nothing_of_a_birth() -> None:
    assert last_seen([a_birth("s1"), a_heartbeat("s2")]) == {"SH-0001": a_heartbeat("s2")}


def test_every_terminal_is_seen_for_itself() -> None:
    other = a_heartbeat(terminal_id="SH-0002")
    assert last_seen([a_birth(), other]) == {"SH-0001": a_birth(), "SH-0002": other}


def a_batch() -> Batch:
    return Batch(
        reports=[a_report(1, terminal_id="SH-0001")],
        events=[EventRow("SH-0002", SPOOL, 2, AT, "trip", "{}")],
        seen=[a_birth(terminal_id="SH-0003")],
        deaths={("SH-0004", "s4")},
        answers=[an_answer("SH-0005")],
        unreadable=[Unreadable("lm/v1/SH-0006/up/ack", b"", "payload")],
    )


def test_a_batch_names_every_terminal_that_told_anything_readable() -> None:
    assert a_batch().terminal_ids() == {"SH-0001", "SH-0002", "SH-0003", "SH-0004", "SH-0005"}
    assert Batch().terminal_ids() == set()


@pytest.mark.parametrize("stranger", ["SH-0001", "SH-0002", "SH-0003", "SH-0004", "SH-0005"])
def test_what_a_stranger_told_is_left_out_and_nothing_else(stranger: str) -> None:
    batch = a_batch()
    known = batch.without({stranger})
    assert known.terminal_ids() == batch.terminal_ids() - {stranger}
    assert known.unreadable == batch.unreadable


def test_a_batch_without_strangers_is_left_as_it_is() -> None:
    assert a_batch().without(set()) == a_batch()
    everyone: dict[str, Any] = vars(a_batch().without(a_batch().terminal_ids()))
    assert [name for name, kept in everyone.items() if kept] == ["unreadable"]


def test_ten_reports_of_which_seven_were_new_are_seven_stored_and_three_repeated() -> None:
    heard = {"report": 10, "ack": 4, "heartbeat": 5}
    assert tallied(heard=heard, added={"report": 7, "ack": 3}, stray=1) == {
        ("report", "stored"): 7,
        ("report", "repeated"): 3,
        ("ack", "stored"): 3,
        ("ack", "quarantined"): 1,
        ("heartbeat", "noted"): 5,
    }
