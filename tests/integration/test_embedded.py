"""The embedded PostgreSQL keeps its data, the embedded broker keeps its terminals apart."""

import functools
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import psutil
import psycopg
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from app.clock import monotonic_s, sleep
from app.embedded.broker import SERVICE_USER, BrokerFailed, EmbeddedBroker
from app.embedded.postgres import OWNER_ROLE, EmbeddedPostgres, FolderInUse

WAIT_S = 5.0


class Peer:
    """A connected MQTT user that keeps what it hears."""

    def __init__(self, broker: EmbeddedBroker, *, user: str, password: str) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        self._subscribed: queue.Queue[int] = queue.Queue()
        self.disconnections = 0
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=user)
        self._client.username_pw_set(user, password)
        connected: queue.Queue[bool] = queue.Queue()
        self._client.on_connect = lambda _c, _u, _f, reason, _p: connected.put(not reason.is_failure)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._subscribed.put(reasons[0].value)
        self._client.on_disconnect = self._on_disconnect
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self.welcome = connected.get(timeout=WAIT_S)

    def subscribe(self, topic: str) -> bool:
        self._client.subscribe(topic, qos=1)
        return self._subscribed.get(timeout=WAIT_S) < 128

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)

    def hears(self) -> str:
        return self.heard.get(timeout=WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.heard.put(f"{message.topic} {message.payload.decode()}")

    def _on_disconnect(self, *_: object) -> None:
        self.disconnections += 1


@pytest.fixture
def peers(broker: EmbeddedBroker) -> Iterator[dict[str, Peer]]:
    broker.set_users("service", _terminals())
    opened = {
        "service": Peer(broker, user=SERVICE_USER, password="service"),
        "one": Peer(broker, user="T-0001", password="one"),
        "two": Peer(broker, user="T-0002", password="two"),
    }
    yield opened
    for peer in opened.values():
        peer.close()


def test_postgres_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        server.create_database("kept")
        with _owner(server, database="kept").begin() as connection:
            connection.execute(text("CREATE TABLE facts (fact text)"))
            connection.execute(text("INSERT INTO facts VALUES ('still here')"))
        first_pid = server.pid
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert server.pid != first_pid
        assert server.has_database("kept")
        with _owner(server, database="kept").begin() as connection:
            assert connection.scalar(text("SELECT fact FROM facts")) == "still here"
            assert connection.scalar(text("SHOW fsync")) == "on"
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"


def test_postgres_that_is_killed_with_all_its_processes_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        server.create_database("kept")
        url = server.owner_url("kept")
        with _owner(server, database="kept").begin() as connection:
            connection.execute(text("CREATE TABLE facts (fact text)"))
        for fact in ("one", "two"):
            open_transaction = _owner(server, database="kept").connect()
            open_transaction.execute(text("INSERT INTO facts VALUES ('never committed')"))
            with _owner(server, database="kept").begin() as connection:
                connection.execute(text("INSERT INTO facts VALUES (:fact)"), {"fact": fact})
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
            server.kill()
            assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
            assert server.owner_url("kept") == url
            open_transaction.invalidate()
            open_transaction.close()
            server.start()
        assert server.owner_url("kept") == url
        with _owner(server, database="kept").begin() as connection:
            assert list(connection.scalars(text("SELECT fact FROM facts ORDER BY fact"))) == ["one", "two"]


def test_a_start_that_fails_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("1\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Version mismatch"):
            EmbeddedPostgres(tmp_path / "postgres").start()


def test_a_folder_serves_one_process_at_a_time(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres", durable=False) as server:
        with pytest.raises(FolderInUse, match="name another folder"):
            EmbeddedPostgres(tmp_path / "postgres").start()
        assert psutil.pid_exists(server.pid)


def test_the_owner_is_no_superuser(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("owned")
    with _owner(postgres, database="owned").connect() as connection:
        rights = connection.execute(
            text("SELECT rolsuper, rolcreaterole, current_user FROM pg_roles WHERE rolname = current_user")
        ).one()
        owner = connection.scalar(text("SELECT datdba::regrole::text FROM pg_database WHERE datname = 'owned'"))
    assert rights == (False, True, OWNER_ROLE)
    assert owner == OWNER_ROLE
    postgres.drop_database("owned")
    assert not postgres.has_database("owned")


def test_a_copy_has_the_rows_of_its_template(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("pattern")
    with _owner(postgres, database="pattern").begin() as connection:
        connection.execute(text("CREATE TABLE facts AS SELECT 7 AS fact"))
    postgres.create_database("copy", template="pattern")
    with _owner(postgres, database="copy").connect() as connection:
        assert connection.scalar(text("SELECT fact FROM facts")) == 7
    postgres.drop_database("copy")
    postgres.drop_database("pattern")


def test_pgbench_comes_with_the_server(postgres: EmbeddedPostgres) -> None:
    told = subprocess.run([postgres.bin_folder / "pgbench", "--version"], capture_output=True, text=True, check=True)
    assert "pgbench (PostgreSQL)" in told.stdout


def test_postgres_listens_on_no_network_port(postgres: EmbeddedPostgres) -> None:
    assert psutil.Process(postgres.pid).net_connections(kind="inet") == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", user="postgres", connect_timeout=2)


def test_service_and_terminal_reach_each_other(peers: dict[str, Peer]) -> None:
    assert peers["service"].subscribe("lm/v1/+/up/#")
    assert peers["one"].subscribe("lm/v1/T-0001/dn/#")
    peers["one"].publish("lm/v1/T-0001/up/report", "up")
    peers["service"].publish("lm/v1/T-0001/dn/command", "down")
    assert peers["service"].hears() == "lm/v1/T-0001/up/report up"
    assert peers["one"].hears() == "lm/v1/T-0001/dn/command down"


@pytest.mark.parametrize("topic", ["lm/v1/T-0002/dn/#", "lm/v1/+/dn/#", "lm/v1/T-0002/up/report", "#"])
def test_a_foreign_subscription_is_refused(peers: dict[str, Peer], topic: str) -> None:
    assert not peers["one"].subscribe(topic)


def test_a_foreign_publish_is_dropped(peers: dict[str, Peer]) -> None:
    assert peers["service"].subscribe("lm/v1/+/up/#")
    assert peers["two"].subscribe("lm/v1/T-0002/dn/#")
    peers["one"].publish("lm/v1/T-0002/up/report", "forged report")
    peers["one"].publish("lm/v1/T-0002/dn/command", "forged command")
    peers["one"].publish("lm/v1/T-0001/up/report", "true report")
    peers["service"].publish("lm/v1/T-0002/dn/command", "true command")
    assert peers["service"].hears() == "lm/v1/T-0001/up/report true report"
    assert peers["two"].hears() == "lm/v1/T-0002/dn/command true command"


def test_a_wrong_password_is_not_let_in(broker: EmbeddedBroker, peers: dict[str, Peer]) -> None:
    assert peers["one"].welcome
    stranger = Peer(broker, user="T-0001", password="two")
    assert not stranger.welcome
    stranger.close()


def test_a_new_terminal_comes_in_and_the_others_stay(broker: EmbeddedBroker, peers: dict[str, Peer]) -> None:
    assert peers["service"].subscribe("lm/v1/+/up/#")
    broker.set_users("service", _terminals() | {"T-0003": _hash("three")})
    newcomer = Peer(broker, user="T-0003", password="three")
    assert newcomer.welcome
    newcomer.publish("lm/v1/T-0003/up/birth", "hello")
    peers["one"].publish("lm/v1/T-0001/up/heartbeat", "still here")
    assert {peers["service"].hears(), peers["service"].hears()} == {
        "lm/v1/T-0003/up/birth hello",
        "lm/v1/T-0001/up/heartbeat still here",
    }
    assert [peer.disconnections for peer in peers.values()] == [0, 0, 0]
    newcomer.close()


def test_the_broker_keeps_its_port_over_a_kill(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    broker.start()
    first_port, first_pid = broker.port, broker.pid
    broker.kill()
    assert not psutil.pid_exists(first_pid)
    broker.start()
    assert (broker.port, psutil.pid_exists(broker.pid)) == (first_port, True)
    broker.stop()


def test_a_taken_port_is_told_with_the_brokers_own_words(broker: EmbeddedBroker, tmp_path: Path) -> None:
    second = EmbeddedBroker(tmp_path, port=broker.port)
    with pytest.raises(BrokerFailed, match="address already in use"):
        second.start()


def test_a_terminal_id_that_widens_its_rights_is_refused(broker: EmbeddedBroker) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        broker.set_users("service", {"T-1.>": _hash("x")})


def test_the_broker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from app.embedded.broker import EmbeddedBroker\n"
        "broker = EmbeddedBroker(Path(sys.argv[1])); broker.start()\n"
        "print(broker.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    deadline_s = monotonic_s() + WAIT_S
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and monotonic_s() < deadline_s:
        sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@functools.cache
def _terminals() -> dict[str, str]:
    return {"T-0001": _hash("one"), "T-0002": _hash("two")}


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def _owner(server: EmbeddedPostgres, *, database: str) -> Engine:
    return create_engine(server.owner_url(database), poolclass=NullPool)
