"""Keys as they are made, where they are kept: typed on a machine that need not know the service."""

from pathlib import Path
from typing import Annotated

import typer


def register(command_line: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (keygen, key_statement):
        command_line.command()(command)


def keygen(path: Annotated[Path, typer.Argument(help="file for the private key; must not exist")]) -> None:
    """Make the Ed25519 key that signs commands to terminals."""
    from app.mqtt.signing import CommandSigner, new_private_key_pem

    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        typer.echo(f"{path} exists; a key that terminals have pinned must not be overwritten.", err=True)
        raise typer.Exit(2) from None
    path.write_bytes(new_private_key_pem())
    typer.echo(f"The private key is in {path}; keep it from everybody but the service. Terminals are given:")
    typer.echo(CommandSigner.from_file(path, key_id="").public_key_pem())


def key_statement(
    anchor: Annotated[Path, typer.Option(help="file with the anchor's private key")],
    serial: Annotated[int, typer.Option(help="higher than that of every statement before")],
    key: Annotated[list[str], typer.Option(help="ID=FILE of a key that may sign, public or private; once for each")],
) -> None:
    """Sign which keys may sign commands, off line where the anchor lies; prints the statement, needs no settings."""
    from app.clock import Clock
    from app.errors import DomainError
    from app.key_changes.console import make_statement

    named = dict(one.partition("=")[::2] for one in key)
    if len(named) < len(key):
        typer.echo("No statement was made: a key id is given twice.", err=True)
        raise typer.Exit(2)
    try:
        keys = {key_id: Path(path) for key_id, path in named.items()}
        typer.echo(make_statement(anchor=anchor, serial=serial, keys=keys, now=Clock().now()))
    except DomainError as refusal:
        typer.echo(f"{refusal.detail} {refusal.remedy}", err=True)
        raise typer.Exit(2) from refusal
