"""The database that a test has to itself."""

from dataclasses import dataclass

from sqlalchemy import Engine


@dataclass(frozen=True, kw_only=True)
class Database:
    """A migrated, otherwise empty database; ``engine`` works as the application role."""

    name: str
    superuser_url: str
    owner_url: str
    application_url: str
    engine: Engine
