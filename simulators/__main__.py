"""Run a fleet from a file: ``python -m simulators fleet.yaml``.

Each line on standard input is a fault in JSON, such as
``{"terminal_id": "SH-0001", "fault": "freeze", "seconds": 5}``; the members are those of `simulators.faults`. A line
with ``site_code`` types its digits at the terminal's keypad.
"""

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from simulators import faults, profile
from simulators.fleet import Fleet

_log = logging.getLogger("simulators")
_BAD_FILE = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulators", description="Run simulated terminals.")
    parser.add_argument("fleet_file", type=Path, help="YAML or JSON; see simulators/profile.py")
    parser.add_argument("--quiet", action="store_true", help="tell warnings only")
    chosen = parser.parse_args()
    return run(chosen.fleet_file, quiet=chosen.quiet)


def run(fleet_file: Path, *, quiet: bool) -> int:
    """Run the fleet of a file until SIGTERM or SIGINT; returns the exit status."""
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        stream=sys.stdout,
    )
    try:
        fleet = Fleet(profile.load(fleet_file))
    except (profile.ProfileError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return _BAD_FILE
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with fleet:
        _log.info("%d terminals started", len(fleet.profile.terminals))
        threading.Thread(target=obey, args=(fleet, sys.stdin), daemon=True).start()
        ended.wait()
    _log.info("stopped")
    return 0


def obey(fleet: Fleet, lines: Iterable[str]) -> None:
    """Let terminals suffer the fault of each line, or type its site code; what cannot be read is told and skipped."""
    for line in lines:
        try:
            members = json.loads(line)
            terminal_id = members.pop("terminal_id")
            if "site_code" in members:
                fleet.type_code(terminal_id, str(members["site_code"]))
            else:
                fleet.do(terminal_id, faults.parse(members))
        except (ValidationError, ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
            _log.warning("not understood: %s (%s)", line.strip()[:200], error)


if __name__ == "__main__":
    sys.exit(main())
