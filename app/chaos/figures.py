"""What a run shows: kills and recoveries by part, figures, and the answer to each question; as tables and as JSON."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from app.chaos.journal import Asked
from app.chaos.judge import Verdict
from app.chaos.parts import FIVE_PARTS, OWN_PARTS, Death, Part


def of_deaths(deaths: list[Death], parts: Sequence[Part] = FIVE_PARTS) -> dict[str, Any]:
    """Return how often each part died, and how long it took to answer again."""
    return {
        "kills": sum(death.part in OWN_PARTS for death in deaths),
        "kills_in_the_middle_of_a_sale": sum(
            death.sales_under_way > 0 for death in deaths if death.part in OWN_PARTS
        ),
        "parts": {str(part): _of_part([death for death in deaths if death.part is part]) for part in parts},
    }


def of_waits(asked: list[Asked]) -> dict[str, Any]:
    """Return how long cashiers waited for an answer that did not come at the first try."""
    waits = [one.waited_s for one in asked if one.tries > 1]
    return {
        "sale_after_retries_p50_s": round(statistics.median(waits), 2) if waits else None,
        "sale_after_retries_max_s": round(max(waits), 2) if waits else None,
    }


def show(figures: dict[str, Any], verdict: Verdict, *, console: Console) -> None:
    """Print kills, figures and verdict."""
    kills = Table(title="Kills and recoveries")
    for column in ("part", "kills", "back after, p50", "max"):
        kills.add_column(column, justify="left" if column == "part" else "right")
    for part, of_part in figures["parts"].items():
        kills.add_row(part, str(of_part["kills"]), _seconds(of_part["back_p50_s"]), _seconds(of_part["back_max_s"]))
    console.print(kills)
    counted = Table(title="Figures")
    counted.add_column("figure")
    counted.add_column("value", justify="right")
    for name, value in figures.items():
        if not isinstance(value, dict | list | bool):
            counted.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    console.print(counted)
    asked = Table(title="Verdict")
    asked.add_column("must hold")
    asked.add_column("against it")
    for question, against in verdict.faults.items():
        asked.add_row(question, "\n".join(against) if against else "[green]nothing[/green]")
    console.print(asked)


def _of_part(deaths: list[Death]) -> dict[str, Any]:
    # The tills have no first answer to be seen.
    recoveries_s = [death.recovery_s for death in deaths if death.recovery_s is not None and death.part in OWN_PARTS]
    return {
        "kills": len(deaths),
        "back_p50_s": round(statistics.median(recoveries_s), 2) if recoveries_s else None,
        "back_max_s": round(max(recoveries_s), 2) if recoveries_s else None,
    }


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
