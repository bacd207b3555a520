"""The short form of chaos: every part dies at least once, and nothing is lost, doubled or wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_WITHIN_S = 240


@pytest.mark.takes(seconds=45)
def test_what_is_killed_at_random_loses_and_doubles_nothing(short_folder: Path, tmp_path: Path) -> None:
    folder, out = short_folder / "chaos", tmp_path / "chaos.json"
    program = [sys.executable, "-m", "app.cli", "chaos", "--seconds", "15", "--kills", "6", "--terminals", "5"]
    done = subprocess.run(
        [*program, "--seed", "1", "--folder", str(folder), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["faults"] == {}
    assert found["kills"] >= 6
    assert all(part["kills"] for part in found["parts"].values())
    assert 0 < found["sales_acknowledged"] == found["sales_asked"] == found["purchases_in_the_books"]
    assert 0 < found["reports_and_events_receipted"] <= found["reports_and_events_stored"]
    left = [each for each in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in command_line(each)]
    assert left == []


def command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
