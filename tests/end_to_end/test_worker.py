"""The worker on a real broker and a real database, with a bare MQTT client as the terminal; then without them."""

import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import bcrypt
import httpx
import pytest
from databases import Database
from factories import a_contract, a_purchase, a_state, a_terminal, an_ordered_trip
from hostile import Hostile
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import SecretStr
from running import worker_settings_for
from sqlalchemy import Engine, select, text
from structlog.testing import capture_logs

from app.clock import Clock, monotonic_s, sleep
from app.commands.models import Command, CommandStep
from app.commands.rules import Op
from app.customers.queries import contract_by_no
from app.database import connect, new_id, transaction
from app.embedded.broker import EmbeddedBroker
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.postgres import EmbeddedPostgres
from app.migrations import upgrade
from app.mqtt import topics
from app.mqtt.messages import CommandClaims, Step
from app.mqtt.signing import CommandSigner, CommandVerifier, new_private_key_pem
from app.purchases.queries import receipt
from app.purchases.service import Sold
from app.settings import Settings
from app.terminal_reports.models import QuarantinedMessage, TerminalReport
from app.terminals.models import TerminalLive
from app.worker import Worker

TERMINAL = "SH-0001"
CONTRACT = "HT-0001"
CREDENTIAL = "the terminal's own"
KEY_ID = "wattgate-1"
WAIT_S = 20.0


def eventually(happened: Callable[[], Any], *, within_s: float = WAIT_S) -> Any:
    until_s = monotonic_s() + within_s
    while not (found := happened()):
        assert monotonic_s() < until_s, "it did not happen in time"
        sleep(0.02)
    return found


def moment() -> str:
    return Clock().now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Device:
    """A terminal as a bare MQTT client: says what a test tells it to, keeps what it is told."""

    def __init__(self, port: int, verifier: CommandVerifier) -> None:
        self._port = port
        self._verifier = verifier
        self.heard: list[tuple[str, bytes]] = []
        self.state = a_state(paid_until_wh=0, remaining_wh=0)
        self.spool_id = str(new_id())
        self.supplied_wh = 0
        self.last_seq = 0

    def connect(self) -> None:
        """Connect and subscribe with a session of its own, as after each power-up."""
        self.session = secrets.token_hex(16)
        subscribed: list[bool] = []
        client = Client(CallbackAPIVersion.VERSION2, client_id=TERMINAL)
        client.username_pw_set(TERMINAL, CREDENTIAL)
        client.will_set(topics.up(TERMINAL, "death"), json.dumps({"session": self.session}), qos=1)
        client.on_connect = lambda mqtt, *_: mqtt.subscribe(topics.all_down(TERMINAL), qos=1)
        client.on_subscribe = lambda *_: subscribed.append(True)
        client.on_message = self._hear
        client.connect(LOOPBACK, self._port)
        client.loop_start()
        self._client = client
        eventually(lambda: subscribed)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self.heard.append((message.topic.rsplit("/", 1)[1], bytes(message.payload)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for heard, payload in list(self.heard) if heard == kind]

    @property
    def commands(self) -> list[CommandClaims]:
        return [self._verifier.verify(payload) for heard, payload in list(self.heard) if heard == "command"]

    def ordered(self, op: Op, step: Step = Step.DO, *, times: int = 1) -> CommandClaims:
        """Wait until a step of an operation has come so often; returns the last."""

        def found() -> list[CommandClaims]:
            return [one for one in self.commands if (one.op, one.step) == (op, step)]

        eventually(lambda: len(found()) >= times)
        return found()[-1]

    def tell(self, kind: str, body: dict[str, Any] | bytes) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._client.publish(topics.up(TERMINAL, kind), payload, qos=1).wait_for_publish(WAIT_S)

    def pour(self, told: Iterable[tuple[str, bytes]]) -> int:
        """Publish without waiting for each; returns how many the broker has taken."""
        under_way = [self._client.publish(topic, payload, qos=1) for topic, payload in told]
        for one in under_way:
            one.wait_for_publish(WAIT_S)
        return sum(one.is_published() for one in under_way)

    def birth(self) -> None:
        spool = {"id": self.spool_id, "first": 0, "last": self.last_seq}
        told = {"boot": 1, "firmware": "1.0", "spool": spool, "slots": {}, "results": []}
        self.tell("birth", told | self._presence())

    def heartbeat(self, *, echoing: bool = True) -> None:
        """A heartbeat with the last challenge that came, or as one is sent before any has come."""
        heard = self.of("clock") if echoing else []
        self.tell("heartbeat", self._presence() | ({"echo": heard[-1]["challenge"]} if heard else {}))

    def prove_downlink(self) -> None:
        """Be born, and echo the challenge that this birth brings."""
        before = len(self.of("clock"))
        self.birth()
        eventually(lambda: len(self.of("clock")) > before)
        self.heartbeat()

    def report(self, *, power_w: int = 480_000) -> int:
        self.last_seq += 1
        self.supplied_wh += 1_000
        told = {
            "spool_id": self.spool_id,
            "seq": self.last_seq,
            "at": moment(),
            "clock": "synced",
            "uptime_s": 60,
            "supplied_wh": self.supplied_wh,
            "active_power_w": power_w,
            "meters": [],
            "state": self.state,
        }
        self.tell("report", told)
        return self.last_seq

    def ack(self, command_id: UUID, step: str, **detail: Any) -> None:
        told = {"command_id": str(command_id), "step": step, "at": moment(), "uptime_s": 60, "detail": detail}
        self.tell("ack", told)

    def apply(self, credit: CommandClaims) -> None:
        """Carry out a credit, say so, and show it."""
        self.state |= {name: credit.args[name] for name in ("paid_until_wh", "order_no")}
        self.ack(credit.id, "received")
        self.ack(credit.id, "executed")
        self.heartbeat()

    def receipted(self, seq: int) -> dict[str, Any]:
        """Wait for the receipt that covers a number; returns it."""

        def covering() -> list[dict[str, Any]]:
            return [one for one in self.of("receipt") if one["upto"] >= seq and one["spool_id"] == self.spool_id]

        found: dict[str, Any] = eventually(covering)[0]
        return found

    def _presence(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "uptime_s": 60,
            "at": moment(),
            "clock": "synced",
            "state": self.state,
        }


@dataclass(frozen=True, kw_only=True)
class Site:
    """A contract with a terminal that is known to the broker, and what the worker needs to be told."""

    engine: Engine
    point: UUID
    settings: Settings
    device: Device

    def rows(self, model: Any) -> list[Any]:
        with transaction(self.engine) as session:
            return list(session.scalars(select(model)))

    def live(self) -> TerminalLive:
        with transaction(self.engine) as session:
            return session.get_one(TerminalLive, TERMINAL)

    def commandable(self) -> bool:
        return self.live().commandable

    def command(self, command_id: UUID) -> Command:
        with transaction(self.engine) as session:
            return session.get_one(Command, command_id)

    def steps(self, command_id: UUID) -> list[str]:
        with transaction(self.engine) as session:
            wanted = select(CommandStep.step).where(CommandStep.command_id == command_id).order_by(CommandStep.id)
            return list(session.scalars(wanted))

    def buy(self) -> Sold:
        """100 MWh, so that nothing but the credit has to be told."""
        with transaction(self.engine) as session:
            return a_purchase(
                session, contract=contract_by_no(session, CONTRACT), now=Clock().now(), paid_fen=8_000_000
            )

    def credit_of(self, sold: Sold) -> Command:
        with transaction(self.engine) as session:
            credit = receipt(session, sold.purchase_no).credit
        assert credit is not None
        return credit

    def order_trip(self) -> UUID:
        """A trip of round 1 by an operator, both notices served and run out."""
        with transaction(self.engine) as session:
            return an_ordered_trip(session, supply_point_id=self.point, terminal_id=TERMINAL)


def a_site(engine: Engine, database_url: str, broker: EmbeddedBroker, folder: Path) -> Site:
    with transaction(engine) as session:
        point = a_contract(session, contract_no=CONTRACT).supply_point_id
        a_terminal(session, supply_point_id=point, terminal_id=TERMINAL)
    hashed = bcrypt.hashpw(CREDENTIAL.encode(), bcrypt.gensalt(rounds=4)).decode()
    broker.set_users(broker.service_password, {TERMINAL: hashed})
    key = folder / "signing-key.pem"
    key.write_bytes(new_private_key_pem())
    public_key = CommandSigner.from_file(key, key_id=KEY_ID).public_key_pem()
    settings = worker_settings_for(database_url, broker, signing_key_file=key)
    device = Device(broker.port, CommandVerifier(public_key, key_id=KEY_ID))
    return Site(engine=engine, point=point, settings=settings, device=device)


@contextmanager
def a_worker(site: Site) -> Iterator[Worker]:
    """The worker in this process; its log stays out of the way."""
    worker = Worker(site.settings)
    with capture_logs():
        worker.start()
        try:
            assert worker.wait_connected(WAIT_S)
            yield worker
        finally:
            worker.stop()


@pytest.fixture
def site(database: Database, broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Site]:
    made = a_site(database.engine, database.application_url, broker, tmp_path)
    made.device.connect()
    yield made
    made.device.close()


@pytest.fixture
def worker(site: Site) -> Iterator[Worker]:
    with a_worker(site) as running:
        yield running


def test_a_birth_is_answered_with_clock_and_request_and_the_echo_makes_it_commandable(
    site: Site, worker: Worker
) -> None:
    site.device.birth()
    eventually(lambda: site.device.of("clock"))
    assert eventually(lambda: site.device.of("request")) == [{"want": "state"}]
    assert (site.live().online, site.commandable()) == (True, False)
    site.device.heartbeat()
    eventually(site.commandable)
    assert len(site.device.of("clock")) == 1
    assert worker.wait_connected(0)


@pytest.mark.usefixtures("worker")
def test_a_heartbeat_before_the_challenge_has_come_is_taken_in(site: Site) -> None:
    site.device.birth()
    eventually(lambda: site.device.of("clock"))
    site.device.state |= {"rounds": "01------"}
    site.device.heartbeat(echoing=False)
    eventually(lambda: (site.live().state or {}).get("rounds") == "01------", within_s=5)
    assert site.rows(QuarantinedMessage) == []


@pytest.mark.usefixtures("worker")
def test_a_report_is_receipted_once_it_is_in_the_database(site: Site) -> None:
    seq = site.device.report()
    told = eventually(lambda: site.device.of("receipt"))
    assert [one.seq for one in site.rows(TerminalReport)] == [seq]
    assert told == [{"spool_id": site.device.spool_id, "upto": 1, "missing": []}]


@pytest.mark.usefixtures("worker")
def test_garbage_is_put_aside_and_the_next_report_still_gets_its_receipt(site: Site) -> None:
    for payload in (b"", b"\xff\x00garbage", b"{" * 9_000, b"[1, 2", b'{"seq": "one"}'):
        site.device.tell("report", payload)
    site.device.receipted(site.device.report())
    assert len(site.rows(QuarantinedMessage)) == 5
    assert all(one.reason for one in site.rows(QuarantinedMessage))


@pytest.mark.usefixtures("worker")
def test_a_purchase_reaches_the_terminal_and_its_receipt_says_verified(site: Site) -> None:
    site.device.prove_downlink()
    sold = site.buy()
    credit = site.device.ordered(Op.CREDIT)
    assert (credit.id, credit.args["paid_until_wh"], credit.args["order_no"]) == (sold.command_id, 100_000_000, 1)
    eventually(lambda: site.credit_of(sold).state == "sent")
    site.device.ack(credit.id, "received")
    eventually(lambda: site.credit_of(sold).received_at)
    assert site.credit_of(sold).executed_at is None
    site.device.apply(credit)
    eventually(lambda: site.credit_of(sold).state == "verified")
    shown = site.credit_of(sold)
    assert None not in (shown.sent_at, shown.received_at, shown.executed_at, shown.verified_at, shown.ended_at)


@pytest.mark.usefixtures("worker")
def test_a_trip_is_armed_operated_and_verified_by_relay_and_load(site: Site) -> None:
    site.device.prove_downlink()
    site.buy()
    site.device.apply(site.device.ordered(Op.CREDIT))
    site.device.receipted(site.device.report())
    eventually(site.commandable)
    command_id = site.order_trip()
    arm = site.device.ordered(Op.TRIP, Step.ARM)
    assert (arm.id, arm.session) == (command_id, site.device.session)
    site.device.ack(arm.id, "received")
    site.device.ack(arm.id, "armed", nonce="n-1", active_power_w=480_000)
    assert site.device.ordered(Op.TRIP, Step.OPERATE).nonce == "n-1"
    site.device.state |= {"rounds": "01------"}
    site.device.ack(arm.id, "executed", rounds="01------")
    eventually(lambda: site.command(command_id).state == "executed")
    site.device.receipted(site.device.report(power_w=360_000))
    eventually(lambda: site.command(command_id).state == "verified")


@contextmanager
def a_worker_process(site: Site, folder: Path) -> Iterator[Child]:
    """The worker as a process of its own, started as a service manager starts it."""
    told = site.settings
    own = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": told.database_url.get_secret_value(),
        "TOKEN_SECRET": told.token_secret.get_secret_value(),
        "SIGNING_KEY_FILE": str(told.signing_key_file),
        "SIGNING_KEY_ID": told.signing_key_id,
        "BROKER_HOST": told.broker_host,
        "BROKER_PORT": str(told.broker_port),
        "BROKER_USER": told.broker_user,
        "BROKER_PASSWORD": told.broker_password.get_secret_value() if told.broker_password else "",
        "WORKER_METRICS_PORT": str(told.worker_metrics_port),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}
    child = Child(
        [sys.executable, "-m", "app.cli", "worker"],
        log=folder / "worker.log",
        environment={**inherited, **{f"WATTGATE_{name}": value for name, value in own.items()}},
    )
    try:
        yield child
    finally:
        child.stop(within_s=10)


def test_a_worker_waits_for_a_database_that_is_away_at_its_start(
    site: Site, postgres: EmbeddedPostgres, template_database: str, tmp_path: Path
) -> None:
    late = site.settings.model_copy(update={"database_url": SecretStr(postgres.application_url("late"))})
    with a_worker_process(replace(site, settings=late), tmp_path) as started:
        eventually(lambda: "waiting for" in started.log_tail())
        postgres.create_database("late", template=template_database)
        eventually(lambda: "the worker runs" in started.log_tail())
        assert not started.ended
    postgres.drop_database("late")


def test_a_worker_killed_between_publishing_and_the_answer_doubles_nothing(site: Site, tmp_path: Path) -> None:
    sold = site.buy()
    with a_worker_process(site, tmp_path) as first:
        # Only a running worker answers a birth, so it is repeated until one does.
        eventually(lambda: site.device.birth() or sleep(0.2) or site.device.of("clock"))
        site.device.heartbeat()
        ordered = site.device.ordered(Op.CREDIT)
        first.signal(signal.SIGKILL)
        eventually(lambda: first.ended)
    unanswered = site.device.report()
    with a_worker_process(site, tmp_path) as second:
        again = site.device.ordered(Op.CREDIT, times=len(site.device.commands) + 1)
        assert (again.id, again.version, again.args) == (ordered.id, ordered.version, ordered.args)
        assert not second.ended
        site.device.apply(again)
        eventually(lambda: site.credit_of(sold).state == "verified")
        assert unanswered == 1
        site.device.receipted(site.device.report())
    assert {one.id for one in site.device.commands} == {sold.command_id}
    assert [one.id for one in site.rows(Command)] == [sold.command_id]
    assert site.steps(ordered.id).count("executed") == 1
    assert site.steps(ordered.id).count("verified") == 1
    with transaction(site.engine) as session:
        assert session.scalar(text("SELECT count(*) FROM purchases")) == 1
        assert session.scalar(text("SELECT paid_until_wh FROM allowances")) == 100_000_000


def somebody_waits(engine: Engine) -> bool:
    waiting = (
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(text(waiting)))


def test_a_worker_that_is_told_to_end_records_what_it_has_received(site: Site, tmp_path: Path) -> None:
    with a_worker_process(site, tmp_path) as process:
        eventually(lambda: site.device.birth() or sleep(0.2) or site.device.of("clock"))
        site.device.receipted(site.device.report())
        with transaction(site.engine) as session:
            session.execute(text("SELECT terminal_id FROM terminal_live FOR UPDATE"))
            under_way = site.device.report()
            eventually(lambda: somebody_waits(site.engine))
            process.signal(signal.SIGTERM)
            sleep(0.3)
            assert not process.ended
        eventually(lambda: process.ended)
        assert process.exit_code == 0
    assert sorted(one.seq for one in site.rows(TerminalReport)) == [1, under_way]
    last = json.loads((tmp_path / "worker.log").read_text().splitlines()[-1])
    assert last["event"] == "the worker has stopped"


SETTLED = re.compile(r'^wattgate_messages_settled_total{kind="(\w+)",outcome="(\w+)"} (\d+)', re.MULTILINE)


@pytest.mark.hostile
@pytest.mark.takes(seconds=20)
@pytest.mark.no_cover
def test_a_terminal_gone_mad_is_accounted_for_message_by_message_and_the_stream_goes_on(
    site: Site, tmp_path: Path
) -> None:
    port = free_port()
    site = replace(site, settings=site.settings.model_copy(update={"worker_metrics_port": port}))
    known = [str(site.buy().command_id), *(str(new_id()) for _ in range(5))]
    per_kind = int(os.environ.get("FUZZ_OVER_THE_BROKER", "5000")) // len(topics.UP_KINDS)

    def settled() -> dict[tuple[str, str], int]:
        told = httpx.get(f"http://{LOOPBACK}:{port}/metrics").text
        return {(kind, outcome): int(number) for kind, outcome, number in SETTLED.findall(told)}

    def rows(query: str) -> int:
        with transaction(site.engine) as session:
            return int(session.scalar(text(query)) or 0)

    with a_worker_process(site, tmp_path) as worker:
        eventually(lambda: site.device.birth() or sleep(0.2) or site.device.of("clock"))
        site.device.receipted(site.device.report())
        eventually(lambda: settled().get(("report", "stored")) == 1)
        before = sum(settled().values())
        streams = [Hostile(kind, seed=2, commands=known, terminals=[TERMINAL]) for kind in topics.UP_KINDS]
        # What is not its own it cannot even publish: the broker knows whose topics they are.
        sent = [one for many in zip(*(stream.messages(per_kind) for stream in streams), strict=True) for one in many]
        own = [(topic, payload) for topic, payload in sent if topic.startswith(topics.up(TERMINAL, ""))]
        assert site.device.pour(own) == len(own)
        site.device.receipted(site.device.report())
        eventually(lambda: sum(settled().values()) == before + len(own) + 1)
        assert not worker.ended
        became = settled()
    quarantined = sum(number for (_, outcome), number in became.items() if outcome == "quarantined")
    assert quarantined == rows("SELECT count(*) FROM quarantined_messages")
    assert became["event", "stored"] == rows("SELECT count(*) FROM terminal_events")
    stored = became["report", "stored"] + became["backfill", "stored"]
    assert stored == rows("SELECT count(*) FROM terminal_reports")
    assert became["ack", "stored"] == rows("SELECT count(*) FROM command_steps WHERE terminal_at IS NOT NULL")
    for kind in topics.UP_KINDS:
        assert sum(number for (one, _), number in became.items() if one == kind) >= sum(
            topic == topics.up(TERMINAL, kind) for topic, _ in own
        )


@pytest.fixture
def own_broker(short_folder: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may kill."""
    with EmbeddedBroker(short_folder / f"broker-{secrets.token_hex(3)}") as started:
        yield started


@pytest.fixture
def cut_off(database: Database, own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Site]:
    """A site whose terminal has just been told to trip round 1 when the broker was killed."""
    site = a_site(database.engine, database.application_url, own_broker, tmp_path)
    site.device.connect()
    with a_worker(site):
        site.device.prove_downlink()
        site.buy()
        site.device.apply(site.device.ordered(Op.CREDIT))
        site.device.receipted(site.device.report())
        eventually(site.commandable)
        site.order_trip()
        site.device.ack(site.device.ordered(Op.TRIP, Step.ARM).id, "armed", nonce="n-1", active_power_w=480_000)
        site.device.ordered(Op.TRIP, Step.OPERATE)
        own_broker.kill()
        site.device.close()
        yield site
    site.device.close()


def test_a_killed_broker_costs_time_and_never_a_second_cut(cut_off: Site, own_broker: EmbeddedBroker) -> None:
    trip = cut_off.device.ordered(Op.TRIP, Step.OPERATE)
    heard = len(cut_off.device.commands)
    late = cut_off.buy()
    own_broker.start()
    cut_off.device.connect()
    # What is told before the worker is back is lost, and told again.
    eventually(lambda: cut_off.device.birth() or sleep(0.2) or len(cut_off.device.of("clock")) > 1)
    cut_off.device.heartbeat()
    cut_off.device.apply(cut_off.device.ordered(Op.CREDIT, times=2))
    eventually(lambda: cut_off.credit_of(late).state == "verified")
    eventually(lambda: cut_off.command(trip.id).state == "failed")
    cut_off.device.receipted(cut_off.device.report())
    assert {one.id for one in cut_off.device.commands[heard:]} == {late.command_id}
    assert [one.step for one in cut_off.device.commands if one.op == "trip"] == [Step.ARM, Step.OPERATE]


def test_a_cut_without_an_answer_is_unknown_even_while_the_broker_is_away(cut_off: Site) -> None:
    trip = cut_off.device.ordered(Op.TRIP, Step.OPERATE)
    assert cut_off.command(trip.id).state == "operating"
    with transaction(cut_off.engine) as session:
        session.get_one(Command, trip.id).due_at = Clock().now() - timedelta(seconds=1)
    eventually(lambda: cut_off.command(trip.id).state == "unknown", within_s=3)


def test_a_batch_waits_for_a_database_that_is_away(
    short_folder: Path, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with EmbeddedPostgres(short_folder / "own", durable=False) as server:
        server.create_database("wattgate")
        upgrade(server.owner_url("wattgate"))
        url = server.application_url("wattgate")
        site = a_site(connect(url, pool_size=2), url, broker, tmp_path)
        site.device.connect()
        with a_worker(site):
            site.device.receipted(site.device.report())
            server.stop()
            stopped_s = monotonic_s()
            told = [site.device.report() for _ in range(3)]
            sleep(max(3.0 - (monotonic_s() - stopped_s), 0))
            assert max(one["upto"] for one in site.device.of("receipt")) == 1
            server.start()
            site.engine.dispose()
            assert site.device.receipted(told[-1])["missing"] == []
            assert sorted(one.seq for one in site.rows(TerminalReport)) == [1, *told]
            sold = site.buy()
            site.device.prove_downlink()
            site.device.apply(site.device.ordered(Op.CREDIT))
            eventually(lambda: site.credit_of(sold).state == "verified")
        site.device.close()
        site.engine.dispose()
