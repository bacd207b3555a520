"""Alembic's entry: runs migrations on the connection or URL that it is given."""

import os

from alembic import context
from sqlalchemy import create_engine, pool

from app.models import METADATA

URL = context.config.attributes.get("url") or os.environ.get("WATTGATE_MIGRATION_URL")
if not URL:
    raise SystemExit("set WATTGATE_MIGRATION_URL to the database as its owner role, or run `wattgate migrate`")


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out the monthly partitions, which the database makes for itself."""
    return not (kind == "table" and name is not None and name.startswith("terminal_reports_"))


with create_engine(URL, poolclass=pool.NullPool).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        include_name=_ours,
        transaction_per_migration=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()
