"""The parts of a simulator that are pure or nearly so: shapes, counting, faults, profiles, clock."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simulators import faults, profile
from simulators.__main__ import obey
from simulators.admission import Door
from simulators.device_clock import ClockProfile
from simulators.faults import FaultyWire, Freeze, LinkFaults
from simulators.fleet import Fleet
from simulators.load_shapes import BLOCK_S, Shape, load_permille, next_block_at
from simulators.memory import Metered
from simulators.metering import Meter, reactive_ppm
from simulators.workbench import STARTS_AT, terminal_profile

MOMENTS = st.integers(0, 631_152_000_000).map(
    lambda elapsed_ms: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=elapsed_ms)
)


@given(shape=st.sampled_from(list(Shape)), at=MOMENTS, seed=st.integers(0, 10**6))
def test_a_load_is_bounded_repeatable_and_constant_within_a_block(shape: Shape, at: datetime, seed: int) -> None:
    load = load_permille(shape, at=at, seed=seed)
    assert 0 < load < 1100
    assert load == load_permille(shape, at=at, seed=seed)
    last = next_block_at(at) - timedelta(microseconds=1)
    assert load == load_permille(shape, at=last, seed=seed)
    assert timedelta(0) < next_block_at(at) - at <= timedelta(seconds=BLOCK_S)


def test_shapes_know_night_and_weekend() -> None:
    monday_noon, sunday_noon = STARTS_AT + timedelta(hours=4), STARTS_AT + timedelta(days=6, hours=4)
    assert load_permille(Shape.OFFICE, at=monday_noon, seed=1) > 3 * load_permille(
        Shape.OFFICE, at=sunday_noon, seed=1
    )
    assert load_permille(Shape.NIGHT_FURNACE, at=monday_noon, seed=1) < 250


def metered() -> Metered:
    return Metered(metered_at=STARTS_AT, supplied_wh=0, sharp=0, peak=0, flat=0, valley=0, max_demand_at=STARTS_AT)


@given(st.lists(st.integers(1, 300_000_000), min_size=1, max_size=30))
def test_no_energy_is_lost_between_steps(spans_us: list[int]) -> None:
    counters = metered()
    meter = Meter(counters, meter_no="M", rate_hours="f" * 24, power_factor_percent=92)
    for span_us in spans_us:
        meter.count(777_777, until=counters.metered_at + timedelta(microseconds=span_us))
    assert counters.supplied_wh == 777_777 * sum(spans_us) // 3_600_000_000
    assert counters.flat == counters.supplied_wh


def test_demand_is_that_of_full_quarters_and_of_the_month() -> None:
    counters = metered()
    meter = Meter(counters, meter_no="M", rate_hours=profile.RATE_HOURS, power_factor_percent=100)
    meter.count(400_000, until=STARTS_AT + timedelta(minutes=5))
    meter.count(100_000, until=STARTS_AT + timedelta(minutes=15))
    assert counters.max_demand_w == 200_000
    assert counters.max_demand_at == STARTS_AT + timedelta(minutes=15)
    assert counters.reactive_varh == 0


def test_reactive_energy_follows_the_power_factor() -> None:
    assert reactive_ppm(100) == 0
    assert reactive_ppm(80) == 750_000


@pytest.mark.parametrize(
    ("spoiled", "arrived"),
    [
        (LinkFaults(drop_percent=100), []),
        (LinkFaults(duplicate_percent=100), [1, 1, 2, 2]),
        (LinkFaults(), [1, 2]),
        (LinkFaults(delay_s=1), []),
    ],
)
def test_a_faulty_line_loses_and_doubles(spoiled: LinkFaults, arrived: list[int]) -> None:
    wire: FaultyWire[int] = FaultyWire(spoiled, seed=1)
    wire.put(1, now_s=0)
    wire.put(2, now_s=0)
    assert wire.take(0.5) == arrived
    assert wire.due_s() == (1 if spoiled.delay_s else float("inf"))


def test_a_faulty_line_lets_frames_overtake_but_loses_none() -> None:
    wire: FaultyWire[int] = FaultyWire(LinkFaults(reorder_percent=50), seed=3)
    for number in range(20):
        wire.put(number, now_s=number / 100)
    arrived = wire.take(10)
    assert arrived != sorted(arrived)
    assert sorted(arrived) == list(range(20))


def test_a_door_lets_in_as_many_as_have_places_and_calls_the_others_in_order() -> None:
    door: Door[str] = Door(places=2)
    assert [door.enter(guest) for guest in ("a", "b", "c", "d", "e", "a")] == [True, True, False, False, False, True]
    assert door.called() is None
    door.leave("c")
    door.leave("a")
    assert (door.called(), door.called()) == ("d", None)
    door.leave("b")
    door.leave("b")
    assert (door.called(), door.called()) == ("e", None)


def test_faults_are_read_by_name() -> None:
    assert faults.parse({"fault": "freeze", "seconds": 5}) == Freeze(seconds=5)
    with pytest.raises(ValidationError):
        faults.parse({"fault": "sing"})


def test_lines_that_are_no_faults_are_told_and_skipped(caplog: pytest.LogCaptureFixture) -> None:
    fleet = create_autospec(Fleet, instance=True)
    wrong = ["", "[]", "{}", "nonsense", '{"terminal_id":"SH-0001","fault":"sing"}']
    obey(fleet, [*wrong, '{"terminal_id":"SH-0001","fault":"freeze","seconds":2}'])
    assert len(caplog.records) == len(wrong)
    fleet.do.assert_called_once_with("SH-0001", Freeze(seconds=2))


def test_a_clock_runs_by_its_factor() -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    clock = ClockProfile(factor=3600, started_at=started, shown_at=STARTS_AT)
    assert clock.shown(started + timedelta(seconds=2)) == STARTS_AT + timedelta(hours=2)


def test_a_fleet_file_is_read_from_yaml_and_json(tmp_path: Path) -> None:
    content = {"broker": {"port": 1884}, "terminals": [terminal_profile().model_dump(mode="json")]}
    for name in ("fleet.json", "fleet.yaml"):
        (tmp_path / name).write_text(json.dumps(content))
        fleet = profile.load(tmp_path / name)
        assert (fleet.broker.port, fleet.terminals[0]) == (1884, terminal_profile())


@pytest.mark.parametrize(
    ("terminal", "told"),
    [
        ({"rated_power_w": 1.5}, "terminals.0.rated_power_w"),
        ({"shape": "round"}, "terminals.0.shape"),
        ({"watts": 1}, "terminals.0.watts"),
        ({"trip_order": [7]}, "each number must be a fitted round"),
        ({"rounds": [{"round": 1, "share_percent": 80}, {"round": 2, "share_percent": 30}]}, "more than 100"),
        ({"rounds": [{"round": 1, "share_percent": 8}, {"round": 1, "share_percent": 3}]}, "named twice"),
    ],
)
def test_a_wrong_fleet_file_says_where_and_why(tmp_path: Path, terminal: dict[str, object], told: str) -> None:
    members = {**terminal_profile().model_dump(mode="json"), **terminal}
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps({"terminals": [members]}))
    with pytest.raises(profile.ProfileError, match=told):
        profile.load(path)


def test_a_file_that_is_no_yaml_or_names_a_terminal_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("{: nonsense")
    with pytest.raises(profile.ProfileError, match="not readable"):
        profile.load(path)
    path.write_text(json.dumps({"terminals": [terminal_profile().model_dump(mode="json")] * 2}))
    with pytest.raises(profile.ProfileError, match="named twice"):
        profile.load(path)


def test_many_terminals_differ_in_what_identifies_them() -> None:
    ids = [f"BENCH-{number:05}" for number in range(3)]
    terminals = profile.many(terminal_profile(), ids=ids, password=lambda name: f"pw-{name}")
    assert [terminal.terminal_id for terminal in terminals] == ids
    assert len({(terminal.password, terminal.meter_no, terminal.seed) for terminal in terminals}) == 3
