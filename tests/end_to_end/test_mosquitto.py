"""What brokers and clients do to orders that nobody minds, tried on the Mosquitto that is deployed."""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from mosquitto import DEPLOYED, Mosquitto
from paho.mqtt.enums import MQTTProtocolVersion
from peers import SUCCESS, V5, V311, WAIT_S, Peer, eventually
from structlog.testing import capture_logs

from app.clock import Clock, sleep
from app.embedded.broker import SERVICE_USER, EmbeddedBroker, connect_packet
from app.embedded.ports import LOOPBACK
from app.mqtt import topics
from app.mqtt.client import BrokerAddress, BrokerLink, NotConnectedError
from app.mqtt.messages import Ack, ClockChallenge, CommandClaims, Step, encode, parse_up
from simulators.faults import Freeze
from simulators.fleet import Fleet
from simulators.profile import BrokerProfile, FleetProfile, many
from simulators.workbench import signer, terminal_profile

TERMINAL = "SH-0001"
COMMAND = topics.down(TERMINAL, "command")
PASSWORDS = {TERMINAL: "workbench", "SH-0002": "the other one's"}
BURST = 3_000


class Service:
    """The product's own link to the broker, and what came over it."""

    def __init__(self, address: BrokerAddress, *, forgotten_after_s: int = 60) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.disturb: Callable[[bytes], None] = lambda _payload: None
        self.link = BrokerLink(
            address, client_id=SERVICE_USER, on_message=self._hear, forgotten_after_s=forgotten_after_s
        )

    def _hear(self, topic: str, payload: bytes) -> None:
        self.heard.append((topic, payload))
        self.disturb(payload)

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in list(self.heard)]

    def told(self, kind: str) -> list[Any]:
        return [parse_up(kind, payload) for topic, payload in list(self.heard) if topic.endswith(f"/up/{kind}")]

    def order(self, payload: bytes, *, within_s: float = WAIT_S) -> bool:
        return self.link.publish(COMMAND, payload).taken(within_s=within_s)


@contextmanager
def a_service(address: BrokerAddress, **how: Any) -> Iterator[Service]:
    service = Service(address, **how)
    with capture_logs():
        service.link.start()
        try:
            assert service.link.wait_connected(WAIT_S)
            yield service
        finally:
            service.link.stop()


@pytest.fixture
def service(mosquitto: Mosquitto) -> Iterator[Service]:
    mosquitto.set_users(PASSWORDS)
    with a_service(mosquitto.address) as connected:
        yield connected


@pytest.fixture
def own(short_folder: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that a test may freeze and kill."""
    with Mosquitto(short_folder / f"mosquitto-{secrets.token_hex(3)}") as started:
        started.set_users(PASSWORDS)
        yield started


def peer(broker: Mosquitto, user: str = TERMINAL, **how: Any) -> Peer:
    password = broker.service_password if user == SERVICE_USER else PASSWORDS[user]
    return Peer(broker.port, user, password, authority=broker.authority, **how)


def listening(broker: Mosquitto, **how: Any) -> Peer:
    terminal = peer(broker, **how)
    assert terminal.subscribe(topics.all_down(TERMINAL))
    return terminal


def test_the_file_that_is_tested_is_the_one_that_is_deployed() -> None:
    composition = (DEPLOYED.parent / "docker-compose.yml").read_text()
    assert "./deploy/mosquitto.conf:/mosquitto/config/mosquitto.conf:ro" in composition
    assert "./deploy/mosquitto.acl:/mosquitto/config/acl:ro" in composition
    rights = [line for line in (DEPLOYED / "mosquitto.acl").read_text().splitlines() if line and line[0] != "#"]
    assert [line for line in rights if line.startswith("pattern")] == [
        "pattern write lm/v1/%u/up/#",
        "pattern read lm/v1/%u/dn/#",
    ]
    of_a_worker = ["topic read lm/v1/+/up/#", "topic write lm/v1/+/dn/#"]
    workers = ("user wattgate", "user wattgate-2", "user wattgate-3")
    assert rights[:-2] == [line for user in workers for line in (user, *of_a_worker)]


def test_nobody_comes_in_without_tls(mosquitto: Mosquitto) -> None:
    with socket.create_connection((LOOPBACK, mosquitto.port), timeout=WAIT_S) as plain:
        plain.sendall(connect_packet(TERMINAL, password=PASSWORDS[TERMINAL]))
        answer = b""
        with suppress(ConnectionResetError):
            answer = plain.recv(64)
    assert not answer.startswith(b"\x20"), "a CONNACK came without TLS"


# paho leaves a socket whose TLS has failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_service_tells_its_password_to_no_stranger(mosquitto: Mosquitto, own: Mosquitto) -> None:
    mosquitto.set_users(PASSWORDS)
    told = BrokerAddress(**{**mosquitto.address.__dict__, "ca_file": own.authority})
    link = BrokerLink(told, client_id=SERVICE_USER, on_message=lambda _topic, _payload: None)
    with capture_logs() as logs:
        link.start()
        eventually(lambda: logs)
        link.stop()
    assert (logs[0]["event"], "CERTIFICATE_VERIFY_FAILED" in logs[0]["error"]) == ("broker unreachable", True)


def test_an_order_for_a_terminal_that_is_away_is_not_taken_and_never_comes_later(
    mosquitto: Mosquitto, service: Service
) -> None:
    assert [service.order(b"order %d" % number) for number in range(8)] == [False] * 8
    with listening(mosquitto) as terminal:
        assert service.order(b"now")
        assert terminal.hears("now")
        assert terminal.payloads == ["now"]
    eventually(lambda: not service.order(b"after it left"))
    with listening(mosquitto) as terminal:
        assert service.order(b"now")
        assert terminal.hears("now")
        assert terminal.payloads == ["now"]


def test_a_session_that_a_terminal_kept_against_the_rules_holds_no_order_past_its_time(mosquitto: Mosquitto) -> None:
    mosquitto.set_users(PASSWORDS)
    listening(mosquitto, keeps_session=True).close()
    with a_service(mosquitto.address, forgotten_after_s=1) as service:
        # The trap: it says that it was taken, though nobody is there.
        assert service.order(b"late")
    with a_service(mosquitto.address) as service:
        assert service.order(b"in time")
        sleep(2.1)  # Mosquitto counts whole seconds
        with peer(mosquitto, keeps_session=True) as terminal:
            assert terminal.hears("in time")
            assert terminal.payloads == ["in time"]
    listening(mosquitto).close()


@pytest.mark.parametrize("protocol", [V311, V5], ids=["v311", "v5"])
@pytest.mark.parametrize(
    ("user", "topic"), [(SERVICE_USER, COMMAND), (TERMINAL, topics.up(TERMINAL, "report"))], ids=["command", "report"]
)
def test_a_retained_message_is_refused_and_kept_for_nobody(
    mosquitto: Mosquitto, user: str, topic: str, protocol: MQTTProtocolVersion
) -> None:
    mosquitto.set_users(PASSWORDS)
    with peer(mosquitto, user, protocol=protocol) as sender:
        sender.publish(topic, "retained", retain=True)
        eventually(lambda: sender.ended)
        assert sender.ended == ["Retain not supported" if protocol is V5 else "Unspecified error"]
    with a_service(mosquitto.address) as service, listening(mosquitto) as terminal:
        assert service.order(b"fresh")
        assert terminal.hears("fresh")
        terminal.publish(topics.up(TERMINAL, "report"), "fresh")
        eventually(lambda: b"fresh" in service.payloads)
        assert (terminal.payloads, service.payloads) == (["fresh"], [b"fresh"])


def test_what_the_service_told_a_broker_that_died_is_not_told_again(own: Mosquitto) -> None:
    with a_service(own.address) as service:
        with listening(own) as terminal:
            own.freeze()
            under_way = [service.link.publish(COMMAND, b"trip %d" % number) for number in range(1_500)]
            assert not under_way[0].taken(within_s=0.05)
            own.kill()
            eventually(lambda: terminal.ended)
        eventually(lambda: not service.link.connected)
        with pytest.raises(NotConnectedError):
            service.link.publish(COMMAND, b"trip while away")
        # The terminal comes first, so that it would hear whatever the service's client still had.
        own.set_users(PASSWORDS, service=False)
        own.start()
        with listening(own) as terminal:
            own.set_users(PASSWORDS)
            assert service.link.wait_connected(WAIT_S)
            assert service.order(b"now")
            assert terminal.hears("now")
            assert terminal.payloads == ["now"]
            # The new connection counts its messages from one again: its answers are for none of the old.
            assert [one.taken(within_s=0) for one in under_way if one.taken(within_s=0)] == []


def test_an_error_in_what_takes_a_message_costs_that_message_only(mosquitto: Mosquitto, service: Service) -> None:
    def stumble(payload: bytes) -> None:
        if payload == b"poison":
            raise RuntimeError("this message cannot be borne")

    service.disturb = stumble
    with listening(mosquitto) as terminal:
        for payload in ("poison", "next"):
            terminal.publish(topics.up(TERMINAL, "report"), payload)
        eventually(lambda: service.payloads == [b"poison", b"next"])
        assert service.link.connected
        assert service.order(b"still here")
        assert terminal.hears("still here")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_network_thread_that_ends_is_a_lost_connection_and_a_new_one_is_made(
    mosquitto: Mosquitto, service: Service
) -> None:
    ended = Event()

    def end_the_thread(payload: bytes) -> None:
        if payload == b"end":
            ended.set()
            raise SystemExit

    service.disturb = end_the_thread
    with listening(mosquitto) as terminal:
        terminal.publish(topics.up(TERMINAL, "report"), "end")
        assert ended.wait(WAIT_S)
        eventually(lambda: not service.link.connected, within_s=2)
        assert service.link.wait_connected(WAIT_S)
        assert service.order(b"alive again")
        assert terminal.hears("alive again")


def test_a_burst_larger_than_the_window_waits_in_the_broker_and_comes_whole(
    mosquitto: Mosquitto, service: Service
) -> None:
    go_on = Event()

    def wait(_payload: bytes) -> None:
        go_on.wait(WAIT_S)

    service.disturb = wait
    with peer(mosquitto) as terminal:
        for number in range(BURST):
            terminal.send(topics.up(TERMINAL, "report"), str(number))
        assert terminal.publish(topics.up(TERMINAL, "report"), "last") == SUCCESS
        assert len(service.heard) == 1
        go_on.set()
        eventually(lambda: b"last" in service.payloads)
    assert service.payloads == [*(str(number).encode() for number in range(BURST)), b"last"]


def test_more_orders_at_once_than_the_broker_takes_all_arrive(mosquitto: Mosquitto, service: Service) -> None:
    with listening(mosquitto) as terminal:
        under_way = [service.link.publish(COMMAND, str(number).encode()) for number in range(BURST)]
        assert all(one.taken(within_s=WAIT_S) for one in under_way)
        eventually(lambda: len(terminal.heard) == BURST)
        assert terminal.payloads == [str(number) for number in range(BURST)]


def test_terminals_are_let_in_and_thrown_out_while_the_others_stay(mosquitto: Mosquitto, service: Service) -> None:
    with listening(mosquitto) as terminal, peer(mosquitto, "SH-0002") as other:
        mosquitto.set_users({TERMINAL: PASSWORDS[TERMINAL], "SH-0003": "new"})
        eventually(lambda: other.ended)
        with Peer(mosquitto.port, "SH-0003", "new", authority=mosquitto.authority) as newcomer:
            assert newcomer.publish(topics.up("SH-0003", "report"), "new here") == SUCCESS
        with peer(mosquitto, "SH-0002") as again:
            assert again.welcome == "Not authorized"
        assert service.order(b"still here")
        assert terminal.hears("still here")
        assert (terminal.ended, service.link.connected) == ([], True)


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(broker: EmbeddedBroker) -> None:
    address = BrokerAddress(host=LOOPBACK, port=broker.port, user=SERVICE_USER, password=broker.service_password)
    with a_service(address) as service:
        assert service.order(b"nobody is there, and this broker does not say so")


def fleet_of(broker: Mosquitto, **how: Any) -> Fleet:
    now = Clock().now()
    return Fleet(
        FleetProfile.model_validate(
            {
                "broker": BrokerProfile(host=LOOPBACK, port=broker.port, ca_file=broker.authority),
                "clock": {"factor": 1, "started_at": now, "shown_at": now},
                "terminals": many(terminal_profile(**how), ids=[TERMINAL]),
            }
        )
    )


class Hand:
    """Signs and sends a trip of round 1 in two steps, as the service does."""

    def __init__(self, service: Service, *, session: str) -> None:
        self._service = service
        self._session = session
        self.id = UUID(int=secrets.randbits(128))

    def send(self, step: Step, *, good_for_s: int, nonce: str | None = None) -> bool:
        now = Clock().now()
        claims = CommandClaims(
            id=self.id,
            terminal_id=TERMINAL,
            op="trip",
            args={"round": 1, "alarm_delay_min": 0, "limit_min": 0},
            slot="round-1",
            version=1,
            step=step,
            issued_at=now,
            expires_at=now + timedelta(seconds=good_for_s),
            session=self._session,
            max_uptime_s=3_600,
            nonce=nonce,
            reason="asked for by dispatch",
        )
        return self._service.order(signer().sign(claims))

    def answers(self) -> list[Ack]:
        return [ack for ack in self._service.told("ack") if ack.command_id == self.id]


@pytest.mark.parametrize("step", [Step.ARM, Step.OPERATE])
def test_a_frozen_terminal_that_thaws_after_the_orders_time_does_not_act(
    mosquitto: Mosquitto, service: Service, step: Step
) -> None:
    with fleet_of(mosquitto) as fleet:
        fleet.wait_online()
        birth = eventually(lambda: service.told("birth"))[0]
        told = ClockChallenge(at=Clock().now(), challenge="c-1")
        service.link.publish(topics.down(TERMINAL, "clock"), encode(told))
        eventually(lambda: [beat for beat in service.told("heartbeat") if beat.echo == "c-1"])
        hand, nonce = Hand(service, session=birth.session), None
        if step is Step.OPERATE:
            assert hand.send(Step.ARM, good_for_s=60)
            nonce = eventually(lambda: [ack.detail.nonce for ack in hand.answers() if ack.step == "armed"])[0]
        fleet.do(TERMINAL, Freeze(seconds=1.5))
        answered = len(hand.answers())
        # The trap: the connection stands, so the broker takes the order and says yes.
        assert hand.send(step, good_for_s=1, nonce=nonce)
        refused = eventually(lambda: hand.answers()[answered:])[0]
        assert (refused.step, refused.code) == ("refused", "EXPIRED")
        assert fleet.terminal(TERMINAL).state.rounds == "11------"
        assert service.told("death") == []
