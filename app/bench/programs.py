"""Child programs of the bench: told their task in a file and when to begin on standard input; they answer in JSON."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from app.clock import monotonic_s, sleep
from app.embedded.children import Child

_POLL_S = 0.02
_STOP_WITHIN_S = 20.0


class BenchFailed(RuntimeError):
    """Something that is measured did not happen, so there is no figure."""


class Program:
    """One module of this package in a process of its own, so that it does not take our time from what is measured."""

    def __init__(self, module: str, task: Mapping[str, Any], *, folder: Path) -> None:
        path = folder / f"{module}.task.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(task))
        log = folder / f"{module}.log"
        log.unlink(missing_ok=True)
        self._module = module
        self._answers = 0
        self._child = Child([sys.executable, "-m", f"app.bench.{module}", str(path)], log=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop(within_s=_STOP_WITHIN_S)

    def wait_ready(self, *, within_s: float) -> None:
        self.result(within_s=within_s)

    def begin(self) -> None:
        self._child.tell("begin")

    def ask(self, order: str, *, within_s: float) -> dict[str, Any]:
        """Tell a program that takes orders one of them, and wait for its answer; raises as :meth:`result` does."""
        self._child.tell(order)
        return self.result(within_s=within_s)

    def result(self, *, within_s: float) -> dict[str, Any]:
        """Wait for the program's next answer.

        Raises:
            BenchFailed: it ended without an answer, or took too long.
        """
        number = self._answers = self._answers + 1
        deadline_s = monotonic_s() + within_s
        while True:
            ended = self._child.ended
            lines = self._child.log_tail(1_000_000).split("\n")[:-1]
            answers = [line for line in lines if line.startswith("{")]
            if len(answers) >= number:
                found: dict[str, Any] = json.loads(answers[number - 1])
                return found
            if ended or monotonic_s() > deadline_s:
                why = "ended" if ended else f"did not answer in {within_s:.0f} s"
                raise BenchFailed(f"{self._module} {why}; it says:\n{self._child.log_tail()}")
            sleep(_POLL_S)


def read_task() -> dict[str, Any]:
    """Read the task that this process was started with."""
    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return task


def wait_begin() -> None:
    """Say that all is prepared, and wait for the word to begin."""
    answer(ready=True)
    sys.stdin.readline()


def answer(**found: Any) -> None:
    """Write one answer for the process that started this one."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
