"""The record: who did what, in chains that show when they are changed; and no write goes unrecorded."""

import json
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from databases import Database
from desk import API, Desk, a_desk, refusal
from factories import SIGNED_AT, a_contract, a_person, a_purchase, a_terminal, an_office
from fastapi import APIRouter
from running import running, settings_for
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.audit import heads as exported
from app.audit import queries, service
from app.audit.rules import FIRST_HASH, SERVICE_STREAM, Deed, next_hash
from app.cli import command_line
from app.database import (
    Actor,
    UnrecordedWrite,
    act_for,
    attempt,
    connect,
    in_transaction_of,
    reading,
    rehearsal,
    transaction,
)
from app.http.policies import anyone
from app.http.transaction import Db, changes_nothing
from app.main import create_app
from app.roles import Role
from app.verification import INVARIANTS, find_broken

NOW = SIGNED_AT + timedelta(days=1)
RECORD = [one for one in INVARIANTS if one.name.startswith("I12")]

A_DEED = Deed(action="test.done", subject_kind="test", subject="x")
SOMEBODY = Actor(name="somebody")

unrecorded = APIRouter(dependencies=[anyone(writes=True)])


@unrecorded.post("/test/unrecorded")
def write_without_a_record(session: Db) -> str:
    session.execute(text("INSERT INTO offices VALUES (gen_random_uuid(), 'X', 'a', 'b')"))
    return "this answer must not go out"


@unrecorded.get("/test/unrecorded")
def write_while_reading(session: Db) -> str:
    return write_without_a_record(session)


@unrecorded.post("/test/asks-only", dependencies=[changes_nothing()])
def write_although_it_only_asks(session: Db) -> str:
    service.record(session, A_DEED, at=NOW)
    return write_without_a_record(session)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no="HT-1")
        a_terminal(session, supply_point_id=contract.supply_point_id)
    with a_desk(database, staff=Role) as opened:
        yield opened


def test_a_sale_is_on_record_with_who_when_where_and_what(desk: Desk) -> None:
    body = {"contract_no": "HT-1", "amount_yuan": "800.00"}
    sold = desk.post("/purchases", body, role=Role.CASHIER).json()
    (event,) = desk.get("/audit", action="energy.sold").json()["items"]
    assert (event["actor"], event["address"]) == ("cashier.one", "127.0.0.1")
    assert (event["subject_kind"], event["subject"]) == ("contract", "HT-1")
    assert event["before"]["paid_until_wh"] == 0
    assert event["after"]["purchase_no"] == sold["purchase_no"]
    assert event["after"]["receipt_no"] == sold["receipt_no"]
    assert event["after"]["paid_until_wh"] == 1_000_000
    assert len(event["transaction_ids"]) == 2


def test_a_price_is_on_record_with_the_one_before(desk: Desk) -> None:
    body = {"yuan_per_kwh": "0.9", "valid_from": "2027-01-01T00:00:00Z"}
    desk.post("/contracts/HT-1/prices", body, role=Role.TARIFF_KEEPER)
    (event,) = desk.get("/audit", subject="HT-1", action="price.set", actor="tariff_keeper.one").json()["items"]
    assert (event["before"], event["after"]["yuan_per_kwh"]) == ({"yuan_per_kwh": "0.80000000"}, "0.9")


def test_a_search_goes_on_where_the_page_before_ended(desk: Desk) -> None:
    whole = desk.get("/audit", limit=200).json()["items"]
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = desk.get("/audit", limit=3, **({"cursor": cursor} if cursor else {})).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert seen == whole
    assert len(whole) > 6


@pytest.mark.parametrize(
    ("sought", "found"),
    [({"q": "tariff_keeper.one"}, 1), ({"office": "nowhere"}, 0), ({"until": "2000-01-01T00:00:00Z"}, 0)],
)
def test_a_search_finds_what_was_recorded_and_no_more(desk: Desk, sought: dict[str, str], found: int) -> None:
    assert len(desk.get("/audit", action="person.hired", **sought).json()["items"]) == found


def test_a_cursor_of_another_list_is_refused(desk: Desk) -> None:
    answer = desk.get("/audit", cursor="QzAwMDI")
    assert refusal(answer) == (400, "cursor-unreadable")


def test_only_auditors_and_administrators_read_the_record(desk: Desk) -> None:
    may = {role for role in Role if desk.get("/audit", role=role).status_code == 200}
    assert may == {Role.AUDITOR, Role.ADMINISTRATOR}


def offices(database: Database) -> int:
    with reading(database.engine) as session:
        return session.scalar(text("SELECT count(*) FROM offices")) or 0


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/test/unrecorded"), ("GET", "/test/unrecorded"), ("POST", "/test/asks-only")]
)
def test_a_write_that_records_nothing_is_undone(database: Database, method: str, path: str) -> None:
    app = create_app(settings_for(database.application_url), engine=database.engine)
    app.include_router(unrecorded)
    with running(app) as client:
        answer = client.request(method, path)
    assert answer.status_code == 500
    assert offices(database) == 0


def test_what_somebody_does_outside_a_request_is_held_to_its_record_too(database: Database) -> None:
    with pytest.raises(UnrecordedWrite, match="somebody"):
        in_transaction_of(database.engine, SOMEBODY, write_without_a_record)
    assert offices(database) == 0

    def write_and_record(session: Session) -> None:
        write_without_a_record(session)
        service.record(session, A_DEED, at=NOW)

    in_transaction_of(database.engine, SOMEBODY, write_and_record)
    assert offices(database) == 1


def test_a_deed_that_was_undone_records_nothing(database: Database) -> None:
    def record_in_vain(session: Session) -> None:
        with suppress(ZeroDivisionError), attempt(session):
            service.record(session, A_DEED, at=NOW)
            raise ZeroDivisionError
        with rehearsal(session):
            service.record(session, A_DEED, at=NOW)
        write_without_a_record(session)

    with pytest.raises(UnrecordedWrite):
        in_transaction_of(database.engine, SOMEBODY, record_in_vain)

    def record_before(session: Session) -> None:
        service.record(session, A_DEED, at=NOW)
        with rehearsal(session):
            write_without_a_record(session)

    in_transaction_of(database.engine, SOMEBODY, record_before)
    with reading(database.engine) as session:
        assert session.scalar(text("SELECT count(*) FROM audit_events")) == 1


def test_reading_leaves_its_connection_able_to_write(database: Database) -> None:
    engine = connect(database.application_url, pool_size=1)
    with pytest.raises(DBAPIError, match="read-only"), reading(engine) as session:
        write_without_a_record(session)
    with transaction(engine) as session:
        write_without_a_record(session)
    engine.dispose()
    assert offices(database) == 1


def test_a_command_is_on_record_under_the_account_that_typed_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTGATE_DATABASE_URL", database.application_url)
    monkeypatch.setenv("WATTGATE_TOKEN_SECRET", "x" * 32)
    monkeypatch.setenv("WATTGATE_SIGNING_KEY_FILE", "/nowhere")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    done = CliRunner().invoke(command_line, ["begin", "--password", "long enough"])
    assert done.exit_code == 0, done.output
    with reading(database.engine) as session:
        told = [
            json.loads(found.event.payload)
            for found in queries.search(session, queries.Wanted(), limit=9, before=None)
        ]
    account = f"os:{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
    assert [one["action"] for one in told] == ["person.hired", "office.opened"]
    assert {(one["actor"], one["address"], one["actor_id"]) for one in told} == {(account, account, None)}


def test_each_office_has_a_chain_that_follows_from_its_payloads(database: Database) -> None:
    with transaction(database.engine) as session:
        cashiers = [a_person(session, role=Role.CASHIER, office=an_office(session, code=code)) for code in "AB"]
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id)
    for cashier in [*cashiers, *cashiers]:
        with transaction(database.engine) as session:
            act_for(session, Actor(staff_member_id=cashier.id, name=cashier.sign_in_name))
            a_purchase(session, contract=contract, cashier=cashier, now=NOW)
    with transaction(database.engine) as session:
        told = session.execute(text("SELECT stream, seq, payload, hash FROM audit_events ORDER BY stream, seq")).all()
        heads = {head.stream: head for head in queries.heads(session)}
    streams = {row.stream for row in told}
    assert streams == {SERVICE_STREAM, *(cashier.office_id for cashier in cashiers)}
    for stream in streams:
        before = FIRST_HASH
        events = [row for row in told if row.stream == stream]
        for number, row in enumerate(events, start=1):
            before = next_hash(before, seq=number, payload=row.payload)
            assert (row.seq, row.hash) == (number, before)
            assert json.loads(row.payload)["action"]
        assert (heads[stream].seq, heads[stream].hash) == (len(events), before)


def test_exported_heads_show_a_record_that_was_rewritten_with_all_its_hashes(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "heads.jsonl"
    with transaction(database.engine) as session:
        for number in range(3):
            deed = Deed(action="test.done", subject_kind="test", subject=str(number))
            service.record(session, deed, at=NOW)
    with transaction(database.engine) as session:
        exported.export(path, queries.heads(session), now=NOW)
        assert queries.not_in_the_record(session, exported.read(path)) == []
    owner = create_engine(database.owner_url)
    with owner.begin() as connection:
        before = FIRST_HASH
        for seq in range(1, 4):
            payload = connection.scalar(text("SELECT payload FROM audit_events WHERE seq = :seq"), {"seq": seq})
            forged = str(payload).replace("test.done", "test.gone")
            before = next_hash(before, seq=seq, payload=forged)
            connection.execute(
                text(
                    "UPDATE audit_events SET payload = :payload, hash = :hash, action = 'test.gone' WHERE seq = :seq"
                ),
                {"payload": forged, "hash": before, "seq": seq},
            )
        connection.execute(text("UPDATE audit_heads SET hash = :hash"), {"hash": before})
    owner.dispose()
    with transaction(database.engine) as session:
        assert [row for one in RECORD for row in find_broken(session, one)] == []
        assert [head.seq for head in queries.not_in_the_record(session, exported.read(path))] == [3]


def test_a_line_that_is_no_head_is_named(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    path.write_text("{}\n")
    with pytest.raises(exported.HeadsUnreadable, match="line 1"):
        exported.read(path)


def test_the_application_can_neither_change_nor_delete_what_is_on_record(database: Database) -> None:
    for statement in ("UPDATE audit_events SET payload = ''", "DELETE FROM audit_events"):
        with pytest.raises(Exception, match="permission denied"), database.engine.connect() as connection:
            connection.execute(text(statement))


def test_the_heads_are_told_to_who_writes_them_down(desk: Desk) -> None:
    heads = desk.get("/audit/heads").json()
    assert {head["office"] for head in heads} == {"-"}
    assert desk.http.get(f"{API}/audit/heads").status_code == 401
