"""A Mosquitto for each test process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mosquitto import Mosquitto


@pytest.fixture(scope="session")
def mosquitto(short_folder: Path) -> Iterator[Mosquitto]:
    with Mosquitto(short_folder / "mosquitto") as started:
        yield started
