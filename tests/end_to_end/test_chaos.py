"""The short form of chaos: every part dies at least once, and nothing is lost, doubled or wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_WITHIN_S = 240


@pytest.mark.takes(seconds=45)
@pytest.mark.no_cover
def test_what_is_killed_at_random_loses_and_doubles_nothing(short_folder: Path, tmp_path: Path) -> None:
    found = chaos("--seconds", "15", "--kills", "6", "--terminals", "5", folder=short_folder, out=tmp_path)
    assert found["kills"] >= 6
    assert all(part["kills"] for part in found["parts"].values())
    assert 0 < found["sales_acknowledged"] == found["sales_asked"] == found["purchases_in_the_books"]
    assert 0 < found["reports_and_events_receipted"] <= found["reports_and_events_stored"]


def chaos(*how: str, folder: Path, out: Path) -> dict[str, Any]:
    """Run it as its user does; it ends well and leaves no process behind."""
    place, figures = folder / "chaos", out / "chaos.json"
    program = [sys.executable, "-m", "app.cli", "chaos", *how, "--seed", "1"]
    done = subprocess.run(
        [*program, "--folder", str(place), "--out", str(figures)],
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(figures.read_text())
    assert found["faults"] == {}
    left = [each for each in Path("/proc").glob("[0-9]*/cmdline") if str(place).encode() in command_line(each)]
    assert left == []
    return found


def command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
