"""A real `wattgate serve` says nothing that others must not read, whatever goes wrong while it is used."""

import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from databases import Database
from factories import PASSWORD, a_contract, a_person, an_office
from sqlalchemy import create_engine, text

from app.clock import monotonic_s, sleep
from app.database import transaction
from app.embedded.children import Child
from app.embedded.ports import LOOPBACK, free_port
from app.mqtt.signing import new_private_key_pem
from app.roles import Role

WITHIN_S = 60.0
MOST_SENT = 8_000_000
TOKEN_SECRET = f"token-secret-{secrets.token_hex(16)}"
DATABASE_PASSWORD = f"database-password-{secrets.token_hex(8)}"
BROKER_PASSWORD = f"broker-password-{secrets.token_hex(8)}"
NEW_PASSWORD = f"new-password-{secrets.token_hex(8)}"
WRONG_PASSWORD = f"wrong-password-{secrets.token_hex(8)}"


@dataclass(frozen=True, kw_only=True)
class Served:
    http: httpx.Client
    port: int
    child: Child

    def said(self) -> str:
        return self.child.log.read_text(errors="replace")


@contextmanager
def served(database_url: str, *, folder: Path) -> Iterator[Served]:
    port = free_port()
    child = _service(database_url, folder=folder, port=port)
    try:
        with httpx.Client(base_url=f"http://{LOOPBACK}:{port}", timeout=30) as http:
            _wait_alive(http, child)
            yield Served(http=http, port=port, child=child)
    finally:
        child.stop(within_s=20)


def _service(database_url: str, *, folder: Path, port: int, **more: str) -> Child:
    key_file = folder / "signing-key.pem"
    if not key_file.exists():
        key_file.write_bytes(new_private_key_pem())
    own = {
        "WATTGATE_ENVIRONMENT": "test",
        "WATTGATE_DATABASE_URL": database_url,
        "WATTGATE_TOKEN_SECRET": TOKEN_SECRET,
        "WATTGATE_SIGNING_KEY_FILE": str(key_file),
        "WATTGATE_BROKER_PASSWORD": BROKER_PASSWORD,
        "WATTGATE_HTTP_PORT": str(port),
        "WATTGATE_SIGN_IN_FAILURES_PER_NAME": "2",
        **more,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}
    return Child([sys.executable, "-m", "app.cli", "serve"], log=folder / f"{port}.log", environment=inherited | own)


def _wait_alive(http: httpx.Client, child: Child) -> None:
    deadline_s = monotonic_s() + WITHIN_S
    while True:
        assert not child.ended, child.log_tail()
        assert monotonic_s() < deadline_s, child.log_tail()
        try:
            if http.get("/healthz").is_success:
                return
        except httpx.TransportError:
            sleep(0.1)


def with_password(url: str) -> str:
    assert "wattgate_app@" in url
    return url.replace("wattgate_app@", f"wattgate_app:{DATABASE_PASSWORD}@")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_nothing_secret_is_said(database: Database, tmp_path: Path) -> None:
    with transaction(database.engine) as session:
        office = an_office(session, code="SH-PD")
        for role in Role:
            a_person(session, role=role, office=office, name=role.value)
        supply_point_id = a_contract(session).supply_point_id
    with served(with_password(database.application_url), folder=tmp_path) as service:
        found = [*_use(service, supply_point_id=str(supply_point_id)), *_provoke(service, database)]
        said = service.said()
    said += _without_a_database(tmp_path)

    found += [TOKEN_SECRET, DATABASE_PASSWORD, BROKER_PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, PASSWORD]
    found += [line for line in (tmp_path / "signing-key.pem").read_text().splitlines() if len(line) > 40]
    with database.engine.connect() as connection:
        found += connection.scalars(
            text("SELECT password_hash FROM staff_members WHERE password_hash IS NOT NULL")
        ).all()
    assert len(found) > 15
    assert [secret for secret in found if secret in said] == []
    assert "unhandled error" in said
    assert "database unreachable" in said
    assert "too many attempts" in said


def _use(service: Served, *, supply_point_id: str) -> list[str]:
    """Do what people do, and return what must stay between them and the service."""
    http = service.http
    tokens = {role: _sign_in(http, role.value) for role in Role}
    chief = bearer(tokens[Role.ADMINISTRATOR])
    hire = {
        "sign_in_name": "new",
        "name_zh": "新",
        "name_en": "New",
        "office_code": "SH-PD",
        "password": NEW_PASSWORD,
    }
    assert http.post("/api/v1/staff", json=hire | {"roles": ["cashier"]}, headers=chief).status_code == 201
    client = {"name": "bank", "name_zh": "银行", "name_en": "Bank", "office_code": "SH-PD", "roles": ["cashier"]}
    client_id = http.post("/api/v1/clients", json=client, headers=chief).json()["id"]
    made = http.post(
        f"/api/v1/clients/{client_id}/keys", json={"label": "x", "scopes": ["cashier"]}, headers=chief
    ).json()
    assert http.get("/api/v1/auth/me", headers=bearer(made["key"])).status_code == 200
    rounds = [{"round": 1, "feeds_zh": "空调", "feeds_en": "air", "importance": 1, "load_w": 1000}]
    terminal = {"terminal_id": "SH-1", "supply_point_id": supply_point_id, "meter_no": "M1", "safe_load_w": 500}
    registered = http.post("/api/v1/terminals", json=terminal | {"rounds": rounds}, headers=chief)
    assert registered.status_code == 201, registered.text
    change = {"old_password": NEW_PASSWORD, "new_password": f"{NEW_PASSWORD}-2"}
    mine = bearer(_sign_in(http, "new", password=NEW_PASSWORD))
    assert http.post("/api/v1/auth/password", json=change, headers=mine).status_code == 200
    assert http.post("/api/v1/auth/sign-out", headers=bearer(tokens[Role.APPROVER])).status_code == 200
    return [*tokens.values(), made["key"], made["key"][-43:], registered.json()["credential"]]


def _provoke(service: Served, database: Database) -> list[str]:
    """Let things go wrong in every way at hand, each with a secret in the request."""
    http = service.http
    token = _sign_in(http, Role.ADMINISTRATOR.value)
    for _ in range(3):
        http.post("/api/v1/auth/token", data={"username": "operator", "password": WRONG_PASSWORD})
    http.post("/api/v1/auth/token", content=f"password={WRONG_PASSWORD}")
    http.post("/api/v1/auth/token", json={"username": "a", "password": WRONG_PASSWORD})
    http.post("/api/v1/staff", content=f'{{"password": "{NEW_PASSWORD}', headers=bearer(token))
    http.post("/api/v1/staff", json={"password": NEW_PASSWORD, "roles": [NEW_PASSWORD]}, headers=bearer(token))
    http.get(f"/api/v1/nothing?token={token}", headers=bearer(token))
    http.get("/api/v1/auth/me", headers=bearer(f"{token}x"))
    http.get("/api/v1/auth/me", auth=("li.na", WRONG_PASSWORD))
    http.get("/api/v1/auth/me", headers=bearer(f"wgk_{WRONG_PASSWORD}"))
    http.get("/api/v1/auth/me", headers=bearer(token) | {"x-long": token * 100})
    with socket.create_connection((LOOPBACK, service.port)) as raw:
        raw.sendall(f"GARBAGE {token}\r\n\r\n".encode())
        assert b" 400 " in raw.recv(1000)
    _break_the_database(http, database, token=token)
    return [token]


def _break_the_database(http: httpx.Client, database: Database, *, token: str) -> None:
    hire = {"sign_in_name": "late", "name_zh": "迟", "name_en": "Late", "office_code": "SH-PD", "roles": ["cashier"]}
    owner = create_engine(database.owner_url)
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE staff_members RENAME COLUMN password_hash TO moved"))
    failed = http.post("/api/v1/staff", json=hire | {"password": NEW_PASSWORD}, headers=bearer(token))
    signed_in = http.post("/api/v1/auth/token", data={"username": "cashier", "password": WRONG_PASSWORD})
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE staff_members RENAME COLUMN moved TO password_hash"))
    owner.dispose()
    assert (failed.status_code, signed_in.status_code) == (500, 500)
    with database.engine.connect() as connection:
        others = "usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))  # noqa: S608
    lost = http.post("/api/v1/staff", json=hire | {"password": NEW_PASSWORD}, headers=bearer(token))
    assert lost.status_code == 503


def _without_a_database(folder: Path) -> str:
    """Return what a service says that waits for its database in vain and ends."""
    nowhere = f"postgresql+psycopg://wattgate_app:{DATABASE_PASSWORD}@{LOOPBACK}:{free_port()}/nothing"
    blind = _service(nowhere, folder=folder, port=free_port(), WATTGATE_STARTUP_WAIT_S="1")
    deadline_s = monotonic_s() + WITHIN_S
    while not blind.ended:
        assert monotonic_s() < deadline_s, blind.log_tail()
        sleep(0.1)
    blind.stop(within_s=1)
    assert "the database does not answer" in blind.log_tail()
    return blind.log.read_text(errors="replace")


def _sign_in(http: httpx.Client, name: str, *, password: str = PASSWORD) -> str:
    answer = http.post("/api/v1/auth/token", data={"username": name, "password": password})
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


def test_a_head_without_end_is_hung_up_on(database: Database, tmp_path: Path) -> None:
    with served(with_password(database.application_url), folder=tmp_path) as service:
        for head in (b"GET /healthz HTTP/1.1\r\nx: ", b"GET /"):
            assert _sent_until_hung_up(service.port, head) < MOST_SENT
            assert service.http.get("/healthz").is_success


def _sent_until_hung_up(port: int, head: bytes) -> int:
    sent = 0
    with socket.create_connection((LOOPBACK, port), timeout=30) as endless, contextlib.suppress(OSError):
        endless.sendall(head)
        while sent < MOST_SENT:
            endless.sendall(b"a" * 16_384)
            sent += 16_384
    return sent
