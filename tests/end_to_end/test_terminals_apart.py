"""A terminal with valid credentials can neither read nor write anything of another: on Mosquitto, and on NATS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import bcrypt
import pytest
from mosquitto import Mosquitto
from paho.mqtt.enums import MQTTProtocolVersion
from peers import SUCCESS, V5, V311, Peer, eventually

from app.embedded.broker import SERVICE_USER, EmbeddedBroker

A, B = "SH-0001", "SH-0002"
PASSWORDS = {A: "the first terminal's own", B: "the second terminal's own"}
OF_B = [
    f"lm/v1/{B}/{way}/{kind}" for way, kind in (("dn", "command"), ("dn", "clock"), ("up", "report"), ("up", "ack"))
]


@dataclass(frozen=True, kw_only=True)
class Town:
    """A broker with a service and two terminals on it, each subscribed to what is its own."""

    enter: Callable[..., Peer]
    service: Peer
    a: Peer
    b: Peer


def of_mosquitto(broker: Mosquitto) -> Callable[..., Peer]:
    broker.set_users(PASSWORDS)
    words = PASSWORDS | {SERVICE_USER: broker.service_password}

    def enter(user: str, *, password: str | None = None, **how: object) -> Peer:
        how = {"protocol": V5} | how
        return Peer(broker.port, user, password or words[user], authority=broker.authority, **how)  # type: ignore[arg-type]

    return enter


def of_nats(broker: EmbeddedBroker) -> Callable[..., Peer]:
    hashes = {name: bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode() for name, word in PASSWORDS.items()}
    broker.set_users(broker.service_password, hashes)
    words = PASSWORDS | {SERVICE_USER: broker.service_password}

    def enter(user: str, *, password: str | None = None, **how: object) -> Peer:
        how = {"protocol": V311} | how
        return Peer(broker.port, user, password or words[user], authority=None, **how)  # type: ignore[arg-type]

    return enter


@pytest.fixture(params=["mosquitto", "broker"], ids=["on_mosquitto", "on_nats"])
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    broker = request.getfixturevalue(request.param)
    enter = of_mosquitto(broker) if isinstance(broker, Mosquitto) else of_nats(broker)
    with enter(SERVICE_USER) as service, enter(A) as a, enter(B) as b:
        assert service.subscribe("lm/v1/+/up/#")
        assert a.subscribe(f"lm/v1/{A}/dn/#")
        assert b.subscribe(f"lm/v1/{B}/dn/#")
        yield Town(enter=enter, service=service, a=a, b=b)


def test_each_hears_its_own(town: Town) -> None:
    town.service.publish(f"lm/v1/{A}/dn/command", "for A")
    town.a.publish(f"lm/v1/{A}/up/report", "from A")
    assert town.a.hears("for A")
    assert town.service.hears("from A")
    assert town.b.heard == []


@pytest.mark.parametrize(
    "wanted",
    [f"lm/v1/{B}/dn/#", f"lm/v1/{B}/up/#", "lm/v1/+/dn/#", "lm/v1/+/up/#", "lm/v1/#", "+/+/+/+/+", "#", "$SYS/#"],
)
def test_a_terminal_reads_nothing_of_another_whatever_it_subscribes_to(town: Town, wanted: str) -> None:
    # Mosquitto grants any subscription and then delivers nothing; NATS refuses it.
    town.a.subscribe(wanted)
    town.service.publish(f"lm/v1/{B}/dn/command", "for B")
    town.b.publish(f"lm/v1/{B}/up/report", "from B")
    assert town.b.hears("for B")
    assert town.service.hears("from B")
    town.service.publish(f"lm/v1/{A}/dn/command", "for A")
    assert town.a.hears("for A")
    assert {topic for topic, _ in town.a.heard} == {f"lm/v1/{A}/dn/command"}


def test_a_terminal_writes_nothing_of_another_nor_orders_to_itself(town: Town) -> None:
    foreign = [*OF_B, f"lm/v1/{A}/dn/command", f"lm/v1/{A.lower()}/up/report", f"lm/v2/{A}/up/report", f"lm/v1/{A}"]
    answers = {town.a.publish(topic, "forged") for topic in foreign}
    assert answers in ({"Not authorized"}, {SUCCESS})
    town.service.publish(f"lm/v1/{B}/dn/command", "for B")
    town.b.publish(f"lm/v1/{B}/up/report", "from B")
    town.service.publish(f"lm/v1/{A}/dn/command", "for A")
    assert town.b.hears("for B")
    assert town.service.hears("from B")
    assert town.a.hears("for A")
    assert (town.b.payloads, town.service.payloads, town.a.payloads) == (["for B"], ["from B"], ["for A"])


def test_a_foreign_last_will_is_not_told(town: Town) -> None:
    town.a.close()
    heir = town.enter(A, will=(f"lm/v1/{B}/up/death", "B is dead"))
    heir.vanish()
    with town.enter(A, will=(f"lm/v1/{A}/up/death", "A is dead")) as dying:
        dying.vanish()
    assert town.service.hears("A is dead")
    assert town.service.payloads == ["A is dead"]


def test_a_wrong_or_borrowed_password_opens_nothing(town: Town) -> None:
    for user, password in ((A, PASSWORDS[B]), (A, ""), ("SH-9999", PASSWORDS[A]), (SERVICE_USER, PASSWORDS[A])):
        with town.enter(user, password=password or " ") as stranger:
            assert stranger.welcome != SUCCESS
    assert (town.a.ended, town.b.ended, town.service.ended) == ([], [], [])


def test_nobody_but_the_service_hears_or_writes_for_all(town: Town) -> None:
    town.service.publish(f"lm/v1/{A}/up/report", "forged by the service")
    town.service.subscribe(f"lm/v1/{A}/dn/#")
    town.service.publish(f"lm/v1/{A}/dn/command", "for A")
    town.a.publish(f"lm/v1/{A}/up/report", "from A")
    assert town.a.hears("for A")
    assert town.service.hears("from A")
    assert town.service.payloads == ["from A"]


@pytest.mark.parametrize("protocol", [V311, V5], ids=["v311", "v5"])
def test_a_borrowed_client_id_takes_nobodys_place_on_mosquitto(
    mosquitto: Mosquitto, protocol: MQTTProtocolVersion
) -> None:
    enter = of_mosquitto(mosquitto)
    with enter(B) as b, enter(SERVICE_USER) as service:
        assert b.subscribe(f"lm/v1/{B}/dn/#")
        with enter(A, client_id=B, protocol=protocol, keeps_session=True) as thief:
            assert thief.welcome == SUCCESS
            service.publish(f"lm/v1/{B}/dn/command", "for B")
            assert b.hears("for B")
            assert (b.ended, thief.heard) == ([], [])


def test_the_same_user_twice_is_one_connection_and_the_older_one_falls(mosquitto: Mosquitto) -> None:
    enter = of_mosquitto(mosquitto)
    with enter(A) as first, enter(A) as second:
        eventually(lambda: first.ended)
        assert second.publish(f"lm/v1/{A}/up/report", "from the second") == "No matching subscribers"
        assert second.ended == []
