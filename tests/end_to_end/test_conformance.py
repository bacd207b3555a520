"""The conformance kit: every case passes on the simulator, each planted defect is caught by the case meant for it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import bcrypt
import pytest
from databases import Database
from factories import a_contract, a_purchase, a_terminal, a_trip_on_its_way
from peers import eventually
from rich.console import Console
from running import worker_settings_for
from sqlalchemy import Connection, Engine, text
from structlog.testing import capture_logs

from app.clock import Clock
from app.conformance import library
from app.conformance.results import Outcome, Result
from app.conformance.run import Wish, try_service, try_terminal
from app.conformance.simulated import Trial, play_on_simulators
from app.conformance.steps import ServiceAction
from app.customers.queries import contract_by_no
from app.database import connect, transaction
from app.embedded.broker import SERVICE_USER, EmbeddedBroker
from app.embedded.ports import LOOPBACK
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.worker import Worker
from simulators.fleet import Fleet
from simulators.profile import BrokerProfile, Defect, FleetProfile, TerminalProfile

TERMINAL = "SH-0001"
CONTRACT = "HT-0001"
PASSWORD = "the terminal's own"
KEY_ID = "wattgate-1"

CASES = {case.name: case for case in library.terminal_cases()}

#: The case that is meant for a defect; others may fail with it.
CAUGHT_BY = {
    Defect.IGNORES_VERSIONS: "old-version",
    Defect.IGNORES_EXPIRY: "expired",
    Defect.IGNORES_UPTIME_BOUND: "uptime-bound",
    Defect.IGNORES_SESSION: "wrong-session",
    Defect.IGNORES_SIGNATURE: "foreign-signature",
    Defect.IGNORES_KEY_ID: "foreign-key-id",
    Defect.IGNORES_TERMINAL_ID: "not-for-me",
    Defect.BELIEVES_UNSET_CLOCK: "clock-unset",
    Defect.ACTS_TWICE: "duplicate-id",
    Defect.REMEMBERS_FORGERIES: "forgery-leaves-id-free",
    Defect.FORGETS_OUTCOMES: "outcomes-32",
    Defect.FORGETS_AT_POWER_LOSS: "power-loss-executed",
    Defect.ANSWERS_BEFORE_ACTING: "power-loss-received",
    Defect.ARMS_FOR_EVER: "nonce-too-old",
    Defect.ARMS_LONGER_AT_EACH_REPEAT: "arm-repeated-late",
    Defect.OPERATES_WITHOUT_NONCE: "nonce-wrong",
    Defect.OPERATES_ANYTHING: "operate-what-was-armed",
    Defect.CUTS_IN_ONE_STEP: "cut-in-one-step",
    Defect.RUNS_LATE_CUTS: "frozen-and-thawed",
    Defect.KEEPS_CUT_OVER_RECONNECT: "delay-lost-session",
    Defect.CUTS_UNSTOPPABLY: "delay-close-cancels",
    Defect.TRIPS_UNDER_GUARANTEE: "guarantee-refuses-trip",
    Defect.HOLDS_ROUNDS_UNDER_GUARANTEE: "guarantee-releases",
    Defect.NEVER_GUARANTEES_ALONE: "guarantee-automatic",
    Defect.GUARANTEES_FOR_EVER: "guarantee-automatic",
    Defect.TRIPS_ALL_AT_ONCE: "local-mode",
    Defect.SHEDS_SAFE_LOAD: "limit-keeps-safe-load",
    Defect.LOWERS_ON_APPEND: "credit-append-never-lowers",
    Defect.TAKES_OLD_ORDERS: "credit-old-order",
    Defect.ADDS_CREDITS: "credit-absolute",
    Defect.TAKES_RETAINED: "retained-dropped",
    Defect.RENUMBERS_SPOOL: "spool-comes-again",
    Defect.FORGETS_WHAT_IS_MISSING: "spool-missing",
    Defect.KEEPS_SPOOL_ID: "spool-lost",
    Defect.KEEPS_SESSION: "birth-first",
    Defect.CHANGES_SILENTLY: "heartbeat-on-change",
    Defect.REPORTS_FLOATS: "report-on-request",
    Defect.TAKES_CODES_TWICE: "site-code-credits",
    Defect.COUNTS_SLIPS: "site-code-slipped",
    Defect.TAKES_WRONG_CODES: "site-code-wrong",
    Defect.LISTENS_TO_ALL_CODES: "site-code-wrong",
    Defect.RELEASES_LATER_CUTS: "site-code-before-cut",
    Defect.RELEASES_WITHOUT_FLAG: "site-code-gives-back",
}


# One test, since each worker of a parallel run would start the simulators anew for its share of many.
@pytest.mark.takes(seconds=20)
def test_the_simulator_passes_each_case_and_each_planted_defect_is_caught_by_the_case_meant_for_it(
    tmp_path: Path,
) -> None:
    assert set(CAUGHT_BY) == set(Defect)
    sound = [Trial(case=case) for case in CASES.values()]
    planted = [Trial(case=CASES[name], defect=defect) for defect, name in CAUGHT_BY.items()]
    told: list[Result] = []

    results = play_on_simulators([*sound, *planted], folder=tmp_path, tell=told.append)

    assert told == results
    passed, failed = results[: len(sound)], results[len(sound) :]
    assert [result for result in passed if result.outcome is not Outcome.PASSED] == []
    # What failed before its first step failed for another reason than the one it is meant for.
    missed = [
        defect
        for defect, result in zip(CAUGHT_BY, failed, strict=True)
        if result.outcome is not Outcome.FAILED or result.step is None or not result.frames
    ]
    assert missed == []


class Clerk:
    """Who works at the utility of the tests."""

    def __init__(self, engine: Engine, *, owner: Engine, point: UUID) -> None:
        self._engine = engine
        self._owner = owner
        self._point = point
        self._held: Connection | None = None

    def do(self, action: ServiceAction, *, terminal_id: str) -> None:
        match action:
            case ServiceAction.SELL:
                with transaction(self._engine) as session:
                    contract = contract_by_no(session, CONTRACT)
                    a_purchase(session, contract=contract, now=Clock().now(), paid_fen=8_000_000)
            case ServiceAction.ORDER_TRIP:
                with transaction(self._engine) as session:
                    a_trip_on_its_way(session, supply_point_id=self._point, terminal_id=terminal_id)
            case ServiceAction.STOP_DATABASE:
                self._held = self._owner.connect()
                self._held.execute(text("LOCK TABLE terminal_reports IN EXCLUSIVE MODE"))
            case ServiceAction.START_DATABASE:
                assert self._held is not None
                self._held.close()


@pytest.fixture
def utility(database: Database, broker: EmbeddedBroker, tmp_path: Path) -> Iterator[tuple[Wish, Clerk]]:
    """A running worker, a terminal that is registered, and somebody who sells."""
    with transaction(database.engine) as session:
        point = a_contract(session, contract_no=CONTRACT).supply_point_id
        a_terminal(session, supply_point_id=point, terminal_id=TERMINAL)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
    broker.set_users(broker.service_password, {TERMINAL: hashed})
    key, public, password = (tmp_path / name for name in ("key.pem", "public.pem", "password"))
    key.write_bytes(new_private_key_pem())
    public.write_text(CommandSigner.from_file(key, key_id=KEY_ID).public_key_pem())
    password.write_text(f"{PASSWORD}\n")
    settings = worker_settings_for(database.application_url, broker, signing_key_file=key)
    wish = Wish(
        broker=f"{LOOPBACK}:{broker.port}",
        password_file=password,
        terminal_id=TERMINAL,
        key_file=public,
        key_id=KEY_ID,
        report=tmp_path / "report.json",
    )
    worker, owner = Worker(settings), connect(database.owner_url, pool_size=1)
    with capture_logs():
        worker.start()
        try:
            assert worker.wait_connected(15)
            yield wish, Clerk(database.engine, owner=owner, point=point)
        finally:
            worker.stop()
            owner.dispose()


@pytest.mark.takes(seconds=30)
def test_the_service_passes_each_case(utility: tuple[Wish, Clerk]) -> None:
    wish, clerk = utility
    told = StringIO()

    assert try_service(wish, console=Console(file=told, width=200), desk=clerk) == 0, told.getvalue()

    assert wish.report is not None
    report = json.loads(wish.report.read_text())
    assert report["summary"] == {"passed": len(library.service_cases()), "failed": 0, "not_run": 0}


def wish_for_a_terminal(broker: EmbeddedBroker, folder: Path, *, names: tuple[str, ...]) -> Wish:
    key, password = folder / "key.pem", folder / "password"
    key.write_bytes(new_private_key_pem())
    password.write_text(broker.service_password)
    return Wish(
        broker=f"{SERVICE_USER}@{LOOPBACK}:{broker.port}",
        password_file=password,
        terminal_id=TERMINAL,
        key_file=key,
        key_id=KEY_ID,
        names=names,
        report=folder / "report.json",
        unattended=True,
    )


def test_a_terminal_on_a_bench_is_tried_and_what_needs_a_person_is_not_called_passed(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    names = (
        "guarantee-releases",
        "duplicate-id",
        "birth-first",
        "power-loss-received",
        "retained-dropped",
        "site-code-wrong",
    )
    wish = wish_for_a_terminal(broker, tmp_path, names=names)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
    broker.set_users(broker.service_password, {TERMINAL: hashed})
    terminal = TerminalProfile(
        terminal_id=TERMINAL,
        password=PASSWORD,
        service_public_key_pem=CommandSigner.from_file(wish.key_file, key_id=KEY_ID).public_key_pem(),
        service_key_id=KEY_ID,
        meter_no="M-0001",
    )
    fleet = Fleet(FleetProfile(broker=BrokerProfile(host=LOOPBACK, port=broker.port), terminals=(terminal,)))
    told = StringIO()

    def connect() -> None:
        eventually(lambda: "Waiting for a birth" in told.getvalue())
        fleet.start()

    starting = threading.Thread(target=connect)
    starting.start()
    try:
        assert try_terminal(wish, console=Console(file=told, width=200)) == 0, told.getvalue()
    finally:
        starting.join()
        fleet.stop()

    assert wish.report is not None
    outcomes = {case["case"]: case["outcome"] for case in json.loads(wish.report.read_text())["cases"]}
    assert outcomes == dict.fromkeys(names, "not_run") | {"guarantee-releases": "passed", "duplicate-id": "passed"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"broker": "nowhere"}, "--broker HOST:PORT"),
        ({"broker": f"{LOOPBACK}:1"}, "There is no broker"),
        ({"broker": "stranger@{broker}"}, "Check user and password"),
        ({"terminal_id": "lower case"}, "as registered"),
        ({"key_file": Path("/not/here.pem")}, "--signing-key"),
        ({"password_file": Path("/not/here")}, "No such file"),
        ({"site_key": "too short"}, "holds no site key"),
        ({"names": ("nothing",)}, "There is no case 'nothing'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_where_there_is_no_verdict_the_kit_says_what_would_be_right(
    broker: EmbeddedBroker, tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    wish = wish_for_a_terminal(broker, tmp_path, names=())
    if "broker" in changed:
        changed = {"broker": changed["broker"].format(broker=f"{LOOPBACK}:{broker.port}")}
    if "site_key" in changed:
        (tmp_path / "key.site-key").write_text(changed.pop("site_key"))
    said = StringIO()

    assert try_terminal(replace(wish, **changed), console=Console(file=said, width=300)) == 2
    assert told in said.getvalue()
