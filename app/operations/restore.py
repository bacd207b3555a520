"""Restores a base backup and has PostgreSQL replay archived logs over it, to their end or to a moment."""

import os
import shlex
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from app.operations.backup import Backup, Tell, data_of, kept
from app.operations.checking import check_files
from app.operations.programs import NotPossible, free_bytes

_SETTINGS = "postgresql.auto.conf"
_LOG_NAME_LENGTH = 24
_LOGS_IN_4_GB = 256


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A data folder that is ready to be started."""

    backup: Backup
    data: Path
    logs: int


def restore(source: Path, *, to: Path, logs: Path, until: datetime | None, tell: Tell) -> Restored:
    """Make a data folder of the newest backup that will do, and write down how to recover it.

    Archiving and synchronous standbys are off in it: a trial must not write into the archive that it was made from,
    nor wait for who is not there.

    Args:
        source: holds backups, or is one.
        to: the data folder; missing or empty.
        logs: the archive of logs.
        until: where to stop; None replays every log.
        tell: is told each step.

    Raises:
        NotPossible: nothing was started; a target that was filled so far is left for its owner to remove.
    """
    _refuse_filled(to)
    folder, backup = _choose(source, until=until)
    there = _logs_from(backup.first_log, logs=logs)
    if not there and until is not None:
        raise NotPossible(f"there is no log from {backup.first_log} on in {logs}", remedy="name the archive: --logs")
    tell(f"backup {backup.name}, which ended at {backup.ended_at:%Y-%m-%d %H:%M:%S} UTC")
    tell(_said_of(there, logs=logs))
    origin = data_of(folder, backup)
    if free_bytes(to) < backup.size_bytes:
        raise NotPossible(f"{to} has no room for {backup.size_bytes} bytes", remedy="name a larger disk")
    tell("checking every file against its checksum")
    check_files(origin)
    tell(f"copying {backup.size_bytes / 1e6:,.0f} MB")
    shutil.copytree(origin, to, symlinks=True, dirs_exist_ok=True)
    to.chmod(0o700)
    with (to / _SETTINGS).open("a", encoding="utf-8") as settings:
        settings.write(recovery_settings(logs if there else None, until=until))
    (to / "recovery.signal").touch(mode=0o600)
    os.sync()
    return Restored(backup=backup, data=to, logs=len(there))


def recovery_settings(logs: Path | None, *, until: datetime | None) -> str:
    """Write what PostgreSQL is to do when it is started in a restored folder; None is an archive without logs."""
    wanted = {
        "restore_command": _fetch_from(logs) if logs else "false",
        "recovery_target_action": "promote",
        "archive_mode": "off",
        "synchronous_standby_names": "",
    }
    if until is not None:
        wanted["recovery_target_time"] = f"{until.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
    lines = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in wanted.items())
    return "\n# Written by wattgate restore.\n" + "\n".join(lines) + "\n"


def _fetch_from(logs: Path) -> str:
    archive = shlex.quote(str(logs.resolve())).replace("%", "%%")
    # Where no log comes any more the server opens. One that is there and cannot be read must stop it instead, which
    # PostgreSQL does for codes above 125. A log that was still being received bears another name.
    return (
        f'a={archive}; [ -r "$a" ] && [ -x "$a" ] || exit 130; '
        'if [ -e "$a/%f" ]; then cp "$a/%f" "%p" || exit 130; '
        'elif [ -e "$a/%f.partial" ]; then cp "$a/%f.partial" "%p" || exit 130; else exit 1; fi'
    )


def _refuse_filled(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise NotPossible(f"{to} is not empty", remedy="name a folder that does not exist yet, or move it away first")


def _choose(source: Path, *, until: datetime | None) -> tuple[Path, Backup]:
    folder = source.parent if (source / "backup.json").exists() else source
    backups = [one for one in kept(folder) if folder == source or one.name == source.name]
    if not backups:
        raise NotPossible(f"there is no backup in {source}", remedy="name the folder that wattgate backup filled")
    usable = [one for one in backups if until is None or one.ended_at <= until]
    if not usable:
        raise NotPossible(
            f"the oldest backup ended at {backups[0].ended_at.isoformat()}, after the moment wanted",
            remedy="name a later moment",
        )
    return folder, usable[-1]


def _logs_from(first_log: str, *, logs: Path) -> list[str]:
    """Return the names of the logs from one on, whole or still being received, of every timeline."""
    found = {path.name[:_LOG_NAME_LENGTH] for path in logs.glob("*") if _is_log(path.name)}
    return sorted(name for name in found if name[8:] >= first_log[8:])


def _is_log(name: str) -> bool:
    return len(name.removesuffix(".partial")) == _LOG_NAME_LENGTH and set(name[:24]) <= set("0123456789ABCDEF")


def _said_of(names: list[str], *, logs: Path) -> str:
    if not names:
        return f"no log in {logs}: what was committed after the backup cannot be had from here"
    places = sorted({int(name[8:16], 16) * _LOGS_IN_4_GB + int(name[16:], 16) for name in names})
    gap = next((before for before, after in pairwise(places) if after != before + 1), None)
    said = f"{len(names)} logs, {names[0]} to {names[-1]}"
    if gap is None:
        return said
    stops = f"{gap // _LOGS_IN_4_GB:08X}{gap % _LOGS_IN_4_GB:08X}"
    return f"{said}; ONE IS MISSING after {stops}, and nothing beyond it can be replayed"
