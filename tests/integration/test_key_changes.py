"""A change of signing keys from end to end: the anchor states, the service sends, simulated terminals obey."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from desk import Desk, Headers, refusal
from factories import a_contract
from outbox import Handed, later
from running import running, settings_for
from sqlalchemy import select, text
from typer.testing import CliRunner

from app.cli import command_line
from app.clock import Clock
from app.commands import service as commands
from app.commands.dispatch import Dispatcher
from app.commands.models import Command
from app.commands.rules import CommandState, Op
from app.commands.service import NewCommand
from app.database import transaction
from app.load_control.service import Pace
from app.main import create_app
from app.mqtt.messages import ClockChallenge
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.roles import Role
from app.settings import Settings
from app.terminal_reports.ingest import read_batch
from app.terminal_reports.service import record
from app.terminals.routes import keys_of
from simulators.device_clock import Instant
from simulators.profile import TerminalProfile
from simulators.terminal import Terminal

PACE = Pace(clock=Clock(), report_interval_s=900)
OLD, NEW = "wattgate-1", "wattgate-2"


@dataclass(kw_only=True)
class Utility:
    """The service with its files of keys, and terminals that are joined to it without a broker."""

    database: Database
    settings: Settings
    folder: Path
    headers: Headers
    terminals: dict[str, Terminal] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    rounds: int = 0

    def key(self, key_id: str) -> Path:
        path = self.folder / f"{key_id}.pem"
        if not path.exists():
            path.write_bytes(new_private_key_pem())
        return path

    def sign_with(self, current: str, previous: str | None = None) -> None:
        """Start the service anew with these keys."""
        change = {
            "signing_key_file": self.key(current),
            "signing_key_id": current,
            "previous_signing_key_file": self.key(previous) if previous else None,
            "previous_signing_key_id": previous,
            "anchor_public_key_file": self.folder / "anchor.pub",
        }
        self.settings = self.settings.model_copy(update=change)

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """Open the service as it is set now."""
        with running(create_app(self.settings, engine=self.database.engine)) as http:
            yield Desk(database=self.database, http=http, settings=self.settings, headers=self.headers)

    def shown(self) -> dict[str, Any]:
        with self.desk() as desk:
            answer: dict[str, Any] = desk.get("/key-statements", role=Role.ADMINISTRATOR).json()
        return answer

    def statement(self, serial: int, *key_ids: str, anchor: str = "anchor") -> Path:
        listed = [part for key_id in key_ids for part in ("--key", f"{key_id}={self.key(key_id)}")]
        said = run("key-statement", "--anchor", str(self.key(anchor)), "--serial", str(serial), *listed)
        path = self.folder / f"{serial}-{secrets.token_hex(2)}.jws"
        path.write_text(said)
        return path

    def rotate(self, statement: Path, *, status: int = 0) -> str:
        settings = self.settings
        environment = {
            "WATTGATE_ENVIRONMENT": "test",
            "WATTGATE_DATABASE_URL": settings.database_url.get_secret_value(),
            "WATTGATE_TOKEN_SECRET": settings.token_secret.get_secret_value(),
            "WATTGATE_SIGNING_KEY_FILE": str(settings.signing_key_file),
            "WATTGATE_SIGNING_KEY_ID": settings.signing_key_id,
            "WATTGATE_ANCHOR_PUBLIC_KEY_FILE": str(settings.anchor_public_key_file or ""),
        }
        if settings.previous_signing_key_id:
            environment["WATTGATE_PREVIOUS_SIGNING_KEY_FILE"] = str(settings.previous_signing_key_file)
            environment["WATTGATE_PREVIOUS_SIGNING_KEY_ID"] = settings.previous_signing_key_id
        self.environment = {name: value for name, value in environment.items() if value}
        return run("rotate-keys", str(statement), status=status, environment=self.environment)

    def register(self, terminal_id: str) -> dict[str, Any]:
        """Register a terminal over HTTP and switch it on with what it was given."""
        with transaction(self.database.engine) as session:
            point = a_contract(session).supply_point_id
        wanted = {
            "terminal_id": terminal_id, "supply_point_id": str(point), "meter_no": "M1", "safe_load_w": 0,
            "rounds": [{"round": 1, "feeds_zh": "空调", "feeds_en": "cooling", "importance": 1, "load_w": 1}],
        }  # fmt: skip
        with self.desk() as desk:
            answer = desk.post("/terminals", wanted, role=Role.OPERATOR)
        if answer.status_code != 201:
            return {"refused": refusal(answer)}
        told: dict[str, Any] = answer.json()
        given = (
            "terminal_id", "service_public_key_pem", "service_key_id", "service_keys", "keys_serial",
            "anchor_public_key_pem",
        )  # fmt: skip
        profile = TerminalProfile(password=told["credential"], meter_no="M1", **{name: told[name] for name in given})
        self.terminals[terminal_id] = Terminal(profile, now=self.now)
        self.connect(terminal_id)
        return told

    @property
    def now(self) -> Instant:
        return Instant(1000.0 + self.rounds, Clock().now() + timedelta(seconds=self.rounds))

    def connect(self, terminal_id: str) -> None:
        self.away.discard(terminal_id)
        terminal = self.terminals[terminal_id]
        terminal.open_session()
        self.hear(terminal_id, terminal.connected(self.now))

    def lose(self, terminal_id: str) -> None:
        terminal = self.terminals[terminal_id]
        session = terminal.session
        terminal.lost(self.now)
        self.away.add(terminal_id)
        self._record([(f"lm/v1/{terminal_id}/up/death", f'{{"session": "{session}"}}'.encode())])

    def hear(self, terminal_id: str, outgoing: list[Any]) -> None:
        self._record([(f"lm/v1/{terminal_id}/up/{kind}", payload) for kind, payload in outgoing])

    def _record(self, frames: list[tuple[str, bytes]]) -> None:
        with transaction(self.database.engine) as session:
            recorded = record(session, read_batch(frames), pace=PACE, now=later(self.rounds).now())
        for terminal_id, challenge in recorded.challenges.items():
            told = ClockChallenge(at=self.now.at, challenge=challenge).model_dump_json().encode()
            self.hear(terminal_id, self.terminals[terminal_id].receive("clock", told, now=self.now))

    def live(self, *, rounds: int = 4) -> None:
        """Let everything that is due go back and forth."""
        keys = keys_of(self.settings)
        for _ in range(rounds):
            self.rounds += 400
            dispatcher = Dispatcher(
                self.database.engine,
                clock=later(self.rounds),
                signer=keys.current,
                previous_signer=keys.previous,
                publish=self.publish,
                reasons_against=lambda _session, _command, _now: [],
            )
            dispatcher.run_once()
            for terminal_id in set(self.terminals) - self.away:
                self.hear(terminal_id, self.terminals[terminal_id].step(self.now))

    def publish(self, topic: str, payload: bytes) -> Handed:
        _, _, terminal_id, _, kind = topic.split("/")
        if terminal_id in self.away:
            return Handed(is_taken=False)
        self.hear(terminal_id, self.terminals[terminal_id].receive(kind, payload, now=self.now))
        return Handed(is_taken=True)

    def order(self, terminal_id: str, op: Op, **args: Any) -> None:
        with transaction(self.database.engine) as session:
            point = session.scalar(text("SELECT supply_point_id FROM terminals WHERE id = :id"), {"id": terminal_id})
            new = NewCommand(terminal_id=terminal_id, supply_point_id=point, op=op, args=args, reason="a test")
            commands.issue(session, new, clock=PACE.clock, now=PACE.clock.now())

    def states(self, op: Op, terminal_id: str) -> list[str]:
        with transaction(self.database.engine) as session:
            found = session.scalars(
                select(Command.state).where(Command.terminal_id == terminal_id, Command.op == op).order_by(Command.id)
            )
            return list(found)

    def serials(self) -> dict[str, int]:
        return {name: terminal.kept.keys_serial for name, terminal in sorted(self.terminals.items())}


def run(*typed: str, status: int = 0, environment: dict[str, str] | None = None) -> str:
    clean = {name: None for name in os.environ if name.startswith("WATTGATE_")}
    done = CliRunner().invoke(command_line, typed, env={**clean, **(environment or {})})
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def utility(database: Database, tmp_path: Path) -> Utility:
    settings = settings_for(database.application_url)
    headers = Headers(database, settings=settings)
    made = Utility(database=database, settings=settings, folder=tmp_path, headers=headers)
    anchor = CommandSigner.from_file(made.key("anchor"), key_id="")
    (tmp_path / "anchor.pub").write_text(anchor.public_key_pem())
    made.sign_with(OLD)
    return made


def warn(utility: Utility, text_en: str) -> None:
    for terminal_id in utility.terminals:
        utility.order(terminal_id, Op.WARN, stage="warning", text={"zh": "警", "en": text_en}, sound_hours="1" * 24)


def test_a_change_while_commands_flow_loses_none_and_a_terminal_that_was_away_comes_back(utility: Utility) -> None:
    for terminal_id in ("SH-0001", "SH-0002"):
        told = utility.register(terminal_id)
    assert (list(told["service_keys"]), told["keys_serial"]) == ([OLD], 0)
    warn(utility, "before")
    utility.live()
    utility.lose("SH-0002")

    utility.sign_with(NEW, OLD)
    warn(utility, "new key, terminals know the old one")
    utility.live()
    assert utility.states(Op.WARN, "SH-0001") == ["executed"] * 2
    said = utility.rotate(utility.statement(1, OLD, NEW))
    assert "Statement 1 (wattgate-1, wattgate-2) is on its way to 2 terminals" in said
    utility.live()
    utility.sign_with(NEW)
    utility.rotate(utility.statement(2, NEW))
    warn(utility, "after")
    utility.live()
    assert utility.serials() == {"SH-0001": 2, "SH-0002": 0}
    assert utility.states(Op.WARN, "SH-0001") == ["executed"] * 3

    utility.connect("SH-0002")
    utility.live()
    assert utility.serials() == {"SH-0001": 2, "SH-0002": 2}
    assert utility.states(Op.WARN, "SH-0002") == ["executed", "superseded", "executed"]
    assert utility.states(Op.KEYS, "SH-0002") == ["superseded", "executed"]
    shown = utility.shown()
    assert [one["serial"] for one in shown["statements"]] == [2, 1]
    assert shown["terminals"] == [{"serial": 2, "has_told": True, "terminals": 2}]
    assert shown["on_the_way"] == {}
    holders = run("key-holders", environment=utility.environment)
    assert ("2" in holders, NEW in holders) == (True, True)


def test_a_revoked_key_is_refused_and_a_new_terminal_never_gets_it(utility: Utility) -> None:
    utility.register("SH-0001")
    utility.sign_with(NEW, OLD)
    utility.rotate(utility.statement(5, NEW))
    utility.live()
    utility.sign_with(OLD)
    assert utility.register("SH-0009") == {"refused": (409, "key-not-stated")}
    warn(utility, "by the revoked key")
    utility.live()
    assert utility.terminals["SH-0001"].kept.warning is None
    utility.sign_with(NEW, OLD)
    utility.live()
    assert utility.states(Op.WARN, "SH-0001") == ["executed"]
    told = utility.register("SH-0002")
    assert (list(told["service_keys"]), told["keys_serial"]) == ([NEW], 5)


def test_statements_that_must_not_go_out_are_refused_with_what_would_be_right(utility: Utility) -> None:
    utility.register("SH-0001")
    utility.sign_with(NEW, OLD)
    first = utility.statement(3, OLD, NEW)
    utility.rotate(first)
    refused = {
        utility.statement(4, OLD, NEW, anchor="another"): "not signed by the anchor",
        utility.statement(2, OLD, NEW): "Sign one with the serial 4 or more",
        utility.statement(3, NEW): "Sign one with the serial 4 or more",
        utility.statement(4, OLD): "start service and worker anew",
        utility.statement(4, "x"): "None of the service's own keys",
        utility.key("x"): "no key statement",
        utility.folder / "nowhere.jws": "No such file",
    }
    for statement, says in refused.items():
        assert says in utility.rotate(statement, status=1)
    assert [one["serial"] for one in utility.shown()["statements"]] == [3]
    assert "on its way to 1 terminals" in utility.rotate(first)
    assert utility.states(Op.KEYS, "SH-0001") == ["waiting"]
    utility.live()
    assert "on its way to 0 terminals" in utility.rotate(first)


def test_without_an_anchor_no_statement_is_taken(utility: Utility) -> None:
    statement = utility.statement(1, OLD)
    utility.settings = utility.settings.model_copy(update={"anchor_public_key_file": None})
    assert "Set WATTGATE_ANCHOR_PUBLIC_KEY_FILE" in utility.rotate(statement, status=1)
    assert utility.shown()["statements"] == []


def test_no_private_key_reaches_the_database_or_what_is_said(
    utility: Utility, caplog: pytest.LogCaptureFixture
) -> None:
    utility.register("SH-0001")
    utility.sign_with(NEW, OLD)
    said = utility.rotate(utility.statement(1, OLD, NEW))
    utility.live()
    assert utility.states(Op.KEYS, "SH-0001") == [CommandState.EXECUTED]
    secret = [utility.key(key_id).read_text().splitlines()[1] for key_id in (OLD, NEW, "anchor")]
    with utility.database.engine.connect() as connection:
        tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        rows = [
            row
            for table in tables
            for row in connection.scalars(text(f"SELECT CAST(t AS text) FROM {table} AS t"))  # noqa: S608 - of the catalogue
        ]
    kept = "\n".join(rows)
    public = utility.shown()["statements"][0]["keys"][NEW]
    assert public in kept
    assert [one for one in secret if one in kept + said + caplog.text] == []
    assert "PRIVATE KEY" not in kept + said + caplog.text


@pytest.mark.parametrize(
    "typed",
    [
        ("--serial", "0", "--key", "a={key}"),
        ("--serial", "1", "--key", "a=/nowhere.pem"),
        ("--serial", "1", "--key", "a={key}", "--key", "a={key}"),
        ("--serial", "1", "--key", "a={key}", "--key", "b={key}"),
        ("--serial", "1", "--key", "a={anchor}"),
        ("--serial", "1", "--key", "ä={key}"),
        ("--serial", "1", "--key", "{key}"),
    ],
)
def test_a_statement_that_no_terminal_would_take_is_not_signed(tmp_path: Path, typed: tuple[str, ...]) -> None:
    paths = {name: tmp_path / f"{name}.pem" for name in ("key", "anchor")}
    for path in paths.values():
        path.write_bytes(new_private_key_pem())
    said = run("key-statement", "--anchor", str(paths["anchor"]), *(one.format(**paths) for one in typed), status=2)
    assert "No statement was made" in said
    assert "Traceback" not in said
