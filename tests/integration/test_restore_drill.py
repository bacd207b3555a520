"""The restore drill: a backup, a thousand more purchases, the disk lost, and what a restore gives back."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
from factories import a_contract, a_person, a_purchase, a_terminal
from sqlalchemy import Engine, text

from app import migrations
from app.clock import Clock, monotonic_s, sleep
from app.customers.models import SupplyContract
from app.database import connect, transaction
from app.embedded.children import Child
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup import Backup, kept
from app.operations.programs import NotPossible
from app.operations.restore import recovery_settings, restore
from app.roles import Role
from app.staff.models import StaffMember

ROOT = Path(__file__).parents[2]
DATABASE = "wattgate"
WITHIN_S = 30.0
PURCHASES = 1000
FIRST = 40
STREAMED = 150

_numbers = itertools.count(1)


def eventually(happened: object, *, within_s: float = WITHIN_S) -> None:
    assert callable(happened)
    until_s = monotonic_s() + within_s
    while not happened():
        assert monotonic_s() < until_s, "it did not happen in time"
        sleep(0.05)


@dataclass
class Shop:
    """One server with its archive, one contract, and a till."""

    folder: Path
    server: EmbeddedPostgres
    engine: Engine
    contract: SupplyContract
    cashier: StaffMember
    server_uid: int
    backup_url: str
    bin_folder: Path

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    @property
    def logs(self) -> Path:
        return self.backups / "logs"

    def sell(self, count: int) -> list[str]:
        """Sell so often, each purchase in a transaction of its own; returns their numbers."""
        numbers = []
        for _ in range(count):
            with transaction(self.engine) as session:
                sold = a_purchase(session, contract=self.contract, cashier=self.cashier, now=Clock().now())
            numbers.append(sold.purchase_no)
        return numbers

    def server_now(self) -> datetime:
        with self.engine.connect() as connection:
            now = connection.scalar(text("SELECT clock_timestamp()"))
        assert isinstance(now, datetime)
        return now

    def close_log(self) -> None:
        """Have the server begin a new log, and wait until the one before is in the archive."""
        with psycopg.connect(self.backup_url, dbname="postgres", autocommit=True) as superuser:
            row = superuser.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert row is not None
        eventually((self.logs / row[0]).exists)

    def wattgate(self, *arguments: str, succeeds: bool = True) -> str:
        """Type a command; returns what it said."""
        environment = dict(os.environ) | {
            "WATTGATE_BACKUP_URL": self.backup_url,
            "WATTGATE_POSTGRES_BIN": str(self.bin_folder),
        }
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr

    def lose_the_disk(self) -> None:
        """Kill the server and remove all it had."""
        self.engine.dispose()
        postmaster = psutil.Process(self.server.pid)
        family = [*postmaster.children(), postmaster]
        postmaster.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=WITHIN_S)
        shutil.rmtree(self.folder / "postgres" / "data")
        self.server.stop()


def a_shop(folder: Path, *, more: dict[str, str]) -> Shop:
    # The server's own user must reach the archive, as it does on a real machine.
    logs = folder / "backups" / "logs"
    logs.mkdir(parents=True)
    folder.chmod(0o755)
    logs.chmod(0o777)
    # The machine stays up in this drill, so what was written is there without waiting for its disk.
    settings = {"shared_buffers": "32MB", "synchronous_commit": "on", "full_page_writes": "on", **more}
    server = EmbeddedPostgres(folder / "postgres", durable=False, more=settings)
    server.start()
    server.create_database(DATABASE)
    migrations.upgrade(server.owner_url(DATABASE))
    engine = connect(server.application_url(DATABASE), pool_size=2)
    with transaction(engine) as session:
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id)
        cashier = a_person(session, role=Role.CASHIER)
    uid = psutil.Process(server.pid).uids().effective
    return Shop(
        folder=folder,
        server=server,
        engine=engine,
        contract=contract,
        cashier=cashier,
        server_uid=uid,
        backup_url=server.backup_url(),
        bin_folder=server.bin_folder,
    )


@pytest.fixture
def archiving(short_folder: Path) -> Iterator[Shop]:
    """A shop whose server archives each log when it is full or the drill closes it."""
    folder = short_folder / f"archiving-{next(_numbers)}"
    script = shutil.copy(ROOT / "deploy" / "archive-wal.sh", short_folder)
    short_folder.chmod(0o755)
    command = f'sh {script} "%p" "{folder}/backups/logs/%f"'
    shop = a_shop(folder, more={"archive_mode": "on", "archive_command": command})
    yield shop
    shop.engine.dispose()
    shop.server.stop()


@pytest.fixture
def streaming(short_folder: Path) -> Iterator[tuple[Shop, Child]]:
    """A shop that says a purchase is made only when its log is on the other disk too."""
    shop = a_shop(short_folder / f"streaming-{next(_numbers)}", more={})
    receiver = Child(
        [
            str(shop.bin_folder / "pg_receivewal"),
            f"--directory={shop.logs}",
            "--synchronous",
            "--no-password",
            f"--dbname={shop.backup_url} application_name=wattgate_logs",
        ],
        log=shop.folder / "receiver.log",
    )
    with psycopg.connect(shop.backup_url, dbname="postgres", autocommit=True) as superuser:
        eventually(lambda: superuser.execute("SELECT 1 FROM pg_stat_replication").fetchone())
        superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'wattgate_logs'")
        superuser.execute("SELECT pg_reload_conf()")
        synchronous = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        eventually(lambda: superuser.execute(synchronous).fetchone())
    yield shop, receiver
    receiver.stop(within_s=5)
    shop.engine.dispose()
    shop.server.stop()


def restored_purchases(shop: Shop, *, name: str, until: datetime | None = None) -> tuple[set[str], float]:
    """Restore, start, prove the books; returns the purchases found, and the seconds until they could be read."""
    started_s = monotonic_s()
    at = ("--until", until.isoformat()) if until else ()
    data = shop.folder / name / "data"
    shop.wattgate("restore", "--from", str(shop.backups), "--to", str(data), *at)
    for path in (data, *data.rglob("*")):
        os.chown(path, shop.server_uid, -1)
    with EmbeddedPostgres(shop.folder / name, durable=False) as server:
        engine = connect(server.application_url(DATABASE), pool_size=1)
        eventually(lambda: _recovered(engine))
        with engine.connect() as connection:
            found = set(connection.scalars(text("SELECT purchase_no FROM purchases")))
            assert connection.scalar(text("SHOW archive_mode")) == "off"
        took_s = monotonic_s() - started_s
        engine.dispose()
        environment = dict(os.environ) | {
            "WATTGATE_DATABASE_URL": server.application_url(DATABASE),
            "WATTGATE_TOKEN_SECRET": "a secret of the tests, long enough to sign with",
            "WATTGATE_SIGNING_KEY_FILE": "/not/needed/here.pem",
        }
        proof = subprocess.run(
            [sys.executable, "-m", "app.cli", "verify"], env=environment, capture_output=True, text=True, check=False
        )
        assert proof.returncode == 0, proof.stdout + proof.stderr
    return found, took_s


def _recovered(engine: Engine) -> bool:
    with engine.connect() as connection:
        return not connection.scalar(text("SELECT pg_is_in_recovery()"))


@pytest.mark.takes(seconds=40)
def test_nothing_in_an_archived_log_is_lost(archiving: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop = archiving
    before = shop.sell(FIRST)
    shop.wattgate("backup", "--to", str(shop.backups))
    (outdated,) = kept(shop.backups)
    assert "all checked" in shop.wattgate("backup", "--to", str(shop.backups), "--keep", "1")
    (backup,) = kept(shop.backups)
    assert outdated.name < backup.name
    assert [path.name for path in shop.logs.iterdir() if path.name[8:24] < backup.first_log[8:]] == []
    half = shop.sell(PURCHASES // 2)
    at_half = shop.server_now()
    sleep(0.01)
    rest = shop.sell(PURCHASES - PURCHASES // 2 - FIRST)
    shop.close_log()
    unarchived = shop.sell(FIRST)
    shop.lose_the_disk()

    found, took_s = restored_purchases(shop, name="all")
    assert found == {*before, *half, *rest}
    lost = {*before, *half, *rest, *unarchived} - found
    assert lost == set(unarchived)
    at_moment, _ = restored_purchases(shop, name="half", until=at_half)
    assert at_moment == {*before, *half}
    with capsys.disabled():
        sys.stdout.write(
            f"\narchived logs: backup of {backup.size_bytes / 1e6:.0f} MB in {backup.seconds:.1f} s, restored in "
            f"{took_s:.1f} s, {len(found)} purchases found, {len(lost)} lost, all after the last archived log\n"
        )
    refuses_what_would_be_wrong(shop, backup)


def refuses_what_would_be_wrong(shop: Shop, backup: Backup) -> None:
    target = shop.folder / "new"
    naive = ("restore", "--from", str(shop.backups), "--to", str(target), "--until", "2026-03-01T10:00:00")
    assert "has no time zone" in shop.wattgate(*naive, succeeds=False)

    def refused(*, until: datetime | None = None) -> str:
        with pytest.raises(NotPossible) as refusal:
            restore(shop.backups, to=target, logs=shop.logs, until=until, tell=lambda _: None)
        return str(refusal.value)

    assert "name a later moment" in refused(until=backup.began_at - timedelta(hours=1))
    target.mkdir()
    (target / "something").touch()
    assert "is not empty" in refused()
    (target / "something").unlink()
    touched = shop.backups / backup.name / "data" / "global" / "1262"
    touched.write_bytes(touched.read_bytes()[:-1] + b"x")
    assert "1262 was changed" in refused()
    assert list(target.iterdir()) == []


def test_nothing_at_all_is_lost_with_a_synchronous_receiver(
    streaming: tuple[Shop, Child], capsys: pytest.CaptureFixture[str]
) -> None:
    shop, _ = streaming
    before = shop.sell(FIRST)
    shop.wattgate("backup", "--to", str(shop.backups))
    started_s = monotonic_s()
    more = shop.sell(STREAMED)
    each_ms = (monotonic_s() - started_s) * 1000 / STREAMED
    shop.lose_the_disk()
    for path in shop.logs.iterdir():
        os.chown(path, shop.server_uid, -1)
    found, took_s = restored_purchases(shop, name="all")
    assert found == {*before, *more}
    with capsys.disabled():
        sys.stdout.write(
            f"\nsynchronous receiver: restored in {took_s:.1f} s, {len(found)} purchases found, 0 lost; "
            f"a purchase took {each_ms:.1f} ms\n"
        )


def test_a_log_that_cannot_be_read_stops_the_server_and_a_missing_one_ends_recovery(tmp_path: Path) -> None:
    archive, wanted = tmp_path / "it's an archive", tmp_path / "wanted"
    archive.mkdir()
    (archive / ("0" * 24)).write_bytes(b"whole")
    (archive / f"{'0' * 24}.partial").write_bytes(b"received before it was whole")
    (archive / f"{'1' * 24}.partial").write_bytes(b"still being received")
    (archive / ("2" * 24)).mkdir()
    written = recovery_settings(archive, until=None)
    quoted = next(line for line in written.splitlines() if line.startswith("restore_command"))
    command = quoted.removeprefix("restore_command = '").removesuffix("'").replace("''", "'")

    def restored(log: str) -> tuple[int, bytes]:
        wanted.write_bytes(b"")
        typed = command.replace("%f", log).replace("%p", str(wanted))
        return subprocess.run(
            ["/bin/sh", "-c", typed], check=False, capture_output=True
        ).returncode, wanted.read_bytes()

    assert restored("0" * 24) == (0, b"whole")
    assert restored("1" * 24) == (0, b"still being received")
    assert restored("2" * 24)[0] > 125
    assert restored("3" * 24) == (1, b"")
    shutil.rmtree(archive)
    assert restored("3" * 24)[0] > 125


def test_the_archive_keeps_a_log_whole_and_never_replaces_it(tmp_path: Path) -> None:
    script = ROOT / "deploy" / "archive-wal.sh"
    log = tmp_path / "log"
    archived = tmp_path / "archive" / ("0" * 24)
    archived.parent.mkdir()
    log.write_bytes(b"one")

    def archive() -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, log, archived], capture_output=True, text=True, check=False)

    assert archive().returncode == 0
    assert archive().returncode == 0
    log.write_bytes(b"two")
    refused = archive()
    assert refused.returncode == 1
    assert "is another log" in refused.stderr
    assert archived.read_bytes() == b"one"
    assert [path.name for path in archived.parent.iterdir()] == [archived.name]
