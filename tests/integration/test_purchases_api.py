"""Selling at the counter over HTTP: what is bought, what is refused, and that a refusal writes nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from databases import Database
from desk import API, Desk, a_desk
from factories import a_contract, a_debt, a_live_terminal, a_state, a_terminal

from app.customers.queries import contract_by_no
from app.customers.service import NewPrice, close_contract, set_price
from app.database import transaction
from app.roles import Role
from app.verification import INVARIANTS, find_broken

CONTRACT = "HT-2026-0001"
NOW = datetime.now(UTC)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id="SH-0001")
    with a_desk(database) as opened:
        yield opened


def sell(desk: Desk, amount: object, *, key: str = "k", contract_no: str = CONTRACT) -> httpx.Response:
    body = {"contract_no": contract_no, "amount_yuan": amount}
    return desk.post("/purchases", body, role=Role.CASHIER, key=key)


def owe(desk: Desk, debt_fen: int) -> None:
    with transaction(desk.database.engine) as session:
        a_debt(session, contract=contract_by_no(session, CONTRACT), debt_fen=debt_fen)


def written(desk: Desk) -> dict[str, int]:
    tables = ("purchases", "ledger_transactions", "ledger_entries", "commands", "idempotency_keys")
    return {table: desk.count(table) for table in tables}


def verified(desk: Desk) -> bool:
    with transaction(desk.database.engine) as session:
        return all(not find_broken(session, invariant) for invariant in INVARIANTS)


def test_fifty_thousand_yuan_at_0_80_are_62_500_kwh(desk: Desk) -> None:
    answer = sell(desk, "50000.00")
    sold = answer.json()
    assert answer.status_code == 201
    assert (sold["energy_wh"], sold["kept_fen"], sold["order_no"]) == (62_500_000, "0", 1)
    receipt = desk.get(f"/purchases/{sold['purchase_no']}").json()
    assert receipt["credit"]["state"] == "waiting"
    assert receipt["paid_yuan"] == "50000.00"
    assert verified(desk)


def test_old_debt_is_paid_first(desk: Desk) -> None:
    owe(desk, 120_000)
    sold = sell(desk, "50000.00").json()
    assert (sold["debt_paid_fen"], sold["energy_wh"]) == (120_000, 61_000_000)
    point = desk.get(f"/supply-points/{sold['supply_point_id']}").json()
    assert point["balances"]["receivable_fen"] == 0
    assert point["balances"]["deposit_fen"] == 4_880_000
    assert verified(desk)


def test_an_amount_that_only_pays_debt_sends_no_credit(desk: Desk) -> None:
    owe(desk, 120_000)
    sold = sell(desk, "1000").json()
    assert (sold["debt_paid_fen"], sold["energy_wh"], sold["command_id"]) == (100_000, 0, None)
    assert verified(desk)


def test_money_below_the_price_of_one_wh_is_kept_and_buys_later(desk: Desk) -> None:
    first = sell(desk, "0.01", key="1").json()
    second = sell(desk, "0.01", key="2").json()
    assert (first["energy_wh"], first["kept_fen"]) == (12, "0.04")
    assert (second["energy_wh"], second["kept_fen"]) == (13, "0")
    assert verified(desk)


def test_order_numbers_rise_and_the_newest_credit_carries_the_whole_truth(desk: Desk) -> None:
    first, second = sell(desk, "100", key="1").json(), sell(desk, "200", key="2").json()
    assert (first["order_no"], second["order_no"]) == (1, 2)
    assert second["paid_until_wh"] == 375_000
    receipt = desk.get(f"/purchases/{first['purchase_no']}").json()
    assert receipt["credit"]["state"] == "superseded"


def test_an_order_number_that_nobody_has_given_out_stops_no_sale(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        a_live_terminal(session, terminal_id="SH-0001", now=NOW, state=a_state(order_no=2**32 - 1))
    assert sell(desk, "100").json()["order_no"] == 1


def test_a_quote_says_the_same_as_the_sale_and_writes_nothing(desk: Desk) -> None:
    before = written(desk)
    body = {"contract_no": CONTRACT, "amount_yuan": "123.45"}
    quoted = desk.post("/purchases/quote", body, role=Role.CASHIER).json()
    assert written(desk) == before
    sold = sell(desk, "123.45").json()
    assert {name: sold[name] for name in quoted} == quoted


def test_the_same_key_gives_the_same_bytes_and_another_body_is_refused(desk: Desk) -> None:
    first = sell(desk, "100.00")
    again = sell(desk, "100.00")
    other = sell(desk, "100.01")
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 422
    assert written(desk)["purchases"] == 1


@pytest.mark.parametrize(
    ("amount", "status"),
    [
        ("-5", 422),
        ("1.001", 422),
        ("", 422),
        ("1e5", 422),
        ("NaN", 422),
        ("٣", 422),
        ("1000000000000000", 422),
        (100, 422),
        (12.5, 422),
        (None, 422),
        ("0", 409),
        ("0.00", 409),
        ("100000000.01", 409),
    ],
)
def test_an_amount_that_makes_no_sense_is_refused_with_nothing_written(
    desk: Desk, amount: object, status: int
) -> None:
    before = written(desk)
    answer = sell(desk, amount)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["remedy"]
    assert written(desk) == before


def test_an_unknown_contract_is_refused_with_nothing_written(desk: Desk) -> None:
    before = written(desk)
    answer = sell(desk, "100", contract_no="HT-NONE")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-such-contract")
    assert written(desk) == before


def test_a_closed_contract_is_refused_with_nothing_written(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        close_contract(session, CONTRACT, now=NOW)
    before = written(desk)
    answer = sell(desk, "100")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/contract-closed")
    assert written(desk) == before


def test_an_expired_price_is_refused_with_nothing_written(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        price = NewPrice(
            yuan_per_kwh=Decimal("0.9"),
            valid_from=NOW - timedelta(hours=2),
            valid_until=NOW - timedelta(hours=1),
        )
        set_price(session, CONTRACT, price, set_by=None, now=NOW)
    before = written(desk)
    answer = sell(desk, "100")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-price-in-force")
    assert "expired" in answer.json()["detail"]
    assert written(desk) == before


def test_a_supply_point_without_a_terminal_cannot_be_sold_to(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        a_contract(session, contract_no="HT-BARE")
    answer = sell(desk, "100", contract_no="HT-BARE")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-terminal-fitted")


def test_a_sale_without_a_key_is_refused(desk: Desk) -> None:
    body = {"contract_no": CONTRACT, "amount_yuan": "1"}
    answer = desk.http.post(f"{API}/purchases", json=body, headers=desk.headers[Role.CASHIER])
    assert answer.status_code == 400


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.CASHIER])
def test_only_a_cashier_sells(desk: Desk, role: Role) -> None:
    answer = desk.post("/purchases", {"contract_no": CONTRACT, "amount_yuan": "1"}, role=role, key="k")
    assert answer.status_code == 403
    assert written(desk)["purchases"] == 0


def test_purchases_are_listed_newest_first_in_pages(desk: Desk) -> None:
    numbers = [sell(desk, "10", key=str(each)).json()["purchase_no"] for each in range(3)]
    first = desk.get("/purchases", limit=2, contract_no=CONTRACT).json()
    second = desk.get("/purchases", limit=2, cursor=first["next_cursor"]).json()
    assert [one["purchase_no"] for one in first["items"] + second["items"]] == numbers[::-1]
    assert second["next_cursor"] is None
