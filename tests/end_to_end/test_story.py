"""The story and the demonstration as a person starts them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from app.embedded.ports import free_port

_STORY_WITHIN_S = 180
_READY_WITHIN_S = 90.0


@pytest.mark.takes(seconds=60)
def test_the_story_comes_true() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "app.cli", "story"],
        capture_output=True,
        text=True,
        timeout=_STORY_WITHIN_S,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    for step in (
        "credit verified",
        "notice served",
        "limit verified",
        "round 3 tripped",
        "restored",
        "tripped alone",
    ):
        assert step in told.stdout


def demonstration(folder: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "app.cli", "demo", "--folder", str(folder), "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_ready(running: subprocess.Popen[str], port: int) -> str:
    """Return the cashier's token once the demonstration answers."""
    until = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until and running.poll() is None:
        try:
            form = {"username": "cashier", "password": "wattgate-demo"}
            signed_in = httpx.post(f"http://127.0.0.1:{port}/api/v1/auth/token", data=form, timeout=5)
            if signed_in.is_success:
                return str(signed_in.json()["access_token"])
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the demonstration is not ready: {running.stdout.read() if running.poll() else ''}")  # type: ignore[union-attr]


@pytest.mark.takes(seconds=30)
@pytest.mark.no_cover
def test_a_second_start_of_the_demonstration_continues_where_the_first_stopped(short_folder: Path) -> None:
    folder, port = short_folder / "demo", free_port()
    sold = None
    for start in (1, 2):
        running = demonstration(folder, port)
        try:
            token = wait_ready(running, port)
            client = httpx.Client(
                base_url=f"http://127.0.0.1:{port}/api/v1", headers={"Authorization": f"Bearer {token}"}
            )
            with client:
                if start == 1:
                    body = {"contract_no": "HT-2026-0002", "amount_yuan": "1000"}
                    sold = client.post("/purchases", json=body, headers={"Idempotency-Key": "k"}).json()
                else:
                    assert sold is not None
                    again = client.get(f"/purchases/{sold['purchase_no']}").json()
                    assert again["order_no"] == sold["order_no"]
                    later = client.get("/supply-points", params={"limit": 200}).json()
                    assert len(later["items"]) == 12
        finally:
            running.send_signal(signal.SIGINT)
            out, _ = running.communicate(timeout=60)
        assert running.returncode == 0, out
    kept = json.loads((folder / "clock.json").read_text())
    assert kept["shown_at"] > sold["booked_at"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids_of(folder))


def pids_of(folder: Path) -> list[str]:
    """Return processes whose command line names the folder."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                if str(folder) in (each / "cmdline").read_text():
                    found.append(each.name)
            except OSError:
                continue
    return found
