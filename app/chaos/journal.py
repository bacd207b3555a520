"""What one till asked and was answered: each line is on the disk before the next thing happens."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ENDING = ".till"


@dataclass(kw_only=True)
class Asked:
    """One sale as its till knows it; ``answer`` is what was acknowledged, None while no final answer has come."""

    key: str
    body: str
    status: int | None = None
    answer: str | None = None
    replayed: bool = False
    tries: int = 0
    waited_s: float = 0.0

    @property
    def acknowledged(self) -> bool:
        return self.status == 201  # noqa: PLR2004 - Created


class Journal:
    """Only ever added to; a till that was killed reads what it had asked last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(mode=0o600)
        self._forget_torn_line()
        self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def ask(self, asked: Asked) -> None:
        self._keep({"key": asked.key, "body": asked.body})

    def note_answer(self, asked: Asked) -> None:
        self._keep({name: value for name, value in vars(asked).items() if name != "body"})

    def _keep(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _forget_torn_line(self) -> None:
        """Cut off a line that a kill tore: nothing was sent on it, since that waits for the whole line."""
        content = self._path.read_bytes()
        os.truncate(self._path, content.rfind(b"\n") + 1)


def read(path: Path) -> list[Asked]:
    """Return what a till asked, in its order; each with the answer if it came."""
    found: dict[str, Asked] = {}
    for line in _whole_lines(path):
        if "body" in line:
            found[line["key"]] = Asked(**line)
        else:
            vars(found[line["key"]]).update(line)
    return list(found.values())


def read_all(folder: Path) -> dict[str, list[Asked]]:
    """Return what each till asked, by its name."""
    return {path.stem: read(path) for path in sorted(folder.glob(f"*{ENDING}"))}


def waiting(folder: Path) -> int:
    """Count the tills that wait for an answer at this moment."""
    last_lines = (_last_whole_line(path) for path in folder.glob(f"*{ENDING}"))
    return sum(b'"body"' in line for line in last_lines)


def _last_whole_line(path: Path) -> bytes:
    whole, _, _ = path.read_bytes()[-4096:].rpartition(b"\n")
    return whole.rpartition(b"\n")[2]


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    whole, _, _torn = path.read_bytes().rpartition(b"\n")
    for line in whole.splitlines():
        yield json.loads(line)
