"""What a simulated terminal keeps: its spool until the receipt, and its memory over power loss."""

import json
import tempfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.mqtt.messages import RESEND_AFTER_S
from simulators.memory import FileMemory
from simulators.terminal import Terminal
from simulators.workbench import Workbench, terminal_profile


def numbers(bench: Workbench, *kinds: str) -> list[tuple[str, int]]:
    return [(kind, message.seq) for kind, message in bench.said if kind in (kinds or ("report", "event", "backfill"))]


@pytest.fixture
def bench() -> Workbench:
    bench = Workbench()
    bench.connect()
    return bench


def test_reports_come_at_full_quarters_of_the_hour(bench: Workbench) -> None:
    for _ in range(8):
        bench.live(minutes=7.5)
        bench.receipt(upto=2**40)
    assert [report.at.minute for report in bench.of("report")] == [15, 30, 45, 0]


def test_numbers_have_no_gaps_and_stay_until_the_receipt(bench: Workbench) -> None:
    for _ in range(4):
        bench.live(minutes=15)
    assert bench.terminal.spooled == 4
    bench.receipt(upto=3, missing=[[2, 2]])
    bench.lose()
    bench.clear()
    bench.connect()
    assert bench.of("birth")[0].spool.first == 2
    assert bench.of("birth")[0].spool.last == 4
    assert numbers(bench) == [("report", 4), ("backfill", 2)]


def test_what_has_no_receipt_is_sent_again_unchanged(bench: Workbench) -> None:
    bench.credit(remaining_wh=1, order_no=1)
    first = numbers(bench)
    messages = {message.seq: message for kind, message in bench.said if kind in {"report", "event"}}
    bench.clear()
    bench.live(RESEND_AFTER_S - 1)
    assert numbers(bench) == []
    bench.live(1)
    assert numbers(bench) == first
    assert {message.seq: message for kind, message in bench.said if kind in {"report", "event"}} == messages


def test_progress_puts_off_sending_again(bench: Workbench) -> None:
    bench.credit(remaining_wh=1, order_no=1)
    bench.clear()
    bench.live(50)
    bench.receipt(upto=1)
    bench.live(50)
    assert numbers(bench) == []
    bench.live(10)
    assert numbers(bench) == [("report", 2)]


def test_an_outage_is_filled_newest_first_after_what_is_fresh(bench: Workbench) -> None:
    bench.live(minutes=14)
    bench.lose()
    for _ in range(3):
        bench.live(minutes=15)
    bench.clear()
    bench.live(minutes=1.5)
    bench.connect()
    assert numbers(bench) == [("report", 3), ("report", 4), ("backfill", 2), ("backfill", 1)]


def test_receipts_of_another_spool_or_nonsense_change_nothing(bench: Workbench) -> None:
    bench.hear(bench.terminal.report(bench.now))
    for payload in (
        b'{"spool_id":"01234567-89ab-7cde-8f01-23456789abcd","upto":9}',
        b'{"upto":9}',
        b'{"spool_id":"01234567-89ab-7cde-8f01-23456789abcd","upto":-1}',
    ):
        bench.receive("receipt", payload)
    assert bench.terminal.spooled == 1
    bench.receipt(upto=9, missing=[[0, 2**62]])
    assert bench.terminal.spooled == 1


def test_a_full_spool_drops_its_oldest_and_birth_tells() -> None:
    bench = Workbench(spool_capacity=8)
    for _ in range(12):
        bench.live(minutes=15)
    bench.connect()
    spool = bench.of("birth")[0].spool
    assert (spool.first, spool.last) == (5, 12)


def test_a_long_backlog_goes_out_in_windows(bench: Workbench) -> None:
    bench.lose()
    for _ in range(600):
        bench.live(minutes=15)
    bench.clear()
    bench.connect()
    assert len(numbers(bench)) == 256
    newest = max(seq for _, seq in numbers(bench))
    bench.receipt(upto=newest, missing=[[1, newest - 200]])
    assert len(numbers(bench)) == 456


def test_at_a_huge_factor_one_report_a_step_covers_all_that_fell_due() -> None:
    bench = Workbench(factor=20_000)
    bench.connect()
    bench.clear()
    bench.live(10)
    assert len(bench.of("report")) == 1


def files(directory: Path) -> FileMemory:
    return FileMemory(directory, terminal_id="SH-0001")


def test_a_torn_journal_line_is_dropped_and_the_spool_goes_on(tmp_path: Path) -> None:
    bench = Workbench(memory=files(tmp_path))
    for _ in range(3):
        bench.live(minutes=15)
    bench.terminal.memory.close()
    journal = tmp_path / "SH-0001.spool"
    journal.write_bytes(journal.read_bytes()[:-40])
    again = Workbench(memory=files(tmp_path))
    assert again.terminal.spooled == 2
    again.connect()
    again.hear(again.terminal.report(bench.now))
    assert again.of("report")[-1].seq == 3
    again.terminal.memory.close()


def test_what_receipts_cover_is_written_down_where_that_is_wanted(tmp_path: Path) -> None:
    bench = Workbench(memory=FileMemory(tmp_path, terminal_id="SH-0001", keep_receipted=True))
    bench.connect()
    for _ in range(4):
        bench.live(minutes=15)
    bench.receipt(upto=3, missing=[[2, 2]])
    bench.receipt(upto=3, missing=[[2, 2]])
    bench.receipt(upto=4)
    bench.terminal.memory.close()
    written = [json.loads(line) for line in (tmp_path / "SH-0001.receipted").read_text().splitlines()]
    assert [line["receipted"] for line in written] == [[1, 3], [2, 4]]
    assert {line["spool_id"] for line in written} == {str(bench.spool_id)}


def test_lost_memory_makes_a_new_spool(tmp_path: Path) -> None:
    first = Workbench(memory=files(tmp_path / "one"))
    second = Workbench(memory=files(tmp_path / "two"))
    for bench in (first, second):
        bench.connect()
        bench.terminal.memory.close()
    assert first.spool_id != second.spool_id


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(1, 200_000)),
        st.tuples(st.just("credit"), st.integers(-(10**7), 10**9)),
        st.tuples(st.just("trip"), st.integers(1, 2)),
        st.tuples(st.just("close"), st.integers(1, 2)),
        st.tuples(st.just("receipt"), st.integers(0, 40)),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("power"), st.integers(0, 10_000)),
        st.tuples(st.just("local"), st.just(0)),
    ),
    max_size=12,
)


def act(bench: Workbench, step: str, number: int) -> None:
    match step:
        case "live":
            bench.live(number)
        case "credit":
            bench.credit(remaining_wh=number, order_no=bench.terminal.state.order_no + 1)
        case "trip":
            bench.cut("trip", round=number)
        case "close":
            bench.do("close", round=number)
        case "local":
            bench.cut("control", enabled=True, mode="local")
        case "receipt":
            bench.receipt(upto=number)
        case "lose":
            bench.lose()
            bench.live(30)
            bench.connect()
        case "power":
            bench.terminal.power_off(bench.now)
            bench.live(number, step=False)
            bench.terminal.power_on(bench.now)
            bench.connect()


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_counters_rise_and_the_memory_holds_all(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench = Workbench(memory=files(Path(directory)))
        bench.connect()
        supplied_wh = 0
        for step, number in steps:
            act(bench, step, number)
            state = bench.terminal.state
            assert bench.terminal.supplied_wh >= supplied_wh
            supplied_wh = bench.terminal.supplied_wh
            assert state.remaining_wh == state.paid_until_wh - supplied_wh
        seen = {message.seq: message for kind, message in bench.said if kind in {"report", "event", "backfill"}}
        assert sorted(seen) == list(range(1, len(seen) + 1))
        reports = [seen[seq] for seq in sorted(seen) if hasattr(seen[seq], "supplied_wh")]
        assert all(
            earlier.supplied_wh <= later.supplied_wh and earlier.at <= later.at
            for earlier, later in pairwise(reports)
        )
        assert all(
            sum(getattr(report.meters[0].active_import_wh, rate) for rate in ("sharp", "peak", "flat", "valley"))
            == report.meters[0].active_import_wh.total
            == report.supplied_wh
            for report in reports
        )
        bench.terminal.save()
        bench.terminal.memory.close()
        again = Terminal(terminal_profile(), now=bench.now, memory=files(Path(directory)), site=bench.site)
        assert again.state == bench.terminal.state
        assert again.spooled == bench.terminal.spooled
        assert again.kept.slots == bench.terminal.kept.slots
        assert again.kept.results == bench.terminal.kept.results
        again.memory.close()


def test_a_fast_clock_counts_the_same_energy_in_one_step_as_in_many() -> None:
    one, many = Workbench(shape="two_shift"), Workbench(shape="two_shift")
    one.live(days=7)
    for _ in range(7 * 24 * 7):
        many.live(timedelta(hours=1).total_seconds() / 7)
    assert abs((one.now.at - many.now.at).total_seconds()) < 0.001
    assert abs(one.terminal.supplied_wh - many.terminal.supplied_wh) <= 1
    assert one.terminal.supplied_wh > 50_000_000
