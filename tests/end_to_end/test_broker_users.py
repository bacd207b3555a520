"""The list of users that `wattgate broker-users` writes, read by a real Mosquitto."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from databases import Database
from factories import SIGNED_AT, a_contract
from mosquitto import Mosquitto
from peers import SUCCESS, Peer, eventually
from sqlalchemy import text
from typer.testing import CliRunner

from app.cli import command_line
from app.database import transaction
from app.embedded.broker import SERVICE_USER
from app.embedded.users import hashes_in
from app.terminals.rules import mosquitto_users
from app.terminals.service import NewTerminal, register

FIRST, SECOND = "SH-0001", "SH-0002"
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(typed: Command) -> Command:
    """Type the command; returns its exit code and what it said."""

    def command_typed(*arguments: str, **different: str) -> tuple[int, str]:
        return typed("broker-users", *arguments, **different)

    return command_typed


@pytest.fixture
def typed(database: Database, mosquitto: Mosquitto) -> Command:
    """Type any command; returns its exit code and what it said."""
    settings = {
        "WATTGATE_ENVIRONMENT": "test",
        "WATTGATE_DATABASE_URL": database.application_url,
        "WATTGATE_TOKEN_SECRET": "a secret of the tests, long enough to sign with",
        "WATTGATE_SIGNING_KEY_FILE": "/not/needed/here.pem",
        "WATTGATE_BROKER_PASSWORD": mosquitto.service_password,
    }

    def any_typed(*arguments: str, **different: str) -> tuple[int, str]:
        done = CliRunner().invoke(command_line, list(arguments), env=settings | different)
        return done.exit_code, done.output

    return any_typed


@pytest.fixture
def credentials(database: Database) -> dict[str, str]:
    """Two registered terminals; credential by id."""
    with transaction(database.engine) as session:

        def registered(terminal_id: str, point: UUID) -> str:
            new = NewTerminal(
                terminal_id=terminal_id, supply_point_id=point, meter_no="M0001", safe_load_w=50_000, rounds=()
            )
            return register(session, new, now=SIGNED_AT)

        return {name: registered(name, a_contract(session).supply_point_id) for name in (FIRST, SECOND)}


def test_the_list_lets_in_what_is_registered_and_throws_out_what_is_retired(
    database: Database, mosquitto: Mosquitto, credentials: dict[str, str], command: Command, tmp_path: Path
) -> None:
    written = tmp_path / "passwords"
    assert command("--to", str(written)) == (0, "")
    assert written.stat().st_mode & 0o777 == 0o600
    assert not any(credential in written.read_text() for credential in credentials.values())
    mosquitto.read(written.read_text())

    def enter(name: str, password: str) -> Peer:
        return Peer(mosquitto.port, name, password, authority=mosquitto.authority)

    with (
        enter(FIRST, credentials[FIRST]) as first,
        enter(SECOND, credentials[SECOND]) as second,
        enter(SERVICE_USER, mosquitto.service_password) as service,
    ):
        assert [one.welcome for one in (first, second, service)] == [SUCCESS] * 3
        with database.engine.begin() as connection:
            connection.execute(text("UPDATE terminals SET retired_at = now() WHERE id = :id"), {"id": SECOND})
        file_before = written.stat().st_ino
        assert command("--to", str(written)) == (0, "")
        assert written.stat().st_ino == file_before
        mosquitto.read(written.read_text())
        eventually(lambda: second.ended)
        assert (first.ended, service.ended) == ([], [])
        with enter(SECOND, credentials[SECOND]) as again:
            assert again.welcome == "Not authorized"


def test_a_renewed_credential_takes_the_place_of_the_old_one_and_a_revoked_one_opens_nothing(
    mosquitto: Mosquitto, credentials: dict[str, str], command: Command, typed: Command, tmp_path: Path
) -> None:
    written = tmp_path / "passwords"
    assert command("--to", str(written)) == (0, "")
    mosquitto.read(written.read_text())

    def enter(name: str, password: str) -> Peer:
        return Peer(mosquitto.port, name, password, authority=mosquitto.authority)

    with enter(FIRST, credentials[FIRST]) as first, enter(SECOND, credentials[SECOND]) as second:
        assert (first.welcome, second.welcome) == (SUCCESS, SUCCESS)
        code, said = typed("renew-credential", FIRST)
        assert code == 0
        new = said.splitlines()[0]
        assert typed("revoke-credential", SECOND, "--reason", "stolen from the site")[0] == 0
        assert command("--to", str(written)) == (0, "")
        mosquitto.read(written.read_text())
        eventually(lambda: first.ended and second.ended)
        for name, password, welcome in (
            (FIRST, credentials[FIRST], "Not authorized"),
            (FIRST, new, SUCCESS),
            (SECOND, credentials[SECOND], "Not authorized"),
        ):
            with enter(name, password) as again:
                assert again.welcome == welcome
    again_code, refused = typed("revoke-credential", SECOND)
    assert (again_code, "was revoked" in refused) == (1, True)
    assert typed("renew-credential", "SH-9999")[0] == 1


def test_a_terminal_of_an_earlier_version_is_named_and_its_line_is_kept(
    database: Database, credentials: dict[str, str], command: Command, tmp_path: Path
) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE terminals SET mosquitto_hash = NULL WHERE id = :id"), {"id": SECOND})
    code, said = command()
    assert (code, f"registered by an earlier version: {SECOND}." in said, f"{FIRST}:$7$" in said) == (0, True, True)
    by_hand = tmp_path / "passwords"
    by_hand.write_text(f"{SECOND}:$7$101$by$hand\nSH-9999:$7$101$long$gone\n")
    assert command("--to", str(by_hand)) == (0, "")
    assert sorted(mosquitto_users(by_hand.read_text())) == [FIRST, SECOND, SERVICE_USER]
    assert mosquitto_users(by_hand.read_text())[SECOND] == "$7$101$by$hand"
    assert sorted(credentials) == [FIRST, SECOND]


def test_no_list_is_written_that_would_lock_the_service_out(command: Command, tmp_path: Path) -> None:
    kept = tmp_path / "passwords"
    kept.write_text("as it was\n")
    code, said = command("--to", str(kept), WATTGATE_BROKER_PASSWORD="")
    assert (code, kept.read_text()) == (2, "as it was\n")
    assert "WATTGATE_BROKER_PASSWORD" in said


def test_a_list_that_cannot_be_written_is_said_with_its_place(command: Command, tmp_path: Path) -> None:
    code, said = command("--to", str(tmp_path))
    assert (code, "Is a directory" in said) == (2, True)


def test_the_list_for_nats_has_all_workers_and_keeps_the_line_of_a_worker_whose_password_stays(
    credentials: dict[str, str], command: Command, tmp_path: Path
) -> None:
    written = tmp_path / "users.conf"
    typed = ("--form", "nats", "--worker", "wattgate-2", "--to", str(written))
    assert command(*typed) == (0, "")
    first = written.read_text()
    assert sorted(hashes_in(first)) == [FIRST, SECOND, SERVICE_USER, "wattgate-2"]
    assert not any(credential in first for credential in credentials.values())
    assert command(*typed) == (0, "")
    assert written.read_text() == first
    assert command(*typed, WATTGATE_BROKER_PASSWORD="another one, long enough") == (0, "")
    assert hashes_in(written.read_text())[SERVICE_USER] != hashes_in(first)[SERVICE_USER]
