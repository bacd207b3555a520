"""Files become customers, contracts, terminals and opening balances: all of a file, or nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from databases import Database
from desk import API, Desk, a_desk, refusal
from factories import a_live_terminal, a_person, an_office
from files import (
    a_contract_line,
    a_customer_line,
    a_file,
    a_terminal_line,
    an_opening_line,
    as_csv,
    as_xlsx,
    rows_of,
)
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from app.cli import command_line
from app.clock import Clock
from app.customers.models import Customer
from app.database import in_transaction, new_id, transaction
from app.errors import Conflict, DomainError
from app.imports.facts import Kind
from app.imports.routes import CSV, XLSX, understood
from app.imports.service import Imported, Importer, LinesAtFault, take_over
from app.load_control.service import Pace
from app.mqtt.signing import new_private_key_pem
from app.openings import service as openings
from app.openings.rules import Opening
from app.roles import Role
from app.verification import INVARIANTS, find_broken

TABLES = (
    "customers", "contacts", "supply_points", "supply_contracts", "purchase_prices", "terminals", "terminal_rounds",
    "opening_balances", "ledger_transactions", "allowance_grants", "commands", "imports",
)  # fmt: skip
PACE = Pace(clock=Clock(), report_interval_s=900)


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    key = tmp_path / "key.pem"
    key.write_bytes(new_private_key_pem())
    with transaction(database.engine) as session:
        an_office(session, code="PD")
    with a_desk(database, signing_key_file=key, staff=Role) as opened:
        yield opened


def send(
    desk: Desk, kind: str, content: bytes, *, role: Role = Role.ADMINISTRATOR, key: str | None = None, **params: Any
) -> httpx.Response:
    headers = {"Content-Type": XLSX if content.startswith(b"PK") else CSV, "Idempotency-Key": key or str(new_id())}
    return desk.http.post(
        f"{API}/imports/{kind}", content=content, params=params, headers=desk.headers[role] | headers
    )


def counts(desk: Desk) -> dict[str, int]:
    return {table: desk.count(table) for table in TABLES}


def prepared(desk: Desk, *, count: int = 1, terminals: bool = True) -> None:
    """Import customers, contracts and terminals, so that openings have their ground."""
    numbers = range(1, count + 1)
    files = {
        Kind.CUSTOMERS: [a_customer_line(number) for number in numbers],
        Kind.CONTRACTS: [a_contract_line(number) for number in numbers],
        Kind.TERMINALS: [a_terminal_line(number, fitted=fitted) for number in numbers for fitted in (1, 2)],
    }
    for kind, lines in files.items():
        if kind is not Kind.TERMINALS or terminals:
            assert send(desk, kind, a_file(kind, *lines)).status_code == 201


def faults_of(answer: httpx.Response) -> list[tuple[int, str]]:
    assert refusal(answer) == (422, "file-faulty")
    return [(one["line"], one["code"]) for one in answer.json()["faults"]]


def test_each_kind_is_imported_and_a_purchase_follows_the_opening(desk: Desk) -> None:
    prepared(desk)
    opened = send(
        desk, "opening-balances", a_file(Kind.OPENING_BALANCES, an_opening_line()), role=Role.ACCOUNT_MANAGER
    )
    assert opened.status_code == 201
    assert (opened.json()["rows"], opened.json()["records"]) == (1, 1)
    contract = desk.get("/contracts/HT-00001").json()
    assert (contract["limit_w"], contract["written_notice_s"], contract["second_notice_s"]) == (
        500_000,
        259_200,
        1800,
    )
    customer = desk.get("/customers/C00001").json()
    assert [contact["phone"] for contact in customer["contacts"]] == ["021-55500001"]
    prices = desk.get("/contracts/HT-00001/prices").json()["items"]
    assert (prices[0]["yuan_per_kwh"], prices[0]["valid_from"]) == ("0.8", "2026-02-28T16:00:00Z")
    terminal = desk.get("/terminals/SH-PD-00001").json()
    assert [fitted["load_w"] for fitted in terminal["rounds"]] == [120_500, 120_500]

    # 2000 yuan: 1200 pay the debt, 800 and the 12.34 kept buy 1015.425 kWh at 0.8.
    wanted = {"contract_no": "HT-00001", "amount_yuan": "2000.00"}
    bought = desk.post("/purchases", wanted, role=Role.CASHIER).json()
    assert (bought["debt_paid_fen"], bought["energy_wh"], bought["order_no"]) == (120_000, 1_015_425, 2)
    assert bought["paid_until_wh"] == 1_200_000 + 5_000_000 + 1_015_425
    assert broken(desk) == {}


def test_an_opening_reaches_both_books_and_the_terminal(desk: Desk) -> None:
    prepared(desk)
    assert send(desk, "opening-balances", a_file(Kind.OPENING_BALANCES, an_opening_line())).status_code == 201
    with transaction(desk.database.engine) as session:
        args = session.execute(text("SELECT args FROM commands WHERE op = 'credit'")).scalar_one()
        balances = dict(session.execute(text("SELECT kind, balance FROM ledger_accounts WHERE balance <> 0")).all())
        grants = session.execute(text("SELECT reason, energy_wh, order_no FROM allowance_grants")).all()
        kept = session.execute(text("SELECT kept_nfen FROM allowances")).scalar_one()
    assert (args["mode"], args["paid_until_wh"], args["value_wh"], args["order_no"]) == (
        "refresh", 6_200_000, 5_000_000, 1,
    )  # fmt: skip
    assert balances == {"deposit": 401_234, "receivable": 120_000, "allowance": 5_200_000}
    assert grants == [("opening", 5_200_000, 1)]
    assert kept == 1234 * 10**9
    assert broken(desk) == {}


def test_an_opening_without_energy_starts_no_control(desk: Desk) -> None:
    prepared(desk)
    line = an_opening_line(remaining_wh="0", energy_paid_fen="", kept_fen="")
    assert send(desk, "opening-balances", a_file(Kind.OPENING_BALANCES, line)).status_code == 201
    assert desk.count("commands") == 0
    with transaction(desk.database.engine) as session:
        paid_until, last_order = session.execute(
            text("SELECT paid_until_wh, last_order_no FROM allowances JOIN terminals USING (supply_point_id)")
        ).one()
    assert (paid_until, last_order) == (1_200_000, 0)
    assert broken(desk) == {}


def test_openings_come_once_and_before_the_first_purchase(desk: Desk) -> None:
    prepared(desk, count=3)
    assert send(desk, "opening-balances", a_file(Kind.OPENING_BALANCES, an_opening_line(1))).status_code == 201
    sold = {"contract_no": "HT-00002", "amount_yuan": "100.00"}
    assert desk.post("/purchases", sold, role=Role.CASHIER).status_code == 201
    before = counts(desk)
    again = a_file(Kind.OPENING_BALANCES, *(an_opening_line(number, debt_fen="1") for number in (1, 2, 3, 4)))
    assert faults_of(send(desk, "opening-balances", again)) == [(2, "refused"), (3, "refused"), (5, "unknown")]
    assert counts(desk) == before


def test_no_opening_comes_after_emergency_credit(desk: Desk) -> None:
    prepared(desk)
    with transaction(desk.database.engine) as session:
        point = session.execute(
            text("UPDATE supply_contracts SET emergency_limit_wh = 5000000 RETURNING supply_point_id")
        ).scalar_one()
        a_live_terminal(session, terminal_id="SH-PD-00001", now=Clock().now(), supplied_wh=1_000_000)
    body = {"energy_wh": 1_000_000, "asked_by": "Ms Wang", "reason": "a night shift"}
    lent = desk.post(f"/supply-points/{point}/emergency-credits", body, role=Role.OPERATOR)
    assert lent.status_code == 201, lent.text
    before = counts(desk)
    refused = send(desk, "opening-balances", a_file(Kind.OPENING_BALANCES, an_opening_line()))
    assert faults_of(refused) == [(2, "refused")]
    assert "emergency credit" in refused.json()["faults"][0]["wrong"]["en"]
    assert counts(desk) == before
    assert broken(desk) == {}


def test_an_opening_on_its_own_keeps_the_same_rules(desk: Desk) -> None:
    prepared(desk)
    opening = Opening(
        contract_no="HT-00001", reading_wh=1_000_000, remaining_wh=1, energy_paid_fen=0, debt_fen=0, kept_fen=0
    )
    with transaction(desk.database.engine) as session:
        by = a_person(session, role=Role.ACCOUNT_MANAGER).id
        opened = openings.open_balance(session, opening, by=by, pace=PACE, now=Clock().now())
    assert (opened.granted_wh, opened.order_no) == (1, 1)
    with pytest.raises(Conflict), transaction(desk.database.engine) as session:
        openings.open_balance(session, opening, by=by, pace=PACE, now=Clock().now())
    unknown = Opening(**{**opening.__dict__, "contract_no": "HT-9"})
    with pytest.raises(DomainError), transaction(desk.database.engine) as session:
        openings.open_balance(session, unknown, by=by, pace=PACE, now=Clock().now())


def test_csv_and_xlsx_give_the_same(desk: Desk) -> None:
    rows = rows_of(Kind.CUSTOMERS, [a_customer_line(1)])
    assert send(desk, "customers", as_csv(rows, encoding="gb18030")).status_code == 201
    second = rows_of(Kind.CUSTOMERS, [a_customer_line(2)])
    assert send(desk, "customers", as_xlsx(second)).status_code == 201
    one, two = (desk.get(f"/customers/C0000{number}").json() for number in (1, 2))
    for name in ("name_zh", "name_en", "industry", "contacts", "office_id"):
        assert one[name] == two[name]


def test_every_bad_line_is_named_and_nothing_is_written(desk: Desk) -> None:
    prepared(desk)
    before = counts(desk)
    contracts = a_file(
        Kind.CONTRACTS,
        a_contract_line(1),
        a_contract_line(2, customer_no="C00001", capacity_kva="400"),
        a_contract_line(3),
        a_contract_line(4, customer_no="C00001", voltage_v="high"),
        a_contract_line(5, customer_no="C00001"),
    )
    assert faults_of(send(desk, "contracts", contracts)) == [
        (2, "taken"), (2, "taken"), (3, "refused"), (4, "unknown"), (5, "form"),
    ]  # fmt: skip
    terminals = a_file(Kind.TERMINALS, a_terminal_line(1), a_terminal_line(2))
    assert faults_of(send(desk, "terminals", terminals)) == [(2, "taken"), (2, "occupied"), (3, "unknown")]
    customers = a_file(Kind.CUSTOMERS, a_customer_line(1), a_customer_line(2, office_code="NOWHERE"))
    assert faults_of(send(desk, "customers", customers)) == [(2, "taken"), (3, "unknown")]
    assert counts(desk) == before


def test_a_dry_run_says_what_would_come_and_writes_nothing(desk: Desk) -> None:
    file = a_file(Kind.CUSTOMERS, a_customer_line(1), a_customer_line(2))
    checked = send(desk, "customers/check", file)
    assert (checked.status_code, checked.json()) == (200, {"kind": "customers", "rows": 2, "records": 2})
    assert set(counts(desk).values()) == {0}
    assert send(desk, "customers", file).status_code == 201
    prepared_terminal = a_file(Kind.CONTRACTS, a_contract_line(1))
    assert send(desk, "contracts", prepared_terminal).status_code == 201
    before = counts(desk)
    assert send(desk, "terminals/check", a_file(Kind.TERMINALS, a_terminal_line(1))).status_code == 200
    assert counts(desk) == before


def test_the_same_file_twice_is_refused_with_when_and_by_whom(desk: Desk) -> None:
    file = a_file(Kind.CUSTOMERS, a_customer_line())
    assert send(desk, "customers", file, file_name="customers.csv").status_code == 201
    again = send(desk, "customers", file)
    assert refusal(again) == (409, "imported-before")
    assert again.json()["imported_by"] == "administrator.one"
    (listed,) = desk.get("/imports").json()["items"]
    assert (listed["kind"], listed["file_name"], listed["rows"]) == ("customers", "customers.csv", 1)
    assert listed["imported_at"] == again.json()["imported_at"].replace("+00:00", "Z")


def test_a_retried_opening_with_its_key_gives_the_same_answer(desk: Desk) -> None:
    prepared(desk)
    file = a_file(Kind.OPENING_BALANCES, an_opening_line())
    first, second = (send(desk, "opening-balances", file, key="my-key") for _ in range(2))
    assert first.content == second.content
    assert desk.count("opening_balances") == 1


def test_only_who_sets_prices_imports_them(desk: Desk) -> None:
    assert send(desk, "customers", a_file(Kind.CUSTOMERS, a_customer_line())).status_code == 201
    priced = a_file(Kind.CONTRACTS, a_contract_line())
    answer = send(desk, "contracts", priced, role=Role.ACCOUNT_MANAGER)
    assert faults_of(answer) == [(2, "price_not_yours")]
    unpriced = a_file(Kind.CONTRACTS, a_contract_line(yuan_per_kwh="", price_from=""))
    assert send(desk, "contracts", unpriced, role=Role.ACCOUNT_MANAGER).status_code == 201


@pytest.mark.parametrize(
    ("kind", "role", "status"),
    [
        ("customers", Role.OPERATOR, 403),
        ("contracts", Role.CASHIER, 403),
        ("terminals", Role.ACCOUNT_MANAGER, 403),
        ("opening-balances", Role.OPERATOR, 403),
        ("opening-balances/check", Role.OPERATOR, 403),
        ("customers/check", Role.CASHIER, 403),
    ],
)
def test_a_role_that_may_not_is_refused(desk: Desk, kind: str, role: Role, status: int) -> None:
    word = Kind(kind.split("/", maxsplit=1)[0])
    assert send(desk, kind, a_file(word, an_opening_line()), role=role).status_code == status


def test_what_is_no_such_file_is_refused(desk: Desk) -> None:
    headers = desk.headers[Role.ADMINISTRATOR] | {"Content-Type": "application/json"}
    assert refusal(desk.http.post(f"{API}/imports/customers", content=b"{}", headers=headers)) == (
        415,
        "file-type-unknown",
    )
    assert refusal(send(desk, "customers", b"a,b")) == (409, "file-unusable")
    file = a_file(Kind.CUSTOMERS, a_customer_line())
    assert refusal(send(desk, "customers", file, zone="Nowhere/Town")) == (409, "zone-unknown")
    assert faults_of(send(desk, "terminals", file))[0] == (1, "heading_unknown")


@pytest.mark.takes(seconds=12)
@pytest.mark.no_cover
def test_a_fault_in_line_ten_thousand_leaves_nothing(desk: Desk) -> None:
    lines = [a_customer_line(number) for number in range(9999)]
    lines[-1]["industry"] = "magic"
    faults = imported(desk, Kind.CUSTOMERS, lines)
    assert isinstance(faults, LinesAtFault)
    assert [(one.line, one.code) for one in faults.faults] == [(10_000, "form")]
    assert set(counts(desk).values()) == {0}
    lines[-1]["industry"] = "冶金"
    told: list[int] = []
    done = imported(desk, Kind.CUSTOMERS, lines, progress=told.append)
    assert isinstance(done, Imported)
    assert (done.records, sum(told), desk.count("customers")) == (9999, 9999, 9999)
    assert len(told) > 20


def test_what_a_service_refuses_is_named_with_its_line(desk: Desk) -> None:
    """Somebody registers two of the customers after the lines were checked: told by the progress of the first 200."""
    taken = [250, 260]

    def meanwhile(_done: int) -> None:
        with transaction(desk.database.engine) as session:
            office_id = session.execute(text("SELECT id FROM offices WHERE code = 'PD'")).scalar_one()
            for number in taken:
                session.add(
                    Customer(
                        customer_no=f"C{number:05d}", office_id=office_id, name_zh="x", name_en="x",
                        industry="food", created_at=Clock().now(),
                    )
                )  # fmt: skip

    faults = imported(desk, Kind.CUSTOMERS, [a_customer_line(number) for number in range(300)], progress=meanwhile)
    assert isinstance(faults, LinesAtFault)
    assert [(one.line, one.code) for one in faults.faults] == [(252, "refused"), (262, "refused")]
    assert desk.count("customers") == 2


def test_the_database_names_an_opening_that_lost_its_energy(desk: Desk) -> None:
    prepared(desk)
    assert send(desk, "opening-balances", a_file(Kind.OPENING_BALANCES, an_opening_line())).status_code == 201
    engine = create_engine(desk.database.owner_url)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE opening_balances SET remaining_wh = remaining_wh + 1, kept_fen = kept_fen + 1")
        )
    engine.dispose()
    assert set(broken(desk)) == {"O1 openings", "O3 opening credits"}


def imported(desk: Desk, kind: Kind, lines: list[dict[str, Any]], **more: Any) -> Imported | LinesAtFault:
    upload = understood(kind, as_csv(rows_of(kind, lines)), file_name="lines.csv", zone="Asia/Shanghai")
    with transaction(desk.database.engine) as session:
        person = a_person(session, role=Role.ADMINISTRATOR)
    by = Importer(id=person.id, sign_in_name=person.sign_in_name, roles=frozenset(person.roles))
    try:
        return in_transaction(desk.database.engine, take_over, upload, by=by, pace=PACE, now=Clock().now(), **more)
    except LinesAtFault as faults:
        return faults


def broken(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    with transaction(desk.database.engine) as session:
        found = {invariant.name: find_broken(session, invariant) for invariant in INVARIANTS}
    return {name: rows for name, rows in found.items() if rows}


def environment(desk: Desk) -> dict[str, str]:
    return {
        "WATTGATE_DATABASE_URL": desk.database.application_url,
        "WATTGATE_TOKEN_SECRET": desk.settings.token_secret.get_secret_value(),
        "WATTGATE_SIGNING_KEY_FILE": str(desk.settings.signing_key_file),
    }


def typed(desk: Desk, *arguments: str) -> tuple[int, str]:
    """Run a command in this process; returns exit code and all that it said."""
    done = CliRunner().invoke(command_line, arguments, env=environment(desk))
    return done.exit_code, done.output


def wattgate(desk: Desk, *arguments: str) -> tuple[int, str]:
    """Run a command as a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATTGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments], env={**inherited, **environment(desk), "COLUMNS": "200"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_commands_import_whole_files(desk: Desk, tmp_path: Path) -> None:
    as_admin = ("--as", "administrator.one")
    template = tmp_path / "customers.xlsx"
    assert typed(desk, "import-template", "customers", "--to", str(template))[0] == 0
    code, said = typed(desk, "import", "customers", str(template), *as_admin, "--dry-run")
    assert (code, desk.count("customers")) == (0, 0), said
    assert "nothing was written" in said
    code, said = wattgate(desk, "import", "customers", str(template), *as_admin)
    assert (code, desk.count("customers")) == (0, 1), said
    assert "rows/s" in said
    (event,) = desk.get("/audit", action="file.imported").json()["items"]
    assert event["actor"] == "administrator.one"
    assert re.fullmatch(r"os:\S+@\S+", event["address"])
    code, said = typed(desk, "import", "customers", str(template), *as_admin)
    assert code == 2
    assert "administrator.one" in said


def test_a_faulty_file_is_shown_as_a_table(desk: Desk, tmp_path: Path) -> None:
    faulty = tmp_path / "contracts.csv"
    faulty.write_bytes(a_file(Kind.CONTRACTS, a_contract_line(customer_no="C0009", voltage_v="[red]10 kV")))
    code, said = wattgate(desk, "import", "contracts", str(faulty), "--as", "administrator.one")
    assert (code, desk.count("supply_contracts")) == (1, 0)
    assert "[red]10 kV" in said
    assert "电压" in said


def test_credentials_go_into_a_file_of_their_own(desk: Desk, tmp_path: Path) -> None:
    prepared(desk, terminals=False)
    file, secrets = tmp_path / "terminals.csv", tmp_path / "secrets.json"
    file.write_bytes(a_file(Kind.TERMINALS, a_terminal_line()))
    arguments = ("import", "terminals", str(file), "--as", "operator.one")
    assert typed(desk, *arguments)[0] == 2
    assert typed(desk, *arguments, "--credentials", str(file))[0] == 2
    assert typed(desk, *arguments, "--credentials", str(tmp_path / "no" / "x.json"))[0] == 2
    assert desk.count("terminals") == 0
    code, said = typed(desk, *arguments, "--credentials", str(secrets))
    assert code == 0, said
    (one,) = json.loads(secrets.read_text())
    assert one["terminal_id"] == "SH-PD-00001"
    assert one["credential"] not in said
    assert "BEGIN PUBLIC KEY" in one["service_public_key_pem"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("import", "tariffs", "x.csv", "--as", "a"), "opening-balances can"),
        (("import", "customers", "missing.csv", "--as", "administrator.one"), "No such file"),
        (("import-template", "customers", "--to", "x.ods"), ".xlsx"),
        (("import-template", "customers", "--to", "/no/such/x.csv"), "No such file"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(desk: Desk, arguments: tuple[str, ...], says: str) -> None:
    code, said = typed(desk, *arguments)
    assert code == 2
    assert says in said.replace("\n", " ")


def test_somebody_answers_for_an_import(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_bytes(a_file(Kind.CUSTOMERS, a_customer_line()))
    nobody = typed(desk, "import", "customers", str(file), "--as", "nobody")
    cashier = typed(desk, "import", "customers", str(file), "--as", "cashier.one")
    assert (nobody[0], cashier[0], desk.count("customers")) == (2, 2, 0)
    assert "account_manager or administrator" in cashier[1].replace("\n", " ")
