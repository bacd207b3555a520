"""The database that a test has to itself."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from app.database import connect
from app.embedded.postgres import EmbeddedPostgres

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Database:
    """A migrated, otherwise empty database; ``engine`` works as the application role."""

    name: str
    superuser_url: str
    owner_url: str
    application_url: str
    engine: Engine


@contextmanager
def a_database(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """Copy the template, and drop the copy at the end."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name, template=template)
    engine = connect(postgres.application_url(name), pool_size=20)
    yield Database(
        name=name,
        superuser_url=postgres.superuser_url(name),
        owner_url=postgres.owner_url(name),
        application_url=postgres.application_url(name),
        engine=engine,
    )
    engine.dispose()
    postgres.drop_database(name)
