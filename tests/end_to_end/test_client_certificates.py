"""Terminals with client certificates on the second listener that is deployed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mosquitto import Mosquitto
from peers import SUCCESS, Peer, eventually

from app.embedded.broker import SERVICE_USER
from app.mqtt import topics

TERMINAL, OTHER = "SH-0001", "SH-0002"


@pytest.fixture
def broker(short_folder: Path) -> Iterator[Mosquitto]:
    with Mosquitto(short_folder / "mosquitto-certificates", certificates=True) as started:
        started.set_users({})
        yield started


def enter(broker: Mosquitto, folder: Path, *, named: str, claims_to_be: str | None = None) -> Peer:
    assert broker.certificates_port is not None
    identity = (folder / f"{named}-certificate.pem", folder / f"{named}-key.pem")
    return Peer(
        broker.certificates_port, claims_to_be or named, "no password", authority=broker.authority, identity=identity
    )


def test_a_certificates_name_is_the_terminal_whatever_it_claims_to_be(broker: Mosquitto, tmp_path: Path) -> None:
    for name in (TERMINAL, OTHER):
        broker.terminals_authority.issue(tmp_path, common_name=name, name=f"{name}-")
    with (
        Peer(broker.port, SERVICE_USER, broker.service_password, authority=broker.authority) as service,
        enter(broker, tmp_path, named=OTHER) as other,
        enter(broker, tmp_path, named=TERMINAL, claims_to_be=OTHER) as terminal,
    ):
        assert service.subscribe(topics.ALL_UP)
        assert [other.subscribe(topics.all_down(name)) for name in (TERMINAL, OTHER)] == [True, True]
        assert terminal.publish(topics.up(OTHER, "report"), "forged") == "Not authorized"
        assert terminal.publish(topics.up(TERMINAL, "report"), "its own") == SUCCESS
        service.publish(topics.down(TERMINAL, "command"), "not for the other")
        service.publish(topics.down(OTHER, "command"), "for the other")
        assert other.hears("for the other")
        assert service.hears("its own")
        assert (other.payloads, service.payloads, other.ended) == (["for the other"], ["its own"], [])


def test_a_revoked_certificate_lets_nobody_in_and_the_others_stay(broker: Mosquitto, tmp_path: Path) -> None:
    stolen = broker.terminals_authority.issue(tmp_path, common_name=TERMINAL, name=f"{TERMINAL}-")
    broker.terminals_authority.issue(tmp_path, common_name=OTHER, name=f"{OTHER}-")
    with enter(broker, tmp_path, named=TERMINAL) as thief, enter(broker, tmp_path, named=OTHER) as other:
        assert (thief.welcome, other.welcome) == (SUCCESS, SUCCESS)
        broker.revoke(stolen)
        with enter(broker, tmp_path, named=TERMINAL) as again:
            assert again.welcome != SUCCESS
        # A connection that stands is not looked at again; only a restart ends it.
        assert (thief.ended, other.ended) == ([], [])
        broker.stop()
        broker.start()
        eventually(lambda: thief.ended and other.ended)
    with enter(broker, tmp_path, named=TERMINAL) as thief, enter(broker, tmp_path, named=OTHER) as other:
        assert (thief.welcome == SUCCESS, other.welcome) == (False, SUCCESS)


def test_nobody_comes_in_there_without_a_certificate(broker: Mosquitto) -> None:
    assert broker.certificates_port is not None
    with Peer(
        broker.certificates_port, SERVICE_USER, broker.service_password, authority=broker.authority
    ) as stranger:
        assert stranger.welcome != SUCCESS
