"""Brings a database to the shape that this version needs."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


def upgrade(owner_url: str, *, revision: str = "head") -> None:
    """Run the migrations that are missing, as the owner role."""
    command.upgrade(_config(owner_url), revision)


def downgrade(owner_url: str, *, revision: str) -> None:
    """Take migrations back to a revision, as the owner role."""
    command.downgrade(_config(owner_url), revision)


@cache
def head() -> str:
    """Return the newest revision that this version knows; every script is read for it, so once in a process."""
    found = ScriptDirectory(str(SCRIPTS)).get_current_head()
    if found is None:
        raise LookupError(f"no migrations in {SCRIPTS}")
    return found


def _config(owner_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["url"] = owner_url
    return config
