"""Real parts for tests: one PostgreSQL and one broker for each test process, one database for each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Database, a_database

from app.embedded.broker import EmbeddedBroker
from app.embedded.postgres import EmbeddedPostgres
from app.migrations import upgrade

_TEMPLATE = "wattgate_template"


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder of a short name: the path of a Unix socket has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="wattgate-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(short_folder: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(short_folder / "postgres", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres) -> str:
    """The name of a database that the migrations have made; tests copy it."""
    postgres.create_database(_TEMPLATE)
    upgrade(postgres.owner_url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Database]:
    with a_database(postgres, template_database) as made:
        yield made


@pytest.fixture(scope="session")
def broker(short_folder: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(short_folder / "broker") as started:
        yield started
