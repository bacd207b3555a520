"""Whatever terminals send, each message is stored, recognised, noted or quarantined, and the service goes on.

`make fuzz` sends 100,000 messages of each kind, CI 15,000; FUZZ_MESSAGES and FUZZ_SEED say otherwise.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from desk import a_desk
from factories import a_contract, a_purchase, a_state, a_terminal
from hostile import Hostile
from sqlalchemy import text
from structlog.testing import capture_logs

from app.allowances import sweep as allowances_sweep
from app.clock import Clock
from app.commands import service as commands
from app.commands.dispatch import Dispatcher
from app.commands.rules import Op
from app.database import transaction
from app.load_control import service as load_control
from app.load_control import sweep as load_control_sweep
from app.load_control.service import Pace
from app.mqtt import topics
from app.mqtt.messages import Receipt
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.refunds import service as refunds
from app.terminal_reports.ingest import SETTLED, Frame, Ingest
from app.terminal_reports.sweep import make_partitions, note_silence

pytestmark = [pytest.mark.hostile, pytest.mark.no_cover, pytest.mark.takes(seconds=10)]

TERMINALS = ["SH-0001", "SH-0002", "SH-0003"]
MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "15000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PACE = Pace(clock=Clock(), report_interval_s=900)
#: What is sent last, to see that the stream goes on; its spool is its own.
LAST_SPOOL = "00000000-0000-4000-8000-0000000fffff"


class Taken:
    """A publication that the broker has taken."""

    def taken(self, *, within_s: float) -> bool:
        return within_s > 0


@dataclass
class Sent:
    """What the service publishes: counted, and each receipt read as a terminal would."""

    receipts: int = 0
    largest: int = 0

    def __call__(self, topic: str, payload: bytes) -> Taken:
        self.largest = max(self.largest, len(payload))
        if topic.endswith("/receipt"):
            self.receipts += 1
            Receipt.model_validate_json(payload)
        return Taken()


@dataclass(frozen=True, kw_only=True)
class Utility:
    """Three supply points with paid energy, terminals, and commands that wait for answers."""

    database: Database
    commands: list[str]

    def counted(self, query: str) -> int:
        with transaction(self.database.engine) as session:
            return int(session.scalar(text(query)) or 0)


@pytest.fixture
def utility(database: Database) -> Utility:
    make_partitions(database.engine, now=NOON)
    ids = []
    with transaction(database.engine) as session:
        for terminal_id in TERMINALS:
            contract = a_contract(session)
            point = contract.supply_point_id
            a_terminal(session, supply_point_id=point, terminal_id=terminal_id)
            ids.append(str(a_purchase(session, contract=contract, now=NOON).command_id))
            for op, args in (
                (Op.TRIP, {"round": 1, "alarm_delay_min": 0, "limit_min": 0}),
                (Op.CLOSE, {"round": 2, "manner": "allow"}),
                (Op.GUARANTEE, {"on": True}),
                (Op.WARN, {"stage": "warning", "text": {"zh": "请购电", "en": "Please buy"}}),
            ):
                new = commands.NewCommand(
                    terminal_id=terminal_id, supply_point_id=point, op=op, args=args, reason="test"
                )
                ids.append(str(commands.issue(session, new, clock=PACE.clock, now=NOON).id))
    return Utility(database=database, commands=ids)


def outcomes() -> Counter[tuple[str, str]]:
    """What became of messages since this process began, by kind and outcome."""
    return Counter(
        {
            (sample.labels["kind"], sample.labels["outcome"]): int(sample.value)
            for metric in SETTLED.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
    )


def the_last_report() -> Frame:
    body = {
        "spool_id": LAST_SPOOL,
        "seq": 1,
        "at": "2026-03-02T12:00:00.000Z",
        "clock": "synced",
        "uptime_s": 60,
        "supplied_wh": 1,
        "active_power_w": 1,
        "meters": [],
        "state": a_state(),
    }
    return topics.up(TERMINALS[0], "report"), json.dumps(body).encode()


def sent_through(utility: Utility, frames: Any) -> tuple[Counter[tuple[str, str]], int]:
    """Put frames and a good report through the thread that records; returns outcomes and how many were put."""
    sent = Sent()
    before = outcomes()
    ingest = Ingest(utility.database.engine, pace=PACE, publish=sent)
    with capture_logs() as logs:
        ingest.start()
        count = 0
        for topic, payload in frames:
            ingest.put(topic, payload)
            count += 1
        ingest.put(*the_last_report())
        ingest.stop()
    assert [entry for entry in logs if entry["log_level"] in ("warning", "error")] == []
    assert sent.largest <= topics.MAX_PAYLOAD_BYTES
    assert sent.receipts > 0
    return outcomes() - before, count + 1


def assert_the_account_is_exact(utility: Utility, became: Counter[tuple[str, str]], *, sent: int) -> None:
    """Each message has one outcome, and each outcome that says so has its row."""
    by_outcome: Counter[str] = Counter()
    for (_, outcome), number in became.items():
        by_outcome[outcome] += number
    assert sum(by_outcome.values()) == sent
    assert by_outcome["quarantined"] == utility.counted("SELECT count(*) FROM quarantined_messages")
    for kind, rows in (
        ("report", "SELECT count(*) FROM terminal_reports WHERE NOT backfilled"),
        ("backfill", "SELECT count(*) FROM terminal_reports WHERE backfilled"),
        ("event", "SELECT count(*) FROM terminal_events"),
        ("ack", "SELECT count(*) FROM command_steps WHERE terminal_at IS NOT NULL"),
    ):
        assert became[kind, "stored"] == utility.counted(rows), kind
    assert utility.counted("SELECT count(*) FROM quarantined_messages WHERE reason = '' OR length(reason) > 400") == 0
    assert utility.counted(f"SELECT count(*) FROM terminal_reports WHERE spool_id = '{LAST_SPOOL}'") == 1  # noqa: S608


def assert_receipts_cover_what_is_stored(utility: Utility) -> None:
    """Where no birth has given numbers up for lost, a receipt covers exactly the numbers that have a row."""
    rows = """
        SELECT count(*) FROM terminal_spools AS spool
         WHERE stored <>
               (SELECT range_agg(int8range(seq, seq, '[]'))
                  FROM (SELECT terminal_id, spool_id, seq FROM terminal_reports
                         UNION SELECT terminal_id, spool_id, seq FROM terminal_events) AS kept
                 WHERE kept.terminal_id = spool.terminal_id AND kept.spool_id = spool.spool_id)
    """
    assert utility.counted(rows) == 0


def assert_the_rest_goes_on(utility: Utility, folder: Path) -> None:
    """Sweeps, dispatch and the pages of people work with whatever the terminals have told."""
    engine = utility.database.engine
    key = folder / "key.pem"
    key.write_bytes(new_private_key_pem())
    with capture_logs() as logs:
        load_control_sweep.run_once(engine, pace=PACE)
        note_silence(engine, clock=PACE.clock)
        allowances_sweep.post_all(engine, now=PACE.clock.now())
        dispatcher = Dispatcher(
            engine,
            clock=PACE.clock,
            signer=CommandSigner.from_file(key, key_id="k"),
            publish=Sent(),
            reasons_against=lambda session, command, now: [
                reason.as_json()
                for reason in (refunds if command.op == "credit" else load_control).reasons_against(
                    session, command, pace=PACE, now=now
                )
            ],
        )
        dispatcher.give_up()
        dispatcher.run_once()
    # The trips of noon are long past their time where no answer ended them.
    expected = ("command given up",)
    loud = [entry for entry in logs if entry["log_level"] in ("warning", "error") and entry["event"] not in expected]
    assert loud == []
    with a_desk(utility.database) as desk:
        points = [one["id"] for one in desk.get("/supply-points").json()["items"]]
        shown = ["/terminals", "/commands", "/quarantine", *(f"/terminals/{one}" for one in TERMINALS)]
        shown += [f"/commands/{one}" for one in utility.commands]
        shown += [f"/supply-points/{one}{page}" for one in points for page in ("", "/why", "/reports", "/events")]
        assert {path: desk.get(path).status_code for path in shown} == dict.fromkeys(shown, 200)


def hostile(utility: Utility, kind: str, *, seed: int = SEED) -> Hostile:
    return Hostile(kind, seed=seed, commands=utility.commands, terminals=TERMINALS)


@pytest.mark.parametrize("kind", topics.UP_KINDS)
def test_hostile_messages_of_a_kind_are_all_accounted_for(utility: Utility, kind: str, tmp_path: Path) -> None:
    became, sent = sent_through(utility, hostile(utility, kind).messages(MESSAGES))
    assert sent == MESSAGES + 1
    assert_the_account_is_exact(utility, became, sent=sent)
    assert sum(number for (found, _), number in became.items() if found in (kind, "none")) == MESSAGES + (
        kind == "report"
    )
    if kind != "birth":
        assert_receipts_cover_what_is_stored(utility)
    assert_the_rest_goes_on(utility, tmp_path)


def test_hostile_messages_of_all_kinds_at_once_are_all_accounted_for(utility: Utility, tmp_path: Path) -> None:
    streams = [hostile(utility, kind, seed=SEED + 1).messages(MESSAGES // 7) for kind in topics.UP_KINDS]
    became, sent = sent_through(utility, (frame for frames in zip(*streams, strict=True) for frame in frames))
    assert_the_account_is_exact(utility, became, sent=sent)
    assert_the_rest_goes_on(utility, tmp_path)
