"""What was measured: one figure each, with its bare counterpart, as a table and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value, and how it compares: ``ratio`` is the value divided by what ``against`` names."""

    value: float
    unit: str
    ratio: float | None = None
    against: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def percentile(sorted_values: list[float], percent: int) -> float:
    """Return the nearest-rank percentile: of 1 … 200, the 99th is 198."""
    rank = -(-len(sorted_values) * percent // 100)
    return sorted_values[max(rank, 1) - 1]


def as_table(figures: dict[str, Figure]) -> Table:
    table = Table(title="Wattgate, measured against bare parts on the same servers in the same run")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("ratio", justify="right")
    table.add_column("against")
    for name, figure in figures.items():
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(name, f"{figure.value:,.1f}", figure.unit, ratio, figure.against)
    return table
