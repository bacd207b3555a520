"""Real parts for tests: one PostgreSQL and one broker for each test process, one database for each test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from databases import Database, a_database

from app.embedded.broker import EmbeddedBroker
from app.embedded.postgres import EmbeddedPostgres
from app.migrations import upgrade
from app.staff import service as staff

_TEMPLATE = "wattgate_template"
_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder with a random name is made in it
_ROOM_FOR_DATABASES_BYTES = 4 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--steps", type=int, default=2_000, help="how many steps the state machine takes at least")
    parser.addoption("--steps-seed", type=int, default=1, help="another number gives the state machine other steps")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the longest tests first, so that at the end none runs alone."""
    items.sort(key=_about_s, reverse=True)


def _about_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("takes")
    return mark.kwargs["seconds"] if mark else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Have the child processes of a test without coverage run without it too."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("no_cover"):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how often the state machine took each of its steps."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, ran in report.user_properties:
            if name == "steps":
                terminalreporter.section(f"steps of {report.nodeid.rpartition('::')[2]}")
                for rule, times in sorted(ran.items(), key=lambda item: -item[1]):
                    terminalreporter.line(f"{times:8,}  {rule}")


@pytest.fixture(scope="session", autouse=True)
def hasher_of_the_product() -> Iterator[PasswordHasher]:
    """Hash passwords at the least cost that Argon2 knows: tests hire thousands of people who do not exist."""
    kept = staff.hasher
    staff.hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    yield kept
    staff.hasher = kept


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder of a short name: the path of a Unix socket has 107 characters at most.

    It lies in memory where the machine has plenty: to copy a database of a thousand small files takes a third there.
    """
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_FOR_DATABASES_BYTES
    with tempfile.TemporaryDirectory(prefix="wattgate-", dir=_MEMORY if roomy else None) as folder:
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
