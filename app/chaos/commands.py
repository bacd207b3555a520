"""What is typed: `wattgate chaos`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(highlight=False, soft_wrap=True)


def register(command_line: typer.Typer) -> None:
    """Add it to the command line."""
    command_line.command()(chaos)


def chaos(
    long: Annotated[bool, typer.Option("--long", help="the longer form, with faults of every kind and cuts")] = False,
    seconds: Annotated[float | None, typer.Option(min=10, help="how long; 300, with --long 900")] = None,
    terminals: Annotated[int | None, typer.Option(min=1, help="simulated; 20, with --long 200")] = None,
    kills: Annotated[
        int | None, typer.Option(min=5, help="at least so many, or about so many faults; 50, 90")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the dice; 0 takes one at random and prints it")] = 0,
    out: Annotated[Path, typer.Option(help="where the figures go, as JSON")] = Path("build/chaos.json"),
    folder: Annotated[Path | None, typer.Option(help="keep all data there; a temporary folder by default")] = None,
) -> None:
    """Kill service, worker, database and broker again and again while they sell, and judge what is left."""
    from app.chaos.run import Run, Wish, run_as_program
    from app.chaos.storm_run import StormRun

    usual = (900, 200, 90) if long else (300, 20, 50)
    wish = Wish(seconds=seconds or usual[0], terminals=terminals or usual[1], kills=kills or usual[2], seed=seed)
    kind = StormRun if long else Run
    raise typer.Exit(run_as_program(wish, folder=folder, out=out, console=console, kind=kind))
