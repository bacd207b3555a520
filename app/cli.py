"""The command line: run the service, look after its database, try it out."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings
from rich.console import Console

from app.chaos import commands as chaos
from app.conformance import commands as conformance
from app.logs import log_as_json
from app.operations import commands as operations
from app.operations import credentials, keys
from app.operations.startup import Check, PartMissing, broker_missing, database_missing, wait_for_parts
from app.settings import OwnerSettings, Settings

if TYPE_CHECKING:
    from app.imports.facts import Kind

command_line = typer.Typer(
    name="wattgate",
    help="Prepaid and load-control purchase of electricity for large customers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)

Folder = Annotated[Path, typer.Option(help="where all data of the demonstration lives")]


class BrokerForm(StrEnum):
    """Brokers that read a list of users."""

    MOSQUITTO = "mosquitto"
    NATS = "nats"


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def _read(kind: type[AnySettings]) -> AnySettings:
    try:
        return kind()
    except ValidationError as error:
        for found in error.errors(include_url=False):
            name = "_".join(str(part) for part in found["loc"]).upper()
            typer.echo(f"WATTGATE_{name}: {found['msg']}" if name else found["msg"], err=True)
        typer.echo("See docs/administrator.md for every setting.", err=True)
        raise typer.Exit(2) from error


def _settings() -> Settings:
    return _read(Settings)


def _wait_for_parts(settings: Settings, *checks: Check) -> None:
    try:
        wait_for_parts(settings, checks)
    except PartMissing as missing:
        typer.echo(f"Not started: {missing}.", err=True)
        raise typer.Exit(1) from missing


@command_line.command()
def serve() -> None:
    """Run the HTTP service: API, documentation, health, metrics."""
    from app.main import serve as serve_http

    log_as_json()
    settings = _settings()
    _wait_for_parts(settings, database_missing)
    serve_http(settings)


@command_line.command()
def worker() -> None:
    """Run the field process: what terminals tell, what they are told, and time passing."""
    from app.worker import run

    log_as_json()
    settings = _settings()
    _wait_for_parts(settings, database_missing, broker_missing)
    run(settings)


def _owner_url() -> str:
    url = _read(OwnerSettings).migration_url
    if url is None:
        typer.echo("Set WATTGATE_MIGRATION_URL to the database as its owner role.", err=True)
        raise typer.Exit(2)
    return url.get_secret_value()


@command_line.command()
def migrate(
    revision: Annotated[str, typer.Option(help="where to stop; the newest by default")] = "head",
    down: Annotated[bool, typer.Option("--down", help="go back to the revision instead")] = False,
) -> None:
    """Bring the database to the shape that this version needs, as its owner role."""
    from app import migrations

    url = _owner_url()
    if down:
        migrations.downgrade(url, revision=revision)
    else:
        migrations.upgrade(url, revision=revision)
    typer.echo(f"The database is at {revision}.")


@command_line.command()
def rotate_keys(
    statement: Annotated[Path, typer.Argument(help="file with the statement that the anchor has signed")],
) -> None:
    """Record a key statement and send it to every terminal in service; the same one again carries on."""
    from app import models  # noqa: F401 - foreign keys by name need every table known
    from app.errors import DomainError
    from app.key_changes.console import rotate

    try:
        rotate(_settings(), statement, console=console)
    except DomainError as refusal:
        typer.echo(f"{refusal.detail} {refusal.remedy}", err=True)
        raise typer.Exit(1) from refusal


@command_line.command()
def key_holders() -> None:
    """Show how many terminals hold which key statement, and how far the last one has come."""
    from app import models  # noqa: F401 - foreign keys by name need every table known
    from app.key_changes.console import show_holders

    show_holders(_settings(), console=console)


@command_line.command()
def begin(
    office_code: Annotated[str, typer.Option(help="code of the first office")] = "HQ",
    office_zh: Annotated[str, typer.Option(help="its name in Chinese")] = "总部",
    office_en: Annotated[str, typer.Option(help="its name in English")] = "Head office",
    sign_in_name: Annotated[str, typer.Option(help="of the first administrator")] = "admin",
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="asked for when not given")
    ] = "",
) -> None:
    """Make the first office and its administrator, who hires everybody else over the API."""
    from app import models  # noqa: F401 - foreign keys by name need every table known
    from app.audit.console import typist
    from app.database import connect, transaction_of
    from app.errors import DomainError
    from app.roles import Role
    from app.staff import service

    settings = _settings()
    new = service.NewStaffMember(
        sign_in_name=sign_in_name, name_zh="系统管理员", name_en="Administrator", password=password,
        roles=[Role.ADMINISTRATOR],
    )  # fmt: skip
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    try:
        with transaction_of(engine, typist()) as session:
            now = settings.clock.now()
            office = service.create_office(session, code=office_code, name_zh=office_zh, name_en=office_en, now=now)
            service.hire(session, new, office=office, now=now)
    except DomainError as refusal:
        typer.echo(f"{refusal.detail} {refusal.remedy}", err=True)
        raise typer.Exit(1) from refusal
    finally:
        engine.dispose()
    typer.echo(f"{sign_in_name} may sign in and hire people: POST /api/v1/staff.")


@command_line.command()
def broker_users(
    to: Annotated[Path | None, typer.Option(help="file to write over; without it the list is printed")] = None,
    form: Annotated[BrokerForm, typer.Option(help="of which broker")] = BrokerForm.MOSQUITTO,
    worker: Annotated[
        list[str] | None, typer.Option(help="user of a further worker, with the service's password; may be repeated")
    ] = None,
) -> None:
    """Write a broker's list of users: the workers, and every terminal in service with its password's hash."""
    from app import models  # noqa: F401 - foreign keys by name need every table known
    from app.terminals import console as terminals

    try:
        known = to.read_text(encoding="utf-8") if to is not None and to.exists() else ""
        made = terminals.nats_users if form is BrokerForm.NATS else terminals.broker_users
        found = made(_settings(), known=known, workers=worker or ())
        if to is None:
            typer.echo(found.lines, nl=False)
        else:
            terminals.write_list(to, found.lines)
    except terminals.NoServicePassword as missing:
        typer.echo("Set WATTGATE_BROKER_PASSWORD; without it the list would lock the service out.", err=True)
        raise typer.Exit(2) from missing
    except OSError as error:
        typer.echo(f"{to}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    if found.unknown:
        names = ", ".join(found.unknown)
        typer.echo(
            f"Not in the list, since they were registered by an earlier version: {names}. Add each with "
            "mosquitto_passwd and its credential; with --to its line is kept from then on.",
            err=True,
        )


@command_line.command()
def rights() -> None:
    """Print who may call which route, as the routes themselves say; needs no settings."""
    from app.main import document_of_rights

    typer.echo(document_of_rights(), nl=False)


@command_line.command()
def verify(
    watch: Annotated[bool, typer.Option("--watch", help="again and again, with figures for Prometheus")] = False,
    every: Annotated[int, typer.Option(min=1, help="seconds from one run to the next while watching")] = 300,
) -> None:
    """Prove the invariants of both books and of what hangs on them; names every row that breaks one."""
    settings = _settings()
    if watch:
        log_as_json()
        _wait_for_parts(settings, database_missing)
        operations.watch(settings, every_s=every)
        return
    operations.verify(settings, console=console)


@command_line.command(name="import")
def import_file(
    kind: Annotated[str, typer.Argument(help="customers, contracts, terminals or opening-balances")],
    file: Annotated[Path, typer.Argument(help="CSV or XLSX")],
    sign_in_name: Annotated[str, typer.Option("--as", help="sign-in name of the person who answers for it")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, write nothing")] = False,
    zone: Annotated[str, typer.Option(help="time zone in which dates begin")] = "Asia/Shanghai",
    credentials: Annotated[
        Path | None, typer.Option(help="new .json or .xlsx file for the credentials of terminals")
    ] = None,
) -> None:
    """Take over customers, contracts, terminals or opening balances from a file, whole or not at all."""
    from app import models  # noqa: F401 - foreign keys by name need every table known
    from app.imports.console import Order, run

    order = Order(
        kind=_kind_of_file(kind), file=file, sign_in_name=sign_in_name, zone=zone, dry_run=dry_run,
        credentials=credentials,
    )  # fmt: skip
    raise typer.Exit(run(order, settings=_settings(), console=console))


@command_line.command()
def import_template(
    kind: Annotated[str, typer.Argument(help="customers, contracts, terminals or opening-balances")],
    to: Annotated[Path, typer.Option(help="new file: .csv, .xlsx, or .md for the table of the documentation")],
) -> None:
    """Write a file with the headings that an import takes and one example line."""
    from app.errors import DomainError
    from app.imports.console import write_template

    try:
        write_template(_kind_of_file(kind), to)
    except DomainError as refusal:
        typer.echo(f"{refusal.detail} {refusal.remedy}", err=True)
        raise typer.Exit(2) from refusal
    except OSError as error:
        typer.echo(f"{to}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"The template is {to}.")


def _kind_of_file(word: str) -> "Kind":
    from app.imports.facts import Kind

    try:
        return Kind(word)
    except ValueError as error:
        typer.echo(f"{word!r} cannot be imported; {', '.join(Kind)} can.", err=True)
        raise typer.Exit(2) from error


@command_line.command()
def retention(
    keep_months: Annotated[int, typer.Option(min=2, help="how many months of reports stay, with this one")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and change nothing")] = False,
) -> None:
    """Let go of reports older than so many months, whole months at a time, as the database's owner role."""
    operations.retain(_owner_url(), keep_months=keep_months, dry_run=dry_run)


@command_line.command()
def audit_heads(
    check: Annotated[bool, typer.Option("--check", help="compare what was exported with the record instead")] = False,
) -> None:
    """Add where each chain of the audit record ends to the heads file, as the worker does once a day."""
    from app.audit import heads, queries
    from app.database import connect, reading

    settings = _settings()
    path = settings.audit_heads_file
    if path is None:
        typer.echo("Set WATTGATE_AUDIT_HEADS_FILE to a file outside the database.", err=True)
        raise typer.Exit(2)
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    with reading(engine) as session:
        if not check:
            heads.export(path, queries.heads(session), now=settings.clock.now())
        exported = heads.read(path)
        missing = queries.not_in_the_record(session, exported)
    engine.dispose()
    for head in missing:
        typer.echo(f"office {head.office}, event {head.seq}: the record no longer has the hash {head.hash.hex()}")
    if missing:
        typer.echo(f"The record was rewritten: {len(missing)} exported heads are not in it.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{len(exported)} heads in {path}; the record has them all.")


@command_line.command()
def simulate(
    fleet_file: Annotated[Path, typer.Argument(help="YAML or JSON that describes the terminals")],
    quiet: Annotated[bool, typer.Option("--quiet", help="tell warnings only")] = False,
) -> None:
    """Run simulated terminals against a broker until Ctrl-C."""
    from simulators.__main__ import run as run_fleet

    raise typer.Exit(run_fleet(fleet_file, quiet=quiet))


@command_line.command()
def demo(
    folder: Folder = Path("data/demo"),
    port: Annotated[int, typer.Option(help="port of the HTTP service")] = 8000,
    speed: Annotated[
        int, typer.Option(min=1, max=20_000, help="how many times faster than life the clock runs")
    ] = 600,
) -> None:
    """Run a small utility with twelve customers on this machine until Ctrl-C; a second start continues."""
    from app.demo.showroom import show

    raise typer.Exit(show(folder, port=port, speed=speed, console=console))


@command_line.command()
def story(
    folder: Annotated[Path | None, typer.Option(help="keep the data there; a temporary folder by default")] = None,
) -> None:
    """Live through the whole story once on real parts, and prove each step."""
    from app.demo.story import tell_story

    raise typer.Exit(tell_story(folder, console=console))


@command_line.command()
def bench(
    out: Annotated[Path, typer.Option(help="where the figures go, as JSON")] = Path("build/bench.json"),
    short: Annotated[bool, typer.Option("--short", help="a tenth of the load, to see that it runs")] = False,
) -> None:
    """Measure throughput and latency, as ratios to bare parts in the same run."""
    from app.bench.run import run_all

    figures = run_all(short=short, console=console)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")
    typer.echo(f"The figures are in {out}.")


operations.register(command_line)
keys.register(command_line)
credentials.register(command_line)
conformance.register(command_line)
chaos.register(command_line)


def main() -> None:
    command_line()


if __name__ == "__main__":
    main()
