"""Base backups: taken with PostgreSQL's own program, checked file by file, kept by number, found again by time."""

import fcntl
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from app.clock import Clock, monotonic_s
from app.operations.checking import check_files, sync
from app.operations.programs import NotPossible, program, run

Tell = Callable[[str], None]

LOGS = "logs"
_DATA = "data"
_WRITTEN = "backup.json"
_UNFINISHED = "unfinished-"
_LOG_NAME = re.compile(r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?")


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What is written down beside a backup."""

    name: str
    began_at: datetime
    ended_at: datetime
    seconds: float
    size_bytes: int
    files: int
    first_log: str
    manifest_sha256: str
    server_version: str
    wattgate_version: str


def take(to: Path, *, connection: str, keep: int, logs: Path, bin_folder: Path | None, tell: Tell) -> Backup:
    """Take a backup, check it, and only then let go of those beyond the newest ``keep`` and of logs none needs.

    Args:
        to: holds one folder for each backup.
        connection: of a role with REPLICATION, in libpq's form.
        keep: how many backups stay.
        logs: the archive of logs; those older than the oldest backup that stays are removed.
        bin_folder: of PostgreSQL's programs; None looks for them.
        tell: is told each step.

    Raises:
        NotPossible: another backup is running, or one of PostgreSQL's programs is missing or failed.
    """
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(to):
        for left_over in to.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_over)
        began_at, started_s = Clock().now(), monotonic_s()
        name = f"{began_at:%Y%m%dT%H%M%SZ}"
        draft = to / f"{_UNFINISHED}{name}"
        draft.mkdir(mode=0o700)
        tell(f"copying the server into {to / name}")
        _copy(draft / _DATA, connection=connection, bin_folder=bin_folder)
        tell("checking every file against its checksum")
        found = check_files(draft / _DATA)
        made = Backup(
            name=name,
            began_at=began_at,
            ended_at=Clock().now(),
            seconds=round(monotonic_s() - started_s, 3),
            size_bytes=found.size_bytes,
            files=found.files,
            first_log=_first_log(draft / _DATA),
            manifest_sha256=found.manifest_sha256,
            server_version=(draft / _DATA / "PG_VERSION").read_text().strip(),
            wattgate_version=version("wattgate"),
        )
        (draft / _WRITTEN).write_text(json.dumps(asdict(made), default=datetime.isoformat, indent=2) + "\n")
        sync(draft / _WRITTEN)
        draft.rename(to / name)
        sync(to)
        _let_go(to, keep=keep, logs=logs, tell=tell)
    return made


def _copy(data: Path, *, connection: str, bin_folder: Path | None) -> None:
    pg_basebackup = program("pg_basebackup", folder=bin_folder)
    run(
        [
            pg_basebackup,
            f"--pgdata={data}",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--manifest-checksums=SHA256",
            "--progress",
        ],
        connection=connection,
    )


def _first_log(data: Path) -> str:
    label = (data / "backup_label").read_text(encoding="utf-8")
    found = re.search(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$", label, flags=re.MULTILINE)
    if found is None:
        raise NotPossible(
            "the backup does not say where its logs begin", remedy="take it from PostgreSQL 15 or later"
        )
    return found[1]


def kept(folder: Path) -> list[Backup]:
    """Return the whole backups of a folder, oldest first."""
    return [_read(path) for path in sorted(folder.glob(f"*/{_WRITTEN}")) if not path.parent.name.startswith("unfin")]


def data_of(folder: Path, backup: Backup) -> Path:
    return folder / backup.name / _DATA


def _read(path: Path) -> Backup:
    written = json.loads(path.read_text(encoding="utf-8"))
    for moment in ("began_at", "ended_at"):
        written[moment] = datetime.fromisoformat(written[moment])
    return Backup(**written | {"name": path.parent.name})


def _let_go(to: Path, *, keep: int, logs: Path, tell: Tell) -> None:
    backups = kept(to)
    for old in backups[:-keep]:
        tell(f"removing {old.name}, since {keep} newer ones are kept")
        # Without its description it is no backup any more, however far the removal comes.
        (to / old.name / _WRITTEN).unlink()
        shutil.rmtree(to / old.name)
    oldest = min(_place(backup.first_log) for backup in backups[-keep:])
    outdated = [path for path in logs.glob("*") if _LOG_NAME.fullmatch(path.name) and _place(path.name) < oldest]
    for path in outdated:
        path.unlink()
    if outdated:
        tell(f"removed {len(outdated)} logs from before the oldest backup")


def _place(log_name: str) -> str:
    """Return a log's place among all; the first eight characters are the timeline, which a restore begins anew."""
    return log_name[8:24]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotPossible(f"another backup into {folder} is running", remedy="wait until it has ended") from None
        yield
