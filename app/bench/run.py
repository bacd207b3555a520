"""Runs every measure on one ground, shows progress, and prints the table."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.bench import commands, latency, memory, purchases, reports
from app.bench.figures import Figure, as_table
from app.bench.ground import Ground

_CUSTOMERS = 5000


class Measure(Protocol):
    def __call__(self, ground: Ground, *, short: bool, tell: Callable[[str], None]) -> dict[str, Figure]: ...


#: Latency goes before reports, so that these come from terminals with energy; the sales without terminals go last.
MEASURES: tuple[Measure, ...] = (
    memory.measure,
    latency.measure,
    commands.measure,
    reports.measure,
    purchases.measure,
)


def run_all(*, short: bool, console: Console, measures: tuple[Measure, ...] = MEASURES) -> dict[str, dict[str, Any]]:
    """Measure everything and print it; returns the figures by name.

    Args:
        short: a tenth of the load, to see that it runs; its figures mean little.
        console: where progress and the table go.
        measures: those to take, in this order.

    Raises:
        BenchFailed: something that was to be measured did not happen.
    """
    customers = _CUSTOMERS // (10 if short else 1)
    figures: dict[str, Figure] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="wattgate-bench-") as folder,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task(f"a utility of {customers:,} customers", total=len(measures) + 1)

        def tell(line: str) -> None:
            progress.update(task, description=line)

        with Ground(Path(folder), customers=customers) as ground:
            progress.advance(task)
            for measure in measures:
                figures |= measure(ground, short=short, tell=tell)
                progress.advance(task)
    console.print(as_table(figures))
    return {name: figure.as_json() for name, figure in figures.items()}
