"""The bench's thousands in small: raw terminals get a credit each, go away, come back, and every figure is there."""

from pathlib import Path

import pytest

from app.bench import commands
from app.bench.ground import Ground

_TERMINALS = 20


@pytest.mark.takes(seconds=15)
def test_commands_are_measured_against_the_broker_alone(short_folder: Path) -> None:
    told: list[str] = []
    with Ground(short_folder / "bench", customers=_TERMINALS) as ground:
        figures = commands.measure(ground, short=True, tell=told.append)
        verified = ground.scalar("SELECT count(*) FROM commands WHERE verified_at IS NOT NULL")
        received = ground.scalar("SELECT count(*) FROM command_steps WHERE step = 'received'")
    assert list(figures) == ["commands_to_executed_per_s", "commands_to_verified_per_s", "restore_5000"]
    assert all(figure.value > 0 and figure.ratio is not None and figure.ratio > 0 for figure in figures.values())
    assert figures["commands_to_verified_per_s"].value <= figures["commands_to_executed_per_s"].value
    assert verified >= 2 * _TERMINALS
    assert received >= 2 * _TERMINALS
    assert len(told) == 5
