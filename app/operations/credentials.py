"""Credentials of terminals, renewed and revoked where the broker's list is written."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, TypeVar

import typer
from sqlalchemy.orm import Session

from app.settings import Settings

Done = TypeVar("Done")

Terminal = Annotated[str, typer.Argument(help="id of the terminal", metavar="TERMINAL")]


def register(command_line: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (renew_credential, revoke_credential):
        command_line.command()(command)


def renew_credential(terminal: Terminal) -> None:
    """Give a terminal a new credential, shown once; write the broker's list anew then."""
    from app.terminals.service import renew_credential as renew

    credential = _do(lambda session, now: renew(session, terminal, now=now))
    typer.echo(credential)
    typer.echo("Write it into the terminal, and the broker's list anew: wattgate broker-users.", err=True)


def revoke_credential(
    terminal: Terminal, reason: Annotated[str, typer.Option(help="why, for the record")] = "asked for by command"
) -> None:
    """Let nobody sign in as a terminal any more; write the broker's list anew then."""
    from app.terminals.service import revoke_credential as revoke

    _do(lambda session, now: revoke(session, terminal, because=reason, now=now))
    typer.echo(f"{terminal} is revoked; write the broker's list anew: wattgate broker-users.")


def _do(work: Callable[[Session, datetime], Done]) -> Done:
    from app import models  # noqa: F401 - foreign keys by name need every table known
    from app.audit.console import typist
    from app.database import connect, transaction_of
    from app.errors import DomainError

    settings = Settings()
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    try:
        with transaction_of(engine, typist()) as session:
            return work(session, settings.clock.now())
    except DomainError as refusal:
        typer.echo(f"{refusal.detail} {refusal.remedy}", err=True)
        raise typer.Exit(1) from refusal
    finally:
        engine.dispose()
