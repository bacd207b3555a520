"""The commands of operations, as they are typed."""

import os
import signal
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.clock import Clock
from app.operations.programs import NotPossible
from app.operations.startup import database_missing
from app.settings import BackupSettings, Settings

Logs = Annotated[Path | None, typer.Option(help="archive of logs; `logs` beside the backups by default")]


def register(command_line: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (backup, restore):
        command_line.command()(command)


def backup(
    to: Annotated[Path, typer.Option(help="folder of the backups, best on another machine")],
    keep: Annotated[int, typer.Option(min=1, help="how many backups stay")] = 7,
    logs: Logs = None,
) -> None:
    """Copy the whole server while it works, check the copy, and let go of the oldest."""
    from app.operations.backup import LOGS, take

    settings = BackupSettings()
    if settings.backup_url is None:
        typer.echo("Set WATTGATE_BACKUP_URL to the server as a role with REPLICATION.", err=True)
        raise typer.Exit(2)
    try:
        made = take(
            to,
            connection=settings.backup_url.get_secret_value(),
            keep=keep,
            logs=logs or to / LOGS,
            bin_folder=settings.postgres_bin,
            tell=typer.echo,
        )
    except NotPossible as refusal:
        raise _ended(refusal) from refusal
    typer.echo(
        f"{made.name}: {made.files} files, {made.size_bytes / 1e6:,.1f} MB, in {made.seconds:.1f} s; all checked"
    )


def restore(
    source: Annotated[Path, typer.Option("--from", help="folder of the backups, or one of them")],
    to: Annotated[Path, typer.Option(help="data folder to make; missing or empty")],
    until: Annotated[
        str | None, typer.Option(help="a moment, as 2026-03-01T10:00:00+08:00; all logs without it")
    ] = None,
    logs: Logs = None,
) -> None:
    """Make a data folder from a backup and archived logs, to their end or to a moment, and say how to start it."""
    from app.operations.backup import LOGS
    from app.operations.restore import restore as make

    try:
        done = make(source, to=to, logs=logs or source / LOGS, until=_moment(until), tell=typer.echo)
    except NotPossible as refusal:
        raise _ended(refusal) from refusal
    owner = f"  chown -R postgres: {done.data}      # you are root; the server does not run as root\n" * (
        not os.geteuid()
    )
    typer.echo(
        f"Restored. Start it where nobody else can reach it, and prove it before anybody sells:\n{owner}"
        f"  pg_ctl -D {done.data} -w start          # its log says when recovery has ended\n"
        "  wattgate verify                   # with WATTGATE_DATABASE_URL naming this server\n"
        "Archiving and waiting for a standby are off in it. Before it is used for good, ALTER SYSTEM RESET\n"
        "archive_mode, synchronous_standby_names, restore_command and recovery_target_time, start it again, and\n"
        "take a backup."
    )


def verify(settings: Settings, *, console: Console) -> None:
    """Run `wattgate verify` once."""
    from app.operations.watching import patient_engine

    missing = database_missing(settings)
    if missing is not None:
        typer.echo(f"Nothing was checked: {missing}.", err=True)
        raise typer.Exit(2)
    engine = patient_engine(settings.database_url.get_secret_value())
    found = _prove_all(engine, console=console)
    engine.dispose()
    if found.broken:
        typer.echo(f"{found.broken} rows break an invariant; nothing was changed.", err=True)
    if found.unchecked:
        typer.echo(f"{found.unchecked} invariants could not be checked.", err=True)
    if found.not_reached:
        typer.echo(
            f"The database does not answer any more ({found.gone}). {len(found.not_reached)} invariants were not "
            f"reached: {', '.join(found.not_reached)}. Run it again when the database answers.",
            err=True,
        )
    if found.broken or found.unchecked or found.not_reached:
        raise typer.Exit(1 if found.broken else 2)


@dataclass(kw_only=True)
class _Found:
    """What came of asking for all invariants; ``gone`` is what was said when the database answered no more."""

    broken: int = 0
    unchecked: int = 0
    not_reached: list[str] = field(default_factory=list)
    gone: str = ""


def _prove_all(engine: Engine, *, console: Console) -> _Found:
    from app.verification import INVARIANTS, first_line, prove

    found = _Found()
    for at, invariant in enumerate(INVARIANTS):
        try:
            proof = prove(engine, invariant)
        except SQLAlchemyError as error:
            found.not_reached = [each.name for each in INVARIANTS[at:]]
            found.gone = first_line(error)
            return found
        found.broken += len(proof.broken)
        found.unchecked += proof.unchecked is not None
        verdict = "[red]broken[/red]" if proof.broken else "[green]holds [/green]"
        if proof.unchecked is not None:
            verdict = "[red]could not be checked[/red]"
        console.print(f"{verdict} {invariant.name}: {invariant.says}")
        for line in [*proof.broken, *([proof.unchecked] if proof.unchecked else [])]:
            console.print(f"         {line}", markup=False)
    return found


def watch(settings: Settings, *, every_s: int) -> None:
    """Run `wattgate verify --watch` until SIGTERM or Ctrl-C."""
    from prometheus_client import start_http_server

    from app.operations.watching import Watch, patient_engine

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if settings.verify_metrics_port:
        start_http_server(settings.verify_metrics_port, addr=settings.http_host)
    structlog.get_logger().info("the invariants are watched", every_s=every_s)
    engine = patient_engine(settings.database_url.get_secret_value())
    Watch(engine=engine, stopping=stopping).keep_watching(every_s=every_s)


def retain(owner_url: str, *, keep_months: int, dry_run: bool) -> None:
    """Run `wattgate retention`."""
    from app.operations import retention
    from app.verification import first_line

    engine = retention.owner_engine(owner_url)
    try:
        old = retention.look(engine, keep_months=keep_months, now=Clock().now())
        typer.echo(f"Reports from before {old.before:%Y-%m-%d} are old:")
        for month in old.months:
            settled = f"NOT SETTLED: {', '.join(month.unsettled[:5])}" if month.unsettled else "settled"
            typer.echo(f"  {month.table}: {month.rows} reports, {month.size_bytes} bytes, {settled}")
        typer.echo(f"  outside their month: {old.late_reports} reports; unreadable messages: {old.unreadable}")
        if dry_run:
            typer.echo("Nothing was changed.")
        else:
            retention.let_go(engine, old, tell=typer.echo)
    except NotPossible as refusal:
        raise _ended(refusal) from refusal
    except DBAPIError as error:
        remedy = "see that the database answers, and run it again in a quieter moment; months already dropped stay so"
        raise _ended(NotPossible(f"the database did not do it ({first_line(error)})", remedy=remedy)) from error
    finally:
        engine.dispose()


def _moment(written: str | None) -> datetime | None:
    if written is None:
        return None
    remedy = "write it with its zone, as 2026-03-01T10:00:00+08:00"
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise NotPossible(f"{written} is not a moment", remedy=remedy) from None
    if moment.tzinfo is None:
        raise NotPossible(f"{written} has no time zone", remedy=remedy)
    return moment


def _ended(refusal: NotPossible) -> typer.Exit:
    typer.echo(f"{refusal.detail}. What would be right: {refusal.remedy}.", err=True)
    return typer.Exit(1)
