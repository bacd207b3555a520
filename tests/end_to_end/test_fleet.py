"""Simulated terminals on a real broker: birth, commands, outages, last wills, two hundred at once."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from app.mqtt import topics
from app.mqtt.messages import ClockChallenge, CommandClaims, Receipt, Step, encode, parse_up
from simulators.faults import Freeze, LinkFaults, Outage, PowerCycle
from simulators.fleet import Fleet
from simulators.profile import BrokerProfile, FleetProfile, TerminalProfile, many
from simulators.workbench import signer, terminal_profile

TERMINALS = tuple(f"SH-{number:04}" for number in range(200))
WAIT_S = 15


@dataclass(frozen=True)
class Broker:
    host: str
    port: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_file(directory: Path, *, port: int, mqtt_port: int) -> str:
    of_service = 'publish: ["lm.v1.*.dn.>"], subscribe: ["lm.v1.*.up", "lm.v1.*.up.>"]'
    users = [f"{{user: svc, password: svc, permissions: {{{of_service}}}}}"]
    users += [
        f'{{user: "{name}", password: workbench, permissions: {{publish: ["lm.v1.{name}.up.>"],'
        f' subscribe: ["lm.v1.{name}.dn", "lm.v1.{name}.dn.>"]}}}}'
        for name in TERMINALS
    ]
    return (
        f'server_name: wattgate\nlisten: "127.0.0.1:{port}"\njetstream {{ store_dir: "{directory}" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{mqtt_port}" }}\n'
        f"authorization {{ users: [\n{chr(10).join(users)}\n] }}\n"
    )


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("broker")
    mqtt_port = free_port()
    path = directory / "nats.conf"
    path.write_text(server_file(directory, port=free_port(), mqtt_port=mqtt_port))
    executable = Path(sys.executable).with_name("nats-server")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([executable, "-c", path], stdout=log, stderr=log)
        try:
            eventually(lambda: listens(mqtt_port))
            yield Broker("127.0.0.1", mqtt_port)
        finally:
            process.terminate()
            process.wait(10)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def eventually(happened: Callable[[], Any], *, timeout_s: float = WAIT_S) -> Any:
    end_s = time.monotonic() + timeout_s
    while not (result := happened()):
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.02)
    return result


class Service:
    """The other side, as small as it can be: hears all, sends what a test wants."""

    def __init__(self, broker: Broker) -> None:
        self.heard: list[tuple[str, str, Any]] = []
        self._ready: queue.Queue[bool] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="svc")
        self._client.username_pw_set("svc", "svc")
        self._client.on_connect = lambda client, *_: client.subscribe(topics.ALL_UP, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.put(True)
        self._client.on_message = self._hear
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        assert self._ready.get(timeout=WAIT_S)

    def _hear(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        terminal_id, kind = topics.parse_up(message.topic)
        self.heard.append((terminal_id, kind, parse_up(kind, message.payload)))

    def of(self, terminal_id: str, kind: str) -> list[Any]:
        return [message for who, what, message in list(self.heard) if (who, what) == (terminal_id, kind)]

    def wait_for(self, terminal_id: str, kind: str, *, count: int = 1) -> list[Any]:
        eventually(lambda: len(self.of(terminal_id, kind)) >= count)
        return self.of(terminal_id, kind)

    def send(self, terminal_id: str, kind: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topics.down(terminal_id, kind), payload, qos=1, retain=retain)

    def command(self, terminal_id: str, op: str, *, slot: str, **members: Any) -> CommandClaims:
        now = datetime.now(UTC)
        claims = CommandClaims.model_validate(
            {
                "id": uuid4(),
                "terminal_id": terminal_id,
                "op": op,
                "slot": slot,
                "version": 1,
                "step": Step.DO,
                "issued_at": now,
                "expires_at": now + timedelta(days=3650),
                "reason": "test",
            }
            | members
        )
        self.send(terminal_id, "command", signer().sign(claims))
        return claims

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def service(broker: Broker) -> Iterator[Service]:
    service = Service(broker)
    yield service
    service.close()


def profile_of(broker: Broker, *ids: str, clock: dict[str, Any] | None = None, **different: Any) -> FleetProfile:
    now = datetime.now(UTC)
    like: TerminalProfile = terminal_profile(**different)
    return FleetProfile.model_validate(
        {
            "broker": BrokerProfile(host=broker.host, port=broker.port),
            "clock": clock or {"factor": 1, "started_at": now, "shown_at": now},
            "terminals": many(like, ids=ids),
        }
    )


@contextmanager
def running(profile: FleetProfile) -> Iterator[Fleet]:
    with Fleet(profile) as fleet:
        fleet.wait_online()
        yield fleet


def test_a_terminal_is_born_challenged_and_carries_out_a_trip(broker: Broker, service: Service) -> None:
    with running(profile_of(broker, "SH-0000")) as fleet:
        birth = service.wait_for("SH-0000", "birth")[0]
        assert service.heard[0][1] == "birth"
        service.send("SH-0000", "clock", encode(ClockChallenge(at=datetime.now(UTC), challenge="c-1")))
        assert service.wait_for("SH-0000", "heartbeat")[0].echo == "c-1"
        cut = {"slot": "round-1", "args": {"round": 1}, "session": birth.session, "max_uptime_s": 3600}
        armed = service.command("SH-0000", "trip", step=Step.ARM, **cut)
        nonce = service.wait_for("SH-0000", "ack", count=2)[1].detail.nonce
        service.command("SH-0000", "trip", step=Step.OPERATE, id=armed.id, nonce=nonce, **cut)
        acks = service.wait_for("SH-0000", "ack", count=3)
        assert [ack.step for ack in acks] == ["received", "armed", "executed"]
        report = service.wait_for("SH-0000", "report")[0]
        assert (report.state.rounds, fleet.terminal("SH-0000").state.rounds) == ("01------", "01------")
        assert report.active_power_w == fleet.terminal("SH-0000").power_w
    assert service.of("SH-0000", "death") == []


def test_an_outage_is_measured_and_filled(broker: Broker, service: Service) -> None:
    now = datetime.now(UTC)
    fast = {"factor": 3600, "started_at": now, "shown_at": now}
    with running(profile_of(broker, "SH-0001", clock=fast)) as fleet:
        session = service.wait_for("SH-0001", "birth")[0].session
        before = service.wait_for("SH-0001", "report")[-1]
        service.send("SH-0001", "receipt", encode(Receipt(spool_id=before.spool_id, upto=before.seq)))
        eventually(lambda: fleet.terminal("SH-0001").spooled == 0)
        fleet.do("SH-0001", Outage(seconds=1.5))
        assert service.wait_for("SH-0001", "death")[0].session == session
        assert service.wait_for("SH-0001", "birth", count=2)[1].session != session
        filled = service.wait_for("SH-0001", "backfill", count=4)
        assert filled[0].seq > filled[-1].seq > before.seq
        last = filled[0]
        service.send("SH-0001", "receipt", encode(Receipt(spool_id=last.spool_id, upto=last.seq)))
        eventually(lambda: fleet.terminal("SH-0001").spooled < 10)
        energy = {report.seq: report.supplied_wh for report in [*filled, *service.of("SH-0001", "report")]}
        assert [energy[seq] for seq in sorted(energy)] == sorted(energy.values())


def test_a_killed_fleet_leaves_its_last_will_and_finds_its_memory(
    broker: Broker, service: Service, tmp_path: Path
) -> None:
    profile = profile_of(broker, "SH-0002").model_copy(update={"memory_dir": tmp_path})
    fleet = Fleet(profile)
    fleet.start()
    fleet.wait_online()
    first = service.wait_for("SH-0002", "birth")[0]
    order = {"order_no": 9, "mode": "refresh", "value_wh": 0, "paid_until_wh": 5_000_000}
    args = {**order, "alarm_wh": 0, "trip_wh": 0}
    service.command("SH-0002", "credit", slot="credit", args=args)
    service.wait_for("SH-0002", "ack", count=2)
    fleet.kill()
    assert service.wait_for("SH-0002", "death")[0].session == first.session
    with running(profile):
        second = service.wait_for("SH-0002", "birth", count=2)[1]
    assert (second.boot, second.state.order_no, second.spool.id) == (2, 9, first.spool.id)
    assert second.results[0].step == "executed"
    assert second.slots == {"credit": 1}
    service.wait_for("SH-0002", "event", count=2)


def test_power_cycle_and_freeze(broker: Broker, service: Service) -> None:
    with running(profile_of(broker, "SH-0003", heartbeat_interval_s=1)) as fleet:
        first = service.wait_for("SH-0003", "birth")[0]
        fleet.do("SH-0003", PowerCycle(off_s=0.3))
        assert service.wait_for("SH-0003", "death")[0].session == first.session
        assert service.wait_for("SH-0003", "birth", count=2)[1].boot == 2
        eventually(lambda: {"power_fail", "power_back"} <= {e.type for e in service.of("SH-0003", "event")})
        fleet.do("SH-0003", Freeze(seconds=1))
        heard = len(service.heard)
        claims = service.command("SH-0003", "close", slot="round-1", args={"round": 1})
        time.sleep(0.7)
        assert len(service.heard) == heard
        acks = service.wait_for("SH-0003", "ack", count=2)
        assert {ack.command_id for ack in acks} == {claims.id}


def test_a_bad_line_changes_nothing_but_the_number_of_frames(broker: Broker, service: Service) -> None:
    with running(profile_of(broker, "SH-0004")) as fleet:
        fleet.do("SH-0004", LinkFaults(duplicate_percent=100, reorder_percent=30, delay_s=0.05))
        for order_no in range(1, 6):
            args = {"order_no": order_no, "mode": "append", "value_wh": 100, "paid_until_wh": order_no * 100}
            service.command(
                "SH-0004",
                "credit",
                slot="credit",
                version=order_no,
                args={**args, "alarm_wh": 0, "trip_wh": 0},
            )
        eventually(lambda: fleet.terminal("SH-0004").state.order_no == 5)
        assert fleet.terminal("SH-0004").state.paid_until_wh == 500
        applied = {e.seq: e for e in service.of("SH-0004", "event") if e.type == "credit_applied"}
        assert len({e.detail.order_no for e in applied.values()}) == len(applied)


def test_a_retained_command_is_dropped(broker: Broker, service: Service) -> None:
    with running(profile_of(broker, "SH-0005")):
        service.wait_for("SH-0005", "birth")
    service.send("SH-0005", "request", b'{"want":"report"}', retain=True)
    time.sleep(0.3)
    with running(profile_of(broker, "SH-0005")):
        service.wait_for("SH-0005", "birth", count=2)
        time.sleep(0.3)
        assert service.of("SH-0005", "report") == []
        service.send("SH-0005", "request", b"", retain=True)


def test_two_hundred_terminals_live_in_one_process(broker: Broker, service: Service) -> None:
    with running(profile_of(broker, *TERMINALS)) as fleet:
        assert fleet.online == len(TERMINALS)
        fleet.report()
        eventually(lambda: {who for who, kind, _ in list(service.heard) if kind == "report"} >= set(TERMINALS))
        births = [who for who, kind, _ in service.heard if kind == "birth"]
        assert sorted(births) == sorted(TERMINALS)


def test_a_fleet_file_runs_as_a_program_and_takes_faults(broker: Broker, service: Service, tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(profile_of(broker, "SH-0006").model_dump_json())
    program = subprocess.Popen(
        [sys.executable, "-m", "simulators", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with program:
        service.wait_for("SH-0006", "birth")
        assert program.stdin is not None
        program.stdin.write(json.dumps({"terminal_id": "SH-0006", "fault": "power_cycle", "off_s": 0.1}) + "\n")
        program.stdin.flush()
        service.wait_for("SH-0006", "birth", count=2)
        program.send_signal(signal.SIGTERM)
        told, _ = program.communicate(timeout=WAIT_S)
    assert program.returncode == 0
    assert "SH-0006 connected" in told
    assert service.wait_for("SH-0006", "death")[0].session == service.of("SH-0006", "birth")[0].session
    assert len(service.of("SH-0006", "death")) == 1


def test_a_fleet_ends_in_order_though_its_loop_has_seen_the_end_before_it_is_woken() -> None:
    class WokenLate(Fleet):
        def _wake(self) -> None:
            self._thread.join(WAIT_S)
            super()._wake()

    nobody = BrokerProfile(host="127.0.0.1", port=free_port())
    with WokenLate(FleetProfile(broker=nobody, terminals=[terminal_profile()])) as fleet:
        fleet.stop()
        assert fleet.online == 0
