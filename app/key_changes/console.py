"""Typed in: a key statement is signed off line, recorded and sent, and it is shown which terminals hold it."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine

from app.audit.console import typist
from app.database import connect, in_transaction_of, reading
from app.errors import Refused
from app.key_changes import queries, service
from app.key_changes.rules import AnchorUnknown, Stated, StatementUnread
from app.mqtt.keys import (
    BadStatementError,
    KeyStatement,
    ListedKey,
    ServiceKeys,
    listed,
    public_from_file,
    read_statement,
    sign_statement,
    statement_text,
)
from app.mqtt.signing import private_key_from_file
from app.settings import Settings
from app.terminals.routes import keys_of


class KeyUnusable(Refused):
    title = "A key cannot be used"


def make_statement(*, anchor: Path, serial: int, keys: Mapping[str, Path], now: datetime) -> str:
    """Sign a statement; needs neither settings nor database.

    Raises:
        KeyUnusable: a file cannot be read or holds no Ed25519 key, a key is listed twice, or the serial is below 1.
    """
    try:
        signed_by = private_key_from_file(anchor)
        one_each = [ListedKey(kid=kid, public_key=listed(public_from_file(path))) for kid, path in keys.items()]
        at = now.replace(microsecond=0)
        text = sign_statement(KeyStatement(serial=serial, issued_at=at, keys=one_each), signed_by)
        read_statement(text, signed_by.public_key())
    except (OSError, TypeError, ValueError) as error:
        raise KeyUnusable(
            f"No statement was made: {_first_line(error)}.",
            remedy="Name the anchor's private key, a serial from 1 on, and for each key an id of letters, digits, "
            "dots, dashes and a file with an Ed25519 key (PEM), public or private.",
        ) from error
    return text


def rotate(settings: Settings, path: Path, *, console: Console) -> None:
    """Check a statement, record it, and issue its command to every terminal in service that is behind.

    Raises:
        AnchorUnknown, StatementUnread: it cannot be checked, or the anchor did not sign it.
        SerialNotHigher, LockedOut, KeyDiffers: see :func:`app.key_changes.rules.check`.
    """
    keys = keys_of(settings)
    stated = _read(path, keys)
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    try:
        own, key_id = keys.public, keys.current.key_id
        in_transaction_of(engine, typist(), service.record, stated, own=own, key_id=key_id, now=settings.clock.now())
        sent = _send(engine, stated, settings=settings, console=console)
    finally:
        engine.dispose()
    kids = ", ".join(sorted(stated.keys))
    console.print(f"Statement {stated.serial} ({kids}) is on its way to {sent:,} terminals.", markup=False)
    console.print("See with `wattgate key-holders` how many hold it.", markup=False)


def show_holders(settings: Settings, *, console: Console) -> None:
    """Print how many terminals in service hold which statement, and how far the last one has come."""
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    with reading(engine) as session:
        kept = {one.serial: one for one in queries.statements(session)}
        holdings, on_the_way = queries.holdings(session), queries.on_the_way(session)
    engine.dispose()
    table = Table("声明 statement", "密钥 keys", "终端 terminals", "据 known from")
    for one in holdings:
        known_from = "terminal" if one.has_told else "registration"
        names = ", ".join(sorted(kept[one.serial].keys)) if one.serial in kept else "as pinned"
        table.add_row("?" if one.serial is None else str(one.serial), names, f"{one.terminals:,}", known_from)
    console.print(table)
    if on_the_way:
        console.print("Not told yet: " + ", ".join(f"{count:,} {state}" for state, count in on_the_way.items()))


def _read(path: Path, keys: ServiceKeys) -> Stated:
    if keys.anchor is None:
        raise AnchorUnknown
    try:
        text = statement_text(path)
        statement = read_statement(text, keys.anchor)
    except (BadStatementError, OSError, ValueError) as error:
        raise StatementUnread(because=_first_line(error)) from error
    return Stated(
        serial=statement.serial,
        issued_at=statement.issued_at,
        keys={one.kid: one.public_key for one in statement.keys},
        text=text,
    )


def _send(engine: Engine, stated: Stated, *, settings: Settings, console: Console) -> int:
    with reading(engine) as session:
        terminal_ids = queries.behind(session, serial=stated.serial)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("terminals", total=len(terminal_ids))
        for first in range(0, len(terminal_ids), service.BATCH):
            batch, now = terminal_ids[first : first + service.BATCH], settings.clock.now()
            in_transaction_of(engine, typist(), service.send, stated, batch, clock=settings.clock, now=now)
            progress.advance(task, len(batch))
    return len(terminal_ids)


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error).partition("\n")[0]
