"""Checks a base backup against the manifest that PostgreSQL wrote into it: every file, its size, its SHA-256."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.operations.programs import NotPossible

_MANIFEST = "backup_manifest"
#: Not in a manifest by PostgreSQL's own rule: they are made after it, or for a restore.
_BESIDE = {_MANIFEST, "postgresql.auto.conf", "standby.signal", "recovery.signal"}
_REMEDY = "do not restore from it; take another backup, and look after the disk that holds this one"


@dataclass(frozen=True, kw_only=True)
class Checked:
    files: int
    size_bytes: int
    manifest_sha256: str


def check_files(data: Path) -> Checked:
    """Check every file of a base backup.

    PostgreSQL's pg_verifybackup does the same; this needs no program of the server's version.

    Raises:
        NotPossible: a file is missing, was changed or was added, or the manifest itself was changed.
    """
    manifest_sha256, files = _manifest(data)
    for path, file in files.items():
        _check(data / path, size=file["Size"], sha256=file["Checksum"])
    strangers = sorted(path for path in _present(data) if path not in files and path not in _BESIDE)
    if strangers:
        raise NotPossible(f"{strangers[0]} does not belong to this backup", remedy=_REMEDY)
    return Checked(
        files=len(files), size_bytes=sum(file["Size"] for file in files.values()), manifest_sha256=manifest_sha256
    )


def _manifest(data: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    try:
        raw = (data / _MANIFEST).read_bytes()
        read = json.loads(raw)
        files = {one["Path"]: one for one in read["Files"]}
    except (OSError, ValueError, KeyError) as error:
        raise NotPossible(f"{data / _MANIFEST} cannot be read", remedy=_REMEDY) from error
    # The checksum of the manifest covers all of it up to the line in which it stands.
    covered = raw[: raw.rindex(b'"Manifest-Checksum"')]
    if hashlib.sha256(covered).hexdigest() != read["Manifest-Checksum"]:
        raise NotPossible(f"{data / _MANIFEST} was changed", remedy=_REMEDY)
    return read["Manifest-Checksum"], files


def _check(path: Path, *, size: int, sha256: str) -> None:
    try:
        with path.open("rb") as read:
            found_size = os.fstat(read.fileno()).st_size
            found = hashlib.file_digest(read, "sha256").hexdigest()
    except FileNotFoundError:
        raise NotPossible(f"{path} is missing", remedy=_REMEDY) from None
    if (found_size, found) != (size, sha256):
        raise NotPossible(f"{path} was changed: {found_size} bytes, {size} were backed up", remedy=_REMEDY)


def _present(data: Path) -> list[str]:
    names = (path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    return [name for name in names if not name.startswith("pg_wal/")]


def sync(path: Path) -> None:
    """Have the disk keep a file or a folder's list of names."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
