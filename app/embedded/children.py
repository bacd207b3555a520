"""Child processes that end in order when asked, and do not outlive a parent that is killed."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Child:
    """One child process with its own log file; keeps its standard input open for orders.

    Start it in the thread that lives as long as the child should: Linux ends the child with that thread.
    """

    def __init__(self, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - programs of our own wheels and our own modules
                list(arguments),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(environment) if environment is not None else None,
                start_new_session=True,  # Ctrl-C is for the parent, which then stops this child in order
                preexec_fn=partial(_die_with_parent, parent=os.getpid()),  # noqa: PLW1509 - one system call
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The code with which it ended; None while it runs."""
        return self._process.poll()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def tell(self, line: str) -> None:
        """Write one line to the child's standard input."""
        if self._process.stdin is None:
            raise RuntimeError("the child has no standard input")
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, *, within_s: float) -> None:
        """Ask the child to end, and end it when it does not."""
        self._process.terminate()
        self._wait(within_s=within_s)

    def kill(self) -> None:
        self._process.kill()
        self._wait(within_s=5)

    def _wait(self, *, within_s: float) -> None:
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def log_tail(self, characters: int = 2000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


def _die_with_parent(*, parent: int) -> None:
    """Let the kernel end this child when its parent is killed; no more than a call, as it runs after fork."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)  # the parent was gone before the kernel was told
