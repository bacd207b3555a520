"""Terminals over HTTP: registered once, shown with what they last told, their credential never again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_state, a_terminal
from sqlalchemy import text

from app.clock import Clock
from app.database import new_id, transaction
from app.mqtt.signing import CommandSigner, new_private_key_pem
from app.roles import Role
from app.terminals.presence import sessions_of
from app.terminals.queries import broker_credentials

ROUNDS = [
    {"round": 1, "feeds_zh": "空调", "feeds_en": "air conditioning", "importance": 1, "load_w": 120_000},
    {"round": 2, "feeds_zh": "轧机", "feeds_en": "rolling mill", "importance": 2, "load_w": 250_000},
]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    path.write_bytes(new_private_key_pem())
    return path


@pytest.fixture
def desk(database: Database, key_file: Path) -> Iterator[Desk]:
    with a_desk(database, signing_key_file=key_file) as opened:
        yield opened


@pytest.fixture
def wanted(desk: Desk) -> dict[str, Any]:
    with transaction(desk.database.engine) as session:
        supply_point_id = a_contract(session).supply_point_id
    return {
        "terminal_id": "SH-PD-0001",
        "supply_point_id": str(supply_point_id),
        "meter_no": "M0001",
        "safe_load_w": 50_000,
        "rounds": ROUNDS,
    }


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.OPERATOR])
def test_the_credential_and_the_public_key_are_shown_once(
    desk: Desk, wanted: dict[str, Any], key_file: Path, role: Role
) -> None:
    answer = desk.post("/terminals", wanted, role=role)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    told = answer.json()
    signer = CommandSigner.from_file(key_file, key_id="wattgate-1")
    assert (told["service_public_key_pem"], told["service_key_id"]) == (signer.public_key_pem(), "wattgate-1")
    load_pem_public_key(told["service_public_key_pem"].encode())
    assert (told["user_name"], told["subscribes_to"]) == ("SH-PD-0001", "lm/v1/SH-PD-0001/dn/#")
    assert "lm/v1/SH-PD-0001/up/report" in told["publishes_to"]
    with desk.database.engine.connect() as connection:
        kept = connection.scalar(text("SELECT credential_hash FROM terminals"))
    assert isinstance(kept, str)
    assert bcrypt.checkpw(told["credential"].encode(), kept.encode())
    shown = desk.get("/terminals/SH-PD-0001")
    assert shown.status_code == 200
    assert (told["credential"] in shown.text, kept in shown.text) == (False, False)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"supply_point_id": str(new_id())}, (404, "supply-point-unknown")),
        ({"rounds": [ROUNDS[0], ROUNDS[0]]}, (422, "unreadable")),
        ({"rounds": [ROUNDS[0] | {"round": 9}]}, (422, "unreadable")),
        ({"rounds": [ROUNDS[0] | {"importance": 0}]}, (422, "unreadable")),
        ({"rounds": []}, (422, "unreadable")),
        ({"safe_load_w": -1}, (422, "unreadable")),
        ({"terminal_id": "sh/1"}, (422, "unreadable")),
    ],
)
def test_a_terminal_that_cannot_be_is_refused(
    desk: Desk, wanted: dict[str, Any], change: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert refusal(desk.post("/terminals", wanted | change, role=Role.OPERATOR)) == expected
    assert (desk.count("terminals"), desk.count("terminal_rounds")) == (0, 0)


def test_a_round_given_twice_is_named(desk: Desk, wanted: dict[str, Any]) -> None:
    answer = desk.post("/terminals", wanted | {"rounds": [ROUNDS[1], ROUNDS[1]]}, role=Role.OPERATOR)
    assert "[2]" in answer.json()["errors"][0]["what"]


def test_an_id_and_a_place_are_taken_once(desk: Desk, wanted: dict[str, Any]) -> None:
    with transaction(desk.database.engine) as session:
        elsewhere = str(a_contract(session).supply_point_id)
    assert desk.post("/terminals", wanted, role=Role.OPERATOR).status_code == 201
    for change in ({"supply_point_id": elsewhere}, {"terminal_id": "SH-PD-0002"}):
        assert refusal(desk.post("/terminals", wanted | change, role=Role.OPERATOR)) == (409, "terminal-taken")
    assert (desk.count("terminals"), desk.count("terminal_rounds")) == (1, 2)


def test_a_cashier_registers_nothing(desk: Desk, wanted: dict[str, Any]) -> None:
    assert refusal(desk.post("/terminals", wanted, role=Role.CASHIER)) == (403, "not-allowed")
    assert desk.count("terminals") == 0


def test_without_a_key_nothing_is_registered(desk: Desk, wanted: dict[str, Any], key_file: Path) -> None:
    key_file.write_text("no key")
    assert refusal(desk.post("/terminals", wanted, role=Role.OPERATOR)) == (409, "signing-key-missing")
    assert desk.count("terminals") == 0


def test_a_terminal_shows_its_rounds_and_what_it_last_told(desk: Desk) -> None:
    now = Clock().now()
    with transaction(desk.database.engine) as session:
        for terminal_id in ("SH-0001", "SH-0002", "SH-0003"):
            a_terminal(session, supply_point_id=a_contract(session).supply_point_id, terminal_id=terminal_id)
        a_live_terminal(session, terminal_id="SH-0002", now=now, state=a_state(rounds="01------"))
    shown = desk.get("/terminals/SH-0002").json()
    assert [(fitted["feeds_en"], fitted["relay"]) for fitted in shown["rounds"]] == [
        ("air conditioning", "tripped"),
        ("rolling mill", "closed"),
    ]
    assert (shown["online"], shown["commandable"], shown["supplied_wh"]) == (True, True, 1_000_000)
    assert shown["state"]["guarantee"] == "off"
    silent = desk.get("/terminals/SH-0001").json()
    assert (silent["online"], silent["state"], silent["rounds"][0]["relay"]) == (False, None, "unknown")
    first = desk.get("/terminals", limit=2).json()
    second = desk.get("/terminals", limit=2, cursor=first["next_cursor"]).json()
    ids = [row["terminal_id"] for row in first["items"] + second["items"]]
    assert ids == ["SH-0001", "SH-0002", "SH-0003"]
    assert [row["terminal_id"] for row in desk.get("/terminals", online=True).json()["items"]] == ["SH-0002"]
    assert [row["terminal_id"] for row in desk.get("/terminals", online=False).json()["items"]] == [
        "SH-0001",
        "SH-0003",
    ]
    assert refusal(desk.get("/terminals/SH-9999")) == (404, "no-such-terminal")


def test_a_credential_is_renewed_and_the_new_one_is_shown_once(desk: Desk, wanted: dict[str, Any]) -> None:
    first = desk.post("/terminals", wanted, role=Role.OPERATOR).json()["credential"]
    renewed = desk.post("/terminals/SH-PD-0001/credential", {}, role=Role.OPERATOR)
    assert (renewed.status_code, renewed.headers["cache-control"]) == (200, "no-store")
    second = renewed.json()["credential"]
    with desk.database.engine.connect() as connection:
        kept = str(connection.scalar(text("SELECT credential_hash FROM terminals")))
        told = str(connection.execute(text("SELECT array_agg(payload) FROM audit_events")).scalar_one())
    assert [bcrypt.checkpw(one.encode(), kept.encode()) for one in (first, second)] == [False, True]
    assert (second in told, "credential_renewed" in told) == (False, True)
    assert refusal(desk.post("/terminals/SH-PD-0001/credential", {}, role=Role.CASHIER)) == (403, "not-allowed")
    assert refusal(desk.post("/terminals/SH-PD-0009/credential", {}, role=Role.OPERATOR))[0] == 404


def test_what_comes_under_a_revoked_name_is_put_aside_and_nothing_is_sent_there(
    desk: Desk, wanted: dict[str, Any]
) -> None:
    desk.post("/terminals", wanted, role=Role.OPERATOR)
    with transaction(desk.database.engine) as session:
        a_live_terminal(session, terminal_id="SH-PD-0001", now=Clock().now())
        assert sessions_of(session, ["SH-PD-0001"]) != {}
    revoke = "/terminals/SH-PD-0001/credential/revoke"
    shown = desk.post(revoke, {"reason": "stolen from the site"}, role=Role.ADMINISTRATOR).json()
    assert (shown["online"], shown["commandable"], shown["credential_revoked_at"] is None) == (False, False, False)
    with transaction(desk.database.engine) as session:
        assert sessions_of(session, ["SH-PD-0001"]) == {}
        assert broker_credentials(session) == {}
    again = desk.post(revoke, {"reason": "once more"}, role=Role.ADMINISTRATOR)
    assert refusal(again) == (409, "credential-revoked")
    desk.post("/terminals/SH-PD-0001/credential", {}, role=Role.OPERATOR)
    assert desk.get("/terminals/SH-PD-0001").json()["credential_revoked_at"] is None
