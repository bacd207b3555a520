"""The processes wait for their parts, say what they lack, and finish what is under way when they are told to end."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from databases import Database
from factories import a_contract, a_person, a_terminal, an_open_shift
from people import bearer
from running import settings_for
from sqlalchemy import text

from app import migrations
from app.clock import monotonic_s, sleep
from app.database import connect, transaction
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.postgres import EmbeddedPostgres
from app.mqtt.signing import new_private_key_pem
from app.operations.startup import PartMissing, broker_missing, database_missing, wait_for_parts
from app.roles import Role
from app.settings import Settings

WITHIN_S = 30.0


def eventually(happened: Any) -> Any:
    until_s = monotonic_s() + WITHIN_S
    while not (found := happened()):
        assert monotonic_s() < until_s, "it did not happen in time"
        sleep(0.05)
    return found


@contextmanager
def a_process(command: str, settings: Settings, folder: Path, **more: object) -> Iterator[Child]:
    key = folder / "signing-key.pem"
    key.write_bytes(new_private_key_pem())
    own = {
        "WATTGATE_ENVIRONMENT": "test",
        "WATTGATE_DATABASE_URL": settings.database_url.get_secret_value(),
        "WATTGATE_TOKEN_SECRET": settings.token_secret.get_secret_value(),
        "WATTGATE_SIGNING_KEY_FILE": str(key),
        "WATTGATE_WORKER_METRICS_PORT": "0",
    } | {f"WATTGATE_{name.upper()}": str(value) for name, value in more.items()}
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}
    child = Child([sys.executable, "-m", "app.cli", command], log=folder / f"{command}.log", environment=bare | own)
    yield child
    child.stop(within_s=10)


def lines_of(child: Child) -> list[dict[str, Any]]:
    """What it logged; every line of a process is one JSON object."""
    return [json.loads(line) for line in child.log.read_text().splitlines()]


def test_a_database_is_named_for_what_it_lacks(postgres: EmbeddedPostgres, database: Database) -> None:
    settings = settings_for(database.application_url)
    assert database_missing(settings) is None
    owner = connect(database.owner_url, pool_size=1)
    for revision, said in (("0000", "up to"), (None, "taken back to nothing")):
        with transaction(owner) as session:
            session.execute(
                text("UPDATE alembic_version SET version_num = coalesce(:no, version_num)"), {"no": revision}
            )
            if revision is None:
                session.execute(text("DELETE FROM alembic_version"))
        assert said in str(database_missing(settings))
    owner.dispose()
    postgres.create_database("never")
    assert "never migrated: run `wattgate migrate`" in str(database_missing(settings_for(_url(postgres, "never"))))
    assert "does not answer" in str(database_missing(settings_for(_url(postgres, "nowhere"))))
    postgres.drop_database("never")


def _url(postgres: EmbeddedPostgres, name: str) -> str:
    return postgres.application_url(name)


def test_a_part_that_comes_late_is_waited_for() -> None:
    settings = settings_for("postgresql+psycopg://nobody@/none").model_copy(update={"startup_wait_s": 20})
    answers = iter(["no broker yet", "no broker yet", None])
    wait_for_parts(settings, [lambda _: next(answers)])
    assert next(answers, "asked to the end") == "asked to the end"
    with pytest.raises(PartMissing, match=r"no broker at 127\.0\.0\.1"):
        wait_for_parts(
            settings.model_copy(update={"startup_wait_s": 0, "broker_port": free_port()}), [broker_missing]
        )


def test_a_worker_without_a_broker_ends_with_what_would_be_right(database: Database, tmp_path: Path) -> None:
    settings = settings_for(database.application_url)
    with a_process("worker", settings, tmp_path, broker_port=free_port(), startup_wait_s=1) as worker:
        eventually(lambda: worker.ended)
        assert worker.exit_code == 1
        *waiting, last = worker.log.read_text().splitlines()
    assert "correct WATTGATE_BROKER_HOST and WATTGATE_BROKER_PORT" in last
    assert [json.loads(line)["event"] for line in waiting] == ["waiting for a part"] * len(waiting)
    assert waiting


def test_a_service_that_is_told_to_end_finishes_the_sale_under_way(database: Database, tmp_path: Path) -> None:
    settings = settings_for(database.application_url)
    with transaction(database.engine) as session:
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id)
        cashier = a_person(session, role=Role.CASHIER)
        an_open_shift(session, cashier=cashier)
        headers = bearer(cashier, settings=settings)
    port = free_port()
    answers: list[httpx.Response] = []
    request = {"contract_no": contract.contract_no, "amount_yuan": "1000.00"}
    headers |= {"Idempotency-Key": "the-sale-under-way", "X-Request-Id": "counter-7-0001"}

    def sell() -> None:
        url = f"http://{LOOPBACK}:{port}/api/v1/purchases"
        answers.append(httpx.post(url, json=request, headers=headers, timeout=WITHIN_S))

    with a_process("serve", settings, tmp_path, http_port=port) as service:
        eventually(lambda: _answers(port) or service.ended)
        counter = threading.Thread(target=sell)
        with transaction(database.engine) as session:
            session.execute(text("SELECT id FROM supply_points FOR UPDATE"))
            counter.start()
            eventually(lambda: _somebody_waits(database))
            service.signal(signal.SIGTERM)
            sleep(0.3)
            assert not service.ended
        counter.join(WITHIN_S)
        eventually(lambda: service.ended)
        assert service.exit_code == 0
        assert [line["event"] for line in lines_of(service)][-1] == "the service has stopped"
    assert [one.status_code for one in answers] == [201]
    assert answers[0].headers["x-request-id"] == "counter-7-0001"
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM purchases")) == 1


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/readyz", timeout=2).is_success
    except httpx.TransportError:
        return False


def _somebody_waits(database: Database) -> bool:
    with database.engine.connect() as connection:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(connection.scalar(text(waiting)))


def test_migrating_needs_the_owners_url_only(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    postgres.create_database("fresh")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}
    environment = bare | {"WATTGATE_MIGRATION_URL": postgres.owner_url("fresh")}
    child = Child([sys.executable, "-m", "app.cli", "migrate"], log=tmp_path / "log", environment=environment)
    eventually(lambda: child.ended)
    assert child.exit_code == 0, child.log_tail()
    assert database_missing(settings_for(postgres.application_url("fresh"))) is None
    assert migrations.head()
    child.stop(within_s=1)
    postgres.drop_database("fresh")
