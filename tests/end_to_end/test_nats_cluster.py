"""Three NATS servers as one broker, two workers, terminals on all nodes: one is killed under load, then another."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from databases import Database
from nats_cluster import NODES, NatsCluster
from peers import eventually
from sharing import Town, a_town

from app.clock import Clock, sleep
from app.embedded.broker import SERVICE_USER
from app.embedded.ports import LOOPBACK
from simulators.profile import BrokerProfile, NodeProfile

PASSWORDS = {f"SH-{number:04}": f"workbench {number}" for number in range(18)}
#: The two nodes that are left agree anew who leads; whoever was on the dead one comes to another. About 8 s.
BACK_WITHIN_S = 40


@pytest.fixture
def cluster(short_folder: Path) -> Iterator[NatsCluster]:
    with NatsCluster(short_folder / "nats-cluster") as started:
        started.set_users(PASSWORDS)
        yield started


@pytest.fixture
def town(database: Database, cluster: NatsCluster, tmp_path: Path) -> Iterator[Town]:
    own = {
        "BROKER_HOST": cluster.hosts,
        "BROKER_SUBSCRIBE_QOS": "0",
        "BROKER_PASSWORD": cluster.service_password,
        "BROKER_CA_FILE": str(cluster.authority),
    }
    first, *others = (NodeProfile(host=LOOPBACK, port=cluster.ports[node]) for node in NODES)
    wire = BrokerProfile(
        host=first.host, port=first.port, others=tuple(others), ca_file=cluster.authority, subscribe_qos=0
    )
    with a_town(database, tmp_path, terminals=PASSWORDS, broker=own, wire=wire) as made:
        yield made


# One test, since three servers need seconds until they have agreed who leads.
@pytest.mark.takes(seconds=26)
@pytest.mark.no_cover
def test_on_a_cluster_a_terminal_reaches_its_own_alone_and_nodes_killed_under_load_lose_nothing(
    town: Town, cluster: NatsCluster
) -> None:
    town.start_worker("worker-1")
    town.start_worker("worker-2")
    cluster.wait_until_it_serves()
    a_terminal_reads_and_writes_nothing_of_another(cluster)
    a_borrowed_client_id_hears_nothing(cluster)
    town.sees(lambda: len(town.shares()) == len(town.workers))
    town.fleet.start()
    town.sees(town.all_commandable, within_s=BACK_WITHIN_S)
    with town.selling(*PASSWORDS, every_s=0.3):
        # Both workers begin at the first node, and at the second when the first is gone.
        a_killed_node_is_done_without(town, cluster, node=NODES[0])
        cluster.start(NODES[0])
        cluster.wait_until_it_serves(NODES[0])
        a_killed_node_is_done_without(town, cluster, node=NODES[1])
    # The proof is made by the two that are left.
    assert town.prove_that_nothing_is_lost(within_s=BACK_WITHIN_S) > len(PASSWORDS)


def a_killed_node_is_done_without(town: Town, cluster: NatsCluster, *, node: str) -> None:
    sold = town.sold
    town.sees(lambda: town.sold > sold + 3)
    cluster.kill(node)
    after = Clock().now() + timedelta(seconds=1)
    town.sees(lambda: town.all_heard_since(after), within_s=BACK_WITHIN_S)


def a_terminal_reads_and_writes_nothing_of_another(cluster: NatsCluster) -> None:
    a, b = tuple(PASSWORDS)[:2]
    with (
        cluster.enter(NODES[0], SERVICE_USER, cluster.service_password) as service,
        cluster.enter(NODES[1], a, PASSWORDS[a]) as thief,
        cluster.enter(NODES[2], b, PASSWORDS[b]) as other,
    ):
        assert service.subscribe("lm/v1/+/up/#")
        assert other.subscribe(f"lm/v1/{b}/dn/#")
        for wanted in (f"lm/v1/{b}/dn/#", f"lm/v1/{b}/up/#", "lm/v1/+/up/#", "#"):
            assert not thief.subscribe(wanted)
        for foreign in (f"lm/v1/{b}/up/report", f"lm/v1/{b}/dn/command", f"lm/v1/{a}/dn/command"):
            thief.publish(foreign, "forged")
        service.publish(f"lm/v1/{b}/dn/command", "for B")
        other.publish(f"lm/v1/{b}/up/report", "from B")
        assert other.hears("for B")
        assert service.hears("from B")
        assert (thief.heard, other.payloads, service.payloads) == ([], ["for B"], ["from B"])


def a_borrowed_client_id_hears_nothing(cluster: NatsCluster) -> None:
    """It throws its owner out, which NATS cannot prevent."""
    a, b = tuple(PASSWORDS)[:2]
    with (
        cluster.enter(NODES[0], SERVICE_USER, cluster.service_password) as service,
        cluster.enter(NODES[1], b, PASSWORDS[b], keeps_session=True) as other,
    ):
        assert other.subscribe(f"lm/v1/{b}/dn/#")
        with cluster.enter(NODES[1], a, PASSWORDS[a], client_id=b, keeps_session=True) as thief:
            eventually(lambda: other.ended)
            service.publish(f"lm/v1/{b}/dn/command", "for B")
            sleep(0.5)
            assert thief.heard == []
