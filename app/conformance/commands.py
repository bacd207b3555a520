"""What is typed: `wattgate conformance` with whom it is about."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(highlight=False, soft_wrap=True)
command_line = typer.Typer(help="Try a terminal, or a service, against the public contract.", no_args_is_help=True)

Broker = Annotated[str, typer.Option(help="HOST:PORT, or USER@HOST:PORT; it speaks MQTT 3.1.1")]
PasswordFile = Annotated[Path | None, typer.Option(help="file with the password of the broker's user")]
CaFile = Annotated[Path | None, typer.Option(help="authorities that have signed the broker's certificate; then TLS")]
Terminal = Annotated[str, typer.Option(help="id of the terminal, as registered")]
KeyId = Annotated[str, typer.Option(help="key id that the terminal has pinned")]
Case = Annotated[list[str] | None, typer.Option(help="only this case: its name, or a YAML file; may be repeated")]
Report = Annotated[Path | None, typer.Option(help="also write what came of each case there, as JSON")]
Unattended = Annotated[
    bool, typer.Option("--unattended", help="ask nobody; cases that need a person are reported as not run")
]


@command_line.command()
def terminal(
    broker: Broker,
    terminal: Terminal,
    signing_key: Annotated[Path, typer.Option(help="private key in PEM whose public key the terminal has pinned")],
    key_id: KeyId = "wattgate-1",
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
    case: Case = None,
    report: Report = None,
    unattended: Unattended = False,
) -> None:
    """Play the service against one terminal: 0 all passed, 1 something failed, 2 no verdict."""
    from app.conformance.run import Wish, try_terminal

    wish = Wish(
        broker=broker, password_file=password_file, ca_file=ca_file, terminal_id=terminal, key_file=signing_key,
        key_id=key_id, names=tuple(case or ()), report=report, unattended=unattended,
    )  # fmt: skip
    raise typer.Exit(try_terminal(wish, console=console))


@command_line.command()
def service(
    broker: Broker,
    terminal: Terminal,
    public_key: Annotated[Path, typer.Option(help="public key in PEM that registration has shown")],
    key_id: KeyId = "wattgate-1",
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
    case: Case = None,
    report: Report = None,
    unattended: Unattended = False,
) -> None:
    """Play a terminal against a running service: 0 all passed, 1 something failed, 2 no verdict."""
    from app.conformance.run import Wish, try_service

    wish = Wish(
        broker=broker, password_file=password_file, ca_file=ca_file, terminal_id=terminal, key_file=public_key,
        key_id=key_id, names=tuple(case or ()), report=report, unattended=unattended,
    )  # fmt: skip
    raise typer.Exit(try_service(wish, console=console))


@command_line.command()
def simulator(
    case: Case = None,
    report: Report = None,
    defect: Annotated[str | None, typer.Option(help="plant this defect, to see the cases fail")] = None,
) -> None:
    """Play the cases against simulated terminals on a broker of their own, in seconds."""
    from app.conformance.run import Wish, try_simulator

    raise typer.Exit(try_simulator(Wish(names=tuple(case or ()), report=report), defect=defect, console=console))


@command_line.command(name="list")
def show_list() -> None:
    """Print all cases: what each proves, and where the contract says so."""
    from app.conformance.run import show_list as show

    show(console=Console(highlight=False))


def register(parent: typer.Typer) -> None:
    parent.add_typer(command_line, name="conformance")
