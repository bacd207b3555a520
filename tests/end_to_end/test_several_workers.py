"""Two workers share the terminals: one is killed, one is frozen and thawed, and nothing is lost or sent by two."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Database
from mosquitto import DEPLOYED, Mosquitto
from peers import Peer
from sharing import LEASE_S, Town, Witness, a_town

from app.clock import monotonic_s, sleep
from app.embedded.ports import LOOPBACK
from app.workers.rules import SHARES
from simulators.profile import BrokerProfile

FIRST, SECOND = "wattgate", "wattgate-2"
PASSWORDS = {f"SH-{number:04}": f"workbench {number}" for number in range(24)}
BUYERS = tuple(PASSWORDS)[:20]
CUT = tuple(PASSWORDS)[20:]
WITNESS = "witness"


@pytest.fixture
def broker(short_folder: Path) -> Iterator[Mosquitto]:
    """The deployed Mosquitto with a user more, who may read all orders."""
    acl = (DEPLOYED / "mosquitto.acl").read_text() + f"\nuser {WITNESS}\ntopic read lm/v1/+/dn/#\n"
    with Mosquitto(short_folder / "mosquitto-of-workers", acl=acl) as started:
        started.set_users({**PASSWORDS, SECOND: started.service_password, WITNESS: WITNESS})
        yield started


@pytest.fixture
def town(database: Database, broker: Mosquitto, tmp_path: Path) -> Iterator[Town]:
    own = {
        "BROKER_HOST": LOOPBACK,
        "BROKER_PORT": str(broker.port),
        "BROKER_PASSWORD": broker.service_password,
        "BROKER_CA_FILE": str(broker.authority),
    }
    wire = BrokerProfile(host=LOOPBACK, port=broker.port, ca_file=broker.authority)
    with a_town(database, tmp_path, terminals=PASSWORDS, broker=own, wire=wire) as made:
        yield made


@pytest.fixture
def witness(broker: Mosquitto) -> Iterator[Witness]:
    with Peer(broker.port, WITNESS, WITNESS, authority=broker.authority) as peer:
        yield Witness(peer)


def start(town: Town, user: str) -> None:
    town.start_worker(user, BROKER_USER=user)


def halves(town: Town) -> bool:
    return town.shares() == {FIRST: SHARES // 2, SECOND: SHARES // 2}


@pytest.mark.takes(seconds=25)
@pytest.mark.no_cover
def test_workers_that_are_killed_or_frozen_lose_nothing_and_no_order_is_sent_by_two(
    town: Town, witness: Witness
) -> None:
    start(town, FIRST)
    start(town, SECOND)
    town.sees(lambda: halves(town))
    namesake = town.launch(SECOND, BROKER_USER=SECOND)
    town.fleet.start()
    town.sees(town.all_commandable)
    with town.selling(*BUYERS):
        sleep(1)
        town.order_trips(*CUT[:2])
        town.workers[FIRST].kill()
        killed_s = monotonic_s()
        town.sees(lambda: town.shares() == {SECOND: SHARES})
        assert monotonic_s() - killed_s < 3 * LEASE_S
        start(town, FIRST)
        town.sees(lambda: halves(town))
        town.sees(lambda: namesake.ended)
        town.order_trips(*CUT[2:])
        town.signal(SECOND, signal.SIGSTOP)
        town.sees(lambda: town.shares() == {FIRST: SHARES})
        sleep(1)
        town.signal(SECOND, signal.SIGCONT)
        town.sees(lambda: halves(town))
    town.prove_that_nothing_is_lost()
    assert town.said(SECOND, "this worker was taken for dead")
    assert namesake.exit_code == 1
    assert "WATTGATE_WORKER_NAME" in namesake.log_tail()
    assert set(witness.tokens.values()) == {1}, "an order was published twice"
    steps = witness.steps()
    assert {count for (_, step), count in steps.items() if step == "operate"} == {1}
