"""Three NATS servers as one broker, two workers, terminals on all nodes: a node is killed under load, then another."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from databases import Database
from nats_cluster import NODES, NatsCluster
from peers import eventually
from sharing import Town, a_town

from app.clock import Clock, monotonic_s, sleep
from app.embedded.ports import LOOPBACK
from simulators.profile import BrokerProfile, NodeProfile

PASSWORDS = {f"SH-{number:04}": f"workbench {number}" for number in range(18)}
#: Whoever was on the dead node comes back to another; the two that are left agree anew who leads.
BACK_WITHIN_S = 60


@pytest.fixture
def cluster(short_folder: Path) -> Iterator[NatsCluster]:
    with NatsCluster(short_folder / "nats-cluster") as started:
        started.set_users(PASSWORDS)
        started.wait_until_it_serves()
        yield started


@pytest.fixture
def town(database: Database, cluster: NatsCluster, tmp_path: Path) -> Iterator[Town]:
    own = {
        "BROKER_HOST": cluster.hosts,
        "BROKER_PASSWORD": cluster.service_password,
        "BROKER_CA_FILE": str(cluster.authority),
    }
    first, *others = (NodeProfile(host=LOOPBACK, port=cluster.ports[node]) for node in NODES)
    wire = BrokerProfile(host=first.host, port=first.port, others=tuple(others), ca_file=cluster.authority)
    with a_town(database, tmp_path, terminals=PASSWORDS, broker=own, wire=wire) as made:
        yield made


@pytest.mark.takes(seconds=45)
def test_a_node_that_is_killed_under_load_loses_nothing(town: Town, cluster: NatsCluster) -> None:
    town.start_worker("worker-1")
    town.start_worker("worker-2")
    eventually(lambda: len(town.shares()) == len(town.workers))
    town.fleet.start()
    eventually(town.all_commandable, within_s=BACK_WITHIN_S)
    with town.selling(*PASSWORDS, every_s=0.3):
        # Both workers begin at the first node, and at the second when the first is gone.
        for node in NODES[:2]:
            sleep(2)
            cluster.kill(node)
            killed_s, sold = monotonic_s(), town.sold
            after = Clock().now() + timedelta(seconds=1)
            eventually(lambda: town.all_heard_since(after), within_s=BACK_WITHIN_S)  # noqa: B023 - of this turn
            print(f"{node}: heard all again after {monotonic_s() - killed_s:.1f} s, sold {town.sold - sold}")
            cluster.start(node)
            sleep(4)
    made = town.prove_that_nothing_is_lost(within_s=BACK_WITHIN_S)
    print(f"{made} messages made, {town.sold} sales")
