"""Worker and simulated terminal over the Mosquitto that is deployed, with TLS: a sale, a trip, a dead broker."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from factories import a_contract, a_purchase, a_terminal, an_ordered_trip
from mosquitto import DEPLOYED, Mosquitto
from peers import WAIT_S, eventually
from pydantic import SecretStr
from running import settings_for
from sqlalchemy import Engine, select
from structlog.testing import capture_logs

from app.clock import Clock
from app.commands.models import Command
from app.customers.queries import contract_by_no
from app.database import transaction
from app.embedded.broker import SERVICE_USER
from app.embedded.ports import LOOPBACK
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.purchases.queries import receipt
from app.settings import Settings
from app.terminal_reports.models import TerminalEvent, TerminalReport
from app.terminal_reports.sweep import SILENT_AFTER_S, note_silence
from app.terminals.models import TerminalLive
from app.worker import Worker
from simulators.faults import Freeze
from simulators.fleet import Fleet
from simulators.profile import BrokerProfile, FleetProfile
from simulators.workbench import terminal_profile

TERMINAL, CONTRACT = "SH-0001", "HT-0001"
PASSWORD = "workbench"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A contract with one simulated terminal, and a worker's settings."""

    engine: Engine
    point: UUID
    settings: Settings
    fleet: Fleet

    def live(self) -> TerminalLive:
        with transaction(self.engine) as session:
            return session.get_one(TerminalLive, TERMINAL)

    def commandable(self) -> bool:
        return self.live().commandable

    def command(self, command_id: UUID) -> Command:
        with transaction(self.engine) as session:
            return session.get_one(Command, command_id)

    def numbers(self) -> list[int]:
        """Numbers of the reports and events that are stored, in order."""
        with transaction(self.engine) as session:
            return sorted([*session.scalars(select(TerminalReport.seq)), *session.scalars(select(TerminalEvent.seq))])

    def buy(self) -> UUID:
        """100 MWh; returns the command that tells it."""
        with transaction(self.engine) as session:
            contract = contract_by_no(session, CONTRACT)
            sold = a_purchase(session, contract=contract, now=Clock().now(), paid_fen=8_000_000)
            credit = receipt(session, sold.purchase_no).credit
        assert credit is not None
        return credit.id

    def order_trip(self) -> UUID:
        """A trip of round 1 by an operator, both notices served and run out."""
        with transaction(self.engine) as session:
            return an_ordered_trip(session, supply_point_id=self.point)


def a_fleet(broker: Mosquitto, key: Path, **how: Any) -> Fleet:
    now = Clock().now()
    public_key = CommandSigner.from_file(key, key_id="wattgate-1").public_key_pem()
    terminal = terminal_profile(
        terminal_id=TERMINAL,
        password=PASSWORD,
        service_public_key_pem=public_key,
        service_key_id="wattgate-1",
        heartbeat_interval_s=1,
        **how,
    )
    return Fleet(
        FleetProfile(
            broker=BrokerProfile(host=LOOPBACK, port=broker.port, ca_file=broker.authority),
            clock={"factor": 1, "started_at": now, "shown_at": now},  # type: ignore[arg-type]
            terminals=(terminal,),
        )
    )


@contextmanager
def a_site(database: Database, broker: Mosquitto, folder: Path, **how: Any) -> Iterator[Site]:
    """The worker in this process and the terminal beside it, both on a broker that knows them."""
    with transaction(database.engine) as session:
        point = a_contract(session, contract_no=CONTRACT).supply_point_id
        a_terminal(session, supply_point_id=point, terminal_id=TERMINAL)
    broker.set_users({TERMINAL: PASSWORD})
    key = folder / "signing-key.pem"
    key.write_bytes(new_private_key_pem())
    own = {
        "signing_key_file": key,
        "broker_host": broker.address.host,
        "broker_port": broker.port,
        "broker_user": SERVICE_USER,
        "broker_password": SecretStr(broker.service_password),
        "broker_ca_file": broker.authority,
        "worker_metrics_port": 0,
    }
    settings = settings_for(database.application_url).model_copy(update=own)
    worker = Worker(settings)
    with capture_logs():
        worker.start()
        try:
            assert worker.wait_connected(WAIT_S)
            with a_fleet(broker, key, **how) as fleet:
                yield Site(engine=database.engine, point=point, settings=settings, fleet=fleet)
        finally:
            worker.stop()


@pytest.fixture
def own_folder(short_folder: Path) -> Path:
    return short_folder / f"mosquitto-{secrets.token_hex(3)}"


def test_a_sale_is_verified_and_a_trip_is_verified_over_tls(
    database: Database, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with a_site(database, mosquitto, tmp_path) as site:
        eventually(site.commandable)
        credit_id = site.buy()
        eventually(lambda: site.command(credit_id).state == "verified")
        assert site.fleet.terminal(TERMINAL).state.paid_until_wh == 100_000_000
        site.fleet.report()
        trip_id = site.order_trip()
        eventually(lambda: site.command(trip_id).state == "verified")
        trip = site.command(trip_id)
        assert None not in (trip.sent_at, trip.received_at, trip.armed_at, trip.executed_at, trip.verified_at)
        assert site.fleet.terminal(TERMINAL).state.rounds == "01------"
        eventually(lambda: site.fleet.terminal(TERMINAL).spooled == 0)


def test_a_broker_that_is_killed_again_and_again_loses_nothing(
    database: Database, own_folder: Path, tmp_path: Path
) -> None:
    with Mosquitto(own_folder) as broker, a_site(database, broker, tmp_path, report_interval_s=1) as site:
        eventually(site.commandable)
        for turn in (1, 2):
            before = len(site.numbers())
            eventually(lambda: len(site.numbers()) > before)  # noqa: B023 - asked for in this turn only
            broker.kill()
            credit_id = site.buy()
            broker.start()
            eventually(lambda: site.command(credit_id).state == "verified")  # noqa: B023 - as above
            held = site.fleet.terminal(TERMINAL).state
            assert (held.paid_until_wh, held.order_no) == (turn * 100_000_000, turn)
        site.fleet.report()
        made = site.numbers()[-1] + site.fleet.terminal(TERMINAL).spooled
        eventually(lambda: len(site.numbers()) >= made)
        eventually(lambda: site.numbers() == list(range(1, len(site.numbers()) + 1)))


def test_a_terminal_whose_read_rights_are_wrong_is_granted_its_subscription_and_never_becomes_commandable(
    database: Database, own_folder: Path, tmp_path: Path
) -> None:
    deployed = (DEPLOYED / "mosquitto.acl").read_text()
    wrong = deployed.replace("pattern read lm/v1/%u/dn/#", "pattern read lm/v1/%u/down/#")
    assert wrong != deployed
    with Mosquitto(own_folder, acl=wrong) as broker, a_site(database, broker, tmp_path) as site:
        eventually(lambda: site.fleet.online == 1)
        eventually(lambda: site.live().challenge)
        uptime_s = site.live().uptime_s or 0
        credit_id = site.buy()
        # The traps: the subscription was granted, and the broker takes the order.
        eventually(lambda: site.command(credit_id).sent_at)
        eventually(lambda: (site.live().uptime_s or 0) > uptime_s + 1)
        live, credit = site.live(), site.command(credit_id)
        assert (live.online, live.commandable, credit.received_at, credit.state) == (True, False, None, "sent")
        assert site.fleet.received == 0


def test_a_frozen_terminal_is_off_line_by_its_silence_though_its_connection_stands(
    database: Database, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with a_site(database, mosquitto, tmp_path) as site:
        eventually(site.commandable)
        site.fleet.do(TERMINAL, Freeze(seconds=2))

        def silent() -> bool:
            long_ago = Clock().now() - timedelta(seconds=SILENT_AFTER_S + 1)
            with transaction(site.engine) as session:
                session.get_one(TerminalLive, TERMINAL).seen_at = long_ago
            return note_silence(site.engine, clock=Clock()) == [TERMINAL]

        # What it said just before may still be on its way.
        eventually(silent)
        assert (site.live().online, site.commandable()) == (False, False)
        credit_id = site.buy()
        eventually(site.commandable)
        eventually(lambda: site.command(credit_id).state == "verified")
