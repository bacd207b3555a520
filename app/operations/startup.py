"""A process waits for its parts: it says what it waits for, and ends with what would be right."""

import socket
from collections.abc import Callable, Sequence

import psycopg
import structlog
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from app import migrations
from app.clock import monotonic_s, sleep
from app.database import sqlstate
from app.settings import Settings

log = structlog.get_logger()

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_ANSWERS_WITHIN_S = 3

#: Says what is missing and what would be right; None when the part is there.
Check = Callable[[Settings], str | None]


class PartMissing(Exception):
    """A part that the process cannot do without did not come in time."""


def wait_for_parts(settings: Settings, checks: Sequence[Check]) -> None:
    """Return when every part is there; look again after growing pauses for as long as the settings say.

    Raises:
        PartMissing: with what was missing at the last look, and what would be right.
    """
    until_s = monotonic_s() + settings.startup_wait_s
    pause_s = _FIRST_PAUSE_S
    waited = False
    while (missing := _first_missing(settings, checks)) is not None:
        left_s = until_s - monotonic_s()
        if left_s <= 0:
            raise PartMissing(missing)
        log.warning("waiting for a part", missing=missing, gives_up_in_s=round(left_s))
        waited = True
        sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    if waited:
        log.info("every part is there")


def _first_missing(settings: Settings, checks: Sequence[Check]) -> str | None:
    return next((missing for check in checks if (missing := check(settings)) is not None), None)


def database_missing(settings: Settings) -> str | None:
    """Check that the database answers and has exactly the tables of this version."""
    engine = create_engine(
        settings.database_url.get_secret_value(),
        poolclass=NullPool,
        connect_args={"connect_timeout": _ANSWERS_WITHIN_S, "options": f"-c statement_timeout={_ANSWERS_WITHIN_S}s"},
    )
    try:
        with engine.connect() as connection:
            found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except OperationalError as error:
        return f"the database does not answer ({_first_line(error.orig)}): start it, or correct WATTGATE_DATABASE_URL"
    except ProgrammingError as error:
        if sqlstate(error) == psycopg.errors.InsufficientPrivilege.sqlstate:
            return "this role may not read the database: name the application role in WATTGATE_DATABASE_URL"
        return "the database was never migrated: run `wattgate migrate`"
    return _unfit(found)


def _unfit(found: str | None) -> str | None:
    known = [script.revision for script in ScriptDirectory(str(migrations.SCRIPTS)).walk_revisions()]
    if found == known[0]:
        return None
    if found is None:
        return "the database was taken back to nothing: run `wattgate migrate`"
    if found in known:
        return f"the database is at migration {found}, this version needs {known[0]}: run `wattgate migrate`"
    return (
        f"the database is at migration {found}, which this version (up to {known[0]}) does not know: "
        "start the newer version that migrated it"
    )


def broker_missing(settings: Settings) -> str | None:
    """Check that something listens where a broker should."""
    missing = []
    for host, port in settings.brokers:
        try:
            socket.create_connection((host, port), timeout=_ANSWERS_WITHIN_S).close()
        except OSError as error:
            missing.append(f"{host}:{port} ({error.strerror or error})")
        else:
            return None
    return f"no broker at {', '.join(missing)}: start it, or correct WATTGATE_BROKER_HOST and WATTGATE_BROKER_PORT"


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return lines[0]
