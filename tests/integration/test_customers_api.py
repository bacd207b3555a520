"""Customers, contracts and purchase prices over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_customer, an_office
from sqlalchemy import text

from app.database import transaction
from app.roles import Role

CUSTOMER: dict[str, Any] = {
    "customer_no": "C0001",
    "office_code": "SH-PD",
    "name_zh": "东方钢铁有限公司",
    "name_en": "Oriental Steel Co., Ltd.",
    "industry": "metallurgy",
    "contacts": [{"name": "王强", "duty": "电气主管", "phone": "+86 138 0000 0001", "language": "zh"}],
}
CONTRACT: dict[str, Any] = {
    "contract_no": "HT-2026-0001",
    "customer_no": "C0001",
    "supply_point": {
        "point_no": "SP0001",
        "name_zh": "一号变电所",
        "name_en": "Substation 1",
        "address": "上海市浦东新区钢铁路 1 号",
        "feeder": "10kV-F17",
        "voltage_v": 10_000,
    },
    "capacity_kva": 1000,
    "limit_w": 300_000,
    "control_mode": "remote",
    "notice": {"supply_hours": 120},
    "warning": {"energy_wh": 30_000_000},
    "limited": {"energy_wh": 10_000_000},
    "opening_supplied_wh": 7_000,
}
PRICES = "/contracts/HT-2026-0001/prices"
PRICE = {"yuan_per_kwh": "0.81300000", "valid_from": "2026-03-01T08:00:00+08:00"}


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        an_office(session, code="SH-PD")
    with a_desk(database) as opened:
        yield opened


@pytest.fixture
def contract(desk: Desk) -> dict[str, Any]:
    assert desk.post("/customers", CUSTOMER, role=Role.ACCOUNT_MANAGER).status_code == 201
    answer = desk.post("/contracts", CONTRACT, role=Role.ACCOUNT_MANAGER)
    assert answer.status_code == 201
    signed: dict[str, Any] = answer.json()
    return signed


def test_a_customer_is_registered_and_read_back_whole(desk: Desk, contract: dict[str, Any]) -> None:
    shown = desk.get("/customers/C0001", role=Role.CASHIER).json()
    assert shown["name_zh"] == CUSTOMER["name_zh"]
    assert shown["contacts"] == [CUSTOMER["contacts"][0] | {"email": None}]
    assert [point["point_no"] for point in shown["supply_points"]] == ["SP0001"]
    assert shown["open_contracts"] == [contract]


def test_a_second_customer_with_the_number_is_refused(desk: Desk) -> None:
    assert desk.post("/customers", CUSTOMER, role=Role.ACCOUNT_MANAGER).status_code == 201
    again = desk.post("/customers", CUSTOMER | {"name_en": "Other"}, role=Role.ACCOUNT_MANAGER)
    assert refusal(again) == (409, "number-taken")
    assert (desk.count("customers"), desk.count("contacts")) == (1, 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"office_code": "XX"}, (404, "office-unknown")),
        ({"industry": "piracy"}, (422, "unreadable")),
        ({"customer_no": "C/1"}, (422, "unreadable")),
        ({"name_zh": "a\0b"}, (422, "unreadable")),
        ({"colour": "red"}, (422, "unreadable")),
        ({"contacts": [{"name": "王强", "duty": "电气主管", "phone": "call me"}]}, (422, "unreadable")),
    ],
)
def test_a_customer_that_cannot_be_is_refused(desk: Desk, change: dict[str, Any], expected: tuple[int, str]) -> None:
    assert refusal(desk.post("/customers", CUSTOMER | change, role=Role.ACCOUNT_MANAGER)) == expected
    assert desk.count("customers") == 0


@pytest.mark.parametrize(
    ("sought", "found"),
    [("steel", ["C1"]), ("纺织", ["C2"]), ("c2", ["C2"]), ("555 01", ["C2"]), ("%", []), (None, ["C1", "C2"])],
)
def test_customers_are_found_by_number_name_and_telephone(desk: Desk, sought: str | None, found: list[str]) -> None:
    with transaction(desk.database.engine) as session:
        a_customer(session, customer_no="C1")
        a_customer(session, customer_no="C2", name_zh="江南纺织", name_en="Jiangnan Textile", phone="+86 555 0123")
    params = {} if sought is None else {"q": sought}
    answer = desk.get("/customers", **params).json()
    assert [customer["customer_no"] for customer in answer["items"]] == found


def test_customers_and_contracts_come_in_pages(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        for number in range(3):
            customer = a_customer(session, customer_no=f"C{number}")
            a_contract(session, customer=customer, contract_no=f"HT-{number}")
    for path, name in (("/customers", "customer_no"), ("/contracts", "contract_no")):
        first = desk.get(path, limit=2).json()
        second = desk.get(path, limit=2, cursor=first["next_cursor"]).json()
        numbers = [item[name] for item in first["items"] + second["items"]]
        assert (len(first["items"]), len(numbers), numbers) == (2, 3, sorted(numbers))
        assert second["next_cursor"] is None


def test_signing_opens_accounts_allowance_and_control(desk: Desk, contract: dict[str, Any]) -> None:
    assert (contract["notice"], contract["warning"]["energy_wh"]) == (
        {"energy_wh": None, "supply_hours": 120},
        30_000_000,
    )
    with desk.database.engine.connect() as connection:
        opened = connection.execute(text("SELECT opening_supplied_wh, paid_until_wh FROM allowances")).one()
        stage = connection.scalar(text("SELECT stage FROM control_states"))
        kept = connection.scalars(
            text("SELECT kind FROM ledger_accounts WHERE supply_point_id IS NOT NULL ORDER BY kind")
        ).all()
    assert tuple(opened) == (7_000, 7_000)
    assert (stage, kept) == ("normal", ["allowance", "deposit", "emergency", "receivable"])
    assert desk.get("/contracts/HT-2026-0001").json() == contract


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"customer_no": "C9"}, (404, "no-such-customer")),
        ({}, (409, "number-taken")),
        ({"supply_point": CONTRACT["supply_point"] | {"point_no": "SP0002"}}, (409, "number-taken")),
        ({"limit_w": 1_000_001}, (409, "limit-above-capacity")),
        ({"notice": {}}, (422, "unreadable")),
        ({"notice": {"energy_wh": 1, "supply_hours": 1}}, (422, "unreadable")),
        ({"capacity_kva": 0}, (422, "unreadable")),
        ({"trip_wh": -1}, (422, "unreadable")),
    ],
)
@pytest.mark.usefixtures("contract")
def test_a_contract_that_cannot_be_is_refused_whole(
    desk: Desk, change: dict[str, Any], expected: tuple[int, str]
) -> None:
    before = [desk.count(table) for table in ("supply_points", "supply_contracts", "ledger_accounts")]
    assert refusal(desk.post("/contracts", CONTRACT | change, role=Role.ACCOUNT_MANAGER)) == expected
    assert [desk.count(table) for table in ("supply_points", "supply_contracts", "ledger_accounts")] == before


@pytest.mark.usefixtures("contract")
def test_a_contract_is_closed_once_and_then_left_out_of_the_open_ones(desk: Desk) -> None:
    assert [row["contract_no"] for row in desk.get("/contracts", open_only=True).json()["items"]] == ["HT-2026-0001"]
    closed = desk.post("/contracts/HT-2026-0001/close", {}, role=Role.ACCOUNT_MANAGER)
    assert (closed.status_code, closed.json()["closed_at"] is not None) == (200, True)
    again = desk.post("/contracts/HT-2026-0001/close", {}, role=Role.ACCOUNT_MANAGER)
    assert refusal(again) == (409, "contract-closed")
    assert desk.get("/contracts", open_only=True, customer_no="C0001").json()["items"] == []
    assert len(desk.get("/contracts", customer_no="C0001").json()["items"]) == 1
    assert desk.get("/customers/C0001").json()["open_contracts"] == []
    assert refusal(desk.post(PRICES, PRICE, role=Role.TARIFF_KEEPER)) == (409, "contract-closed")


@pytest.mark.usefixtures("contract")
def test_a_price_keeps_its_decimals_and_its_moment(desk: Desk) -> None:
    set_one = desk.post(PRICES, PRICE, role=Role.TARIFF_KEEPER)
    assert set_one.status_code == 201
    assert (set_one.json()["yuan_per_kwh"], set_one.json()["valid_from"]) == ("0.813", "2026-03-01T00:00:00Z")
    later = {
        "yuan_per_kwh": "0.81300001",
        "valid_from": "2026-04-01T00:00:00Z",
        "valid_until": "2026-05-01T00:00:00Z",
    }
    assert desk.post(PRICES, later, role=Role.TARIFF_KEEPER).status_code == 201
    prices = desk.get(PRICES).json()["items"]
    assert [price["yuan_per_kwh"] for price in prices] == ["0.81300001", "0.813"]
    with desk.database.engine.connect() as connection:
        assert str(connection.scalar(text("SELECT min(yuan_per_kwh) FROM purchase_prices"))) == "0.81300000"
    again = desk.post(PRICES, PRICE | {"yuan_per_kwh": "0.9"}, role=Role.TARIFF_KEEPER)
    assert refusal(again) == (409, "price-overlaps")
    assert desk.count("purchase_prices") == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"yuan_per_kwh": "0.123456789"}, (422, "unreadable")),
        ({"yuan_per_kwh": 0.8}, (422, "unreadable")),
        ({"yuan_per_kwh": "0"}, (422, "unreadable")),
        ({"yuan_per_kwh": "-1"}, (422, "unreadable")),
        ({"yuan_per_kwh": "NaN"}, (422, "unreadable")),
        ({"valid_from": "2026-03-01T00:00:00"}, (422, "unreadable")),
        ({"valid_until": "9999-12-31T23:59:59-12:00"}, (422, "unreadable")),
        ({"valid_until": "2026-03-01T00:00:00Z"}, (409, "price-ends-before-it-begins")),
    ],
)
@pytest.mark.usefixtures("contract")
def test_a_price_that_cannot_be_is_refused(desk: Desk, change: dict[str, Any], expected: tuple[int, str]) -> None:
    assert refusal(desk.post(PRICES, PRICE | change, role=Role.TARIFF_KEEPER)) == expected
    assert desk.count("purchase_prices") == 0


@pytest.mark.parametrize("path", ["/customers/C9", "/contracts/HT-9", "/contracts/HT-9/prices"])
def test_what_is_not_there_is_told_as_such(desk: Desk, path: str) -> None:
    assert refusal(desk.get(path)) in {(404, "no-such-customer"), (404, "no-such-contract")}


def test_the_wrong_role_writes_nothing(desk: Desk) -> None:
    attempts: list[tuple[str, dict[str, Any], Role]] = [
        ("/customers", CUSTOMER, Role.CASHIER),
        ("/contracts", CONTRACT, Role.OPERATOR),
        ("/contracts/HT-2026-0001/close", {}, Role.CASHIER),
        (PRICES, PRICE, Role.ACCOUNT_MANAGER),
    ]
    for path, body, role in attempts:
        assert refusal(desk.post(path, body, role=role)) == (403, "not-allowed")
    assert desk.http.get("/api/v1/customers").status_code == 401
    assert (desk.count("customers"), desk.count("supply_contracts")) == (0, 0)
