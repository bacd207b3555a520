"""A cheque is no money before the bank has cleared it, and then it is a sale, once; or it comes back."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_person, a_terminal, an_open_shift
from people import bearer
from prometheus_client import REGISTRY
from sqlalchemy import create_engine, text

from app.cheques.sweep import count_waiting
from app.clock import Clock
from app.customers.service import close_contract
from app.database import new_id, transaction
from app.roles import Role
from app.verification import INVARIANTS, find_broken

CONTRACT = "HT-2026-0001"


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT)
        a_terminal(session, supply_point_id=contract.supply_point_id)
    with a_desk(database) as opened:
        yield opened


def take(desk: Desk, *, cheque_no: str = "30109810", **changes: Any) -> httpx.Response:
    body = {
        "contract_no": CONTRACT,
        "amount_yuan": "8000.00",
        "cheque_no": cheque_no,
        "bank": "中国工商银行浦东分行",
        "drawer": "东方钢铁有限公司",
        "drawn_on": Clock().now().astimezone(desk.settings.zone).date().isoformat(),
        **changes,
    }
    return desk.post("/cheques", body, role=Role.CASHIER)


def clear(desk: Desk, cheque_id: str, *, headers: dict[str, str] | None = None) -> httpx.Response:
    keyed = (headers or desk.headers[Role.CASHIER]) | {"Idempotency-Key": str(new_id())}
    return desk.http.post(f"/api/v1/cheques/{cheque_id}/clear", json={"bank_reference": "B-17"}, headers=keyed)


def give_back(desk: Desk, cheque_id: str) -> httpx.Response:
    return desk.post(f"/cheques/{cheque_id}/return", {"reason": "存款不足"}, role=Role.CASHIER)


def sums(desk: Desk) -> dict[str, int]:
    query = """
        SELECT account.kind, sum(entry.amount) AS fen FROM ledger_entries AS entry
          JOIN ledger_accounts AS account ON account.id = entry.account_id
         WHERE account.kind IN ('cheques', 'cheques_owed', 'bank', 'till') GROUP BY account.kind
    """
    with desk.database.engine.connect() as connection:
        return {row.kind: int(row.fen) for row in connection.execute(text(query)) if row.fen}


def broken(desk: Desk) -> dict[str, Any]:
    with transaction(desk.database.engine) as session:
        return {one.name: rows for one in INVARIANTS if (rows := find_broken(session, one))}


def at_once(*works: Callable[[], httpx.Response]) -> list[httpx.Response]:
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], httpx.Response]) -> httpx.Response:
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


def test_a_cheque_taken_in_buys_nothing_and_its_receipt_says_so(desk: Desk) -> None:
    taken = take(desk).json()
    assert (taken["state"], taken["amount_fen"], taken["days_in_clearing"]) == ("in_clearing", 800_000, 0)
    assert (desk.count("purchases"), desk.count("commands")) == (0, 0)
    assert sums(desk) == {"cheques": 800_000, "cheques_owed": -800_000}
    page = desk.get(f"/receipts/{taken['receipt_no']}/page").text
    assert "支票未经银行兑付前不购电" in page
    assert "no energy flows until the bank has cleared the cheque" in page
    assert broken(desk) == {}


def test_a_cleared_cheque_is_a_sale_whose_money_lies_at_the_bank(desk: Desk) -> None:
    taken = take(desk).json()
    sold = clear(desk, taken["id"])
    assert (sold.status_code, sold.json()["energy_wh"]) == (201, 10_000_000)
    assert sums(desk) == {"bank": 800_000}
    now = desk.get(f"/cheques/{taken['id']}").json()
    assert (now["state"], now["purchase_no"], now["bank_reference"]) == (
        "cleared",
        sold.json()["purchase_no"],
        "B-17",
    )
    receipt = desk.get(f"/receipts/{sold.json()['receipt_no']}").json()
    assert receipt["content"]["tenders"] == [
        {"kind": "cheque", "amount_fen": 800_000, "reference": "30109810 / B-17"}
    ]
    assert broken(desk) == {}


def test_a_returned_cheque_buys_nothing_and_may_be_presented_again(desk: Desk) -> None:
    taken = take(desk).json()
    back = give_back(desk, taken["id"]).json()
    assert (back["state"], back["return_reason"]) == ("returned", "存款不足")
    assert sums(desk) == {}
    page = desk.get(f"/receipts/{back['return_receipt_no']}/page").text
    assert "支票退票凭证" in page
    assert taken["receipt_no"] in page
    assert "存款不足" in page
    assert desk.count("purchases") == 0
    assert take(desk).status_code == 201
    assert broken(desk) == {}


def test_two_clerks_at_once_clear_a_cheque_once(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        second = a_person(session, role=Role.CASHIER)
        an_open_shift(session, cashier=second)
    other = bearer(second, settings=desk.settings)
    cheque_id = take(desk).json()["id"]
    answers = at_once(*[lambda h=h: clear(desk, cheque_id, headers=h) for h in (None, other, None, other)])
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert desk.count("purchases") == 1
    assert sums(desk) == {"bank": 800_000}
    assert broken(desk) == {}


def test_a_cheque_that_clears_and_comes_back_at_once_does_one_of_both(desk: Desk) -> None:
    cheque_id = take(desk).json()["id"]
    answers = at_once(lambda: clear(desk, cheque_id), lambda: give_back(desk, cheque_id))
    refused = [answer for answer in answers if answer.status_code == 409]
    assert len(refused) == 1
    assert refusal(refused[0]) == (409, "cheque-ended")
    assert desk.get(f"/cheques/{cheque_id}").json()["state"] in ("cleared", "returned")
    assert broken(desk) == {}


def test_what_has_ended_stays_ended(desk: Desk) -> None:
    cheque_id = take(desk).json()["id"]
    give_back(desk, cheque_id)
    assert refusal(clear(desk, cheque_id)) == (409, "cheque-ended")
    assert refusal(give_back(desk, cheque_id)) == (409, "cheque-ended")
    assert refusal(clear(desk, str(new_id()))) == (404, "no-such-cheque")


def test_what_cannot_be_taken_writes_nothing(desk: Desk) -> None:
    take(desk)
    before = desk.count("receipts")
    today = Clock().now().astimezone(desk.settings.zone).date()
    assert refusal(take(desk)) == (409, "cheque-taken-before")
    assert refusal(take(desk, cheque_no="1", amount_yuan="0")) == (409, "amount-not-sellable")
    ahead = (today + timedelta(days=1)).isoformat()
    assert refusal(take(desk, cheque_no="1", drawn_on=ahead)) == (409, "cheque-unusable")
    assert refusal(take(desk, cheque_no="1", contract_no="HT-NONE")) == (404, "no-such-contract")
    with transaction(desk.database.engine) as session:
        close_contract(session, CONTRACT, now=Clock().now())
    assert refusal(take(desk, cheque_no="1")) == (409, "contract-closed")
    assert desk.count("receipts") == before
    assert broken(desk) == {}


def test_a_cheque_that_cannot_be_sold_for_now_stays_in_clearing(desk: Desk) -> None:
    cheque_id = take(desk).json()["id"]
    with transaction(desk.database.engine) as session:
        close_contract(session, CONTRACT, now=Clock().now())
    assert refusal(clear(desk, cheque_id)) == (409, "contract-closed")
    assert desk.get(f"/cheques/{cheque_id}").json()["state"] == "in_clearing"
    assert give_back(desk, cheque_id).status_code == 200
    assert broken(desk) == {}


def test_a_cheque_is_no_tender_at_the_counter(desk: Desk) -> None:
    tenders = [{"kind": "cheque", "amount_yuan": "100.00", "reference": "30109810"}]
    body = {"contract_no": CONTRACT, "amount_yuan": "100.00", "tenders": tenders}
    assert refusal(desk.post("/purchases", body, role=Role.CASHIER)) == (409, "tender-unusable")
    forged = {**body, "cheque_cleared": True}
    assert desk.post("/purchases", forged, role=Role.CASHIER).status_code == 422


def test_cheques_are_listed_with_how_long_they_have_waited_and_counted_when_overdue(desk: Desk) -> None:
    ids = [take(desk, cheque_no=str(number)).json()["id"] for number in range(3)]
    clear(desk, ids[0])
    owner = create_engine(desk.database.superuser_url)
    with owner.begin() as connection:
        aged = "UPDATE cheques SET taken_at = taken_at - interval '12 days' WHERE id = :id"
        connection.execute(text(aged), {"id": ids[1]})
    owner.dispose()
    waiting = desk.get("/cheques", role=Role.CASHIER, state="in_clearing").json()["items"]
    assert [(one["id"], one["days_in_clearing"]) for one in waiting] == [(ids[1], 12), (ids[2], 0)]
    assert len(desk.get("/cheques", contract_no=CONTRACT, limit=2).json()["items"]) == 2
    count_waiting(desk.database.engine, clock=Clock(), overdue_days=desk.settings.cheque_overdue_days)
    assert REGISTRY.get_sample_value("wattgate_cheques_in_clearing") == 2
    assert REGISTRY.get_sample_value("wattgate_cheques_overdue") == 1


def test_a_shift_counts_the_cheques_that_it_took_in(desk: Desk) -> None:
    first, second = (take(desk, cheque_no=number).json()["id"] for number in ("1", "2"))
    clear(desk, first)
    give_back(desk, second)
    (shift,) = desk.get("/shifts", role=Role.CASHIER).json()["items"]
    found = {"cash_fen": 0, "slips_fen": {"cheque": 1_600_000}}
    assert desk.post(f"/shifts/{shift['id']}/count", found, role=Role.CASHIER).status_code == 200
    seen = desk.get(f"/shifts/{shift['id']}/comparison").json()
    assert [each["difference_fen"] for each in seen["compared"]] == [0] * 5
    body = {"count_id": seen["count_id"]}
    closed = desk.post(f"/shifts/{shift['id']}/close", body, role=Role.APPROVER).json()
    assert [(flow["kind"], flow["in_fen"], flow["out_fen"]) for flow in closed["totals"]["flows"]] == [
        ("cheque", 1_600_000, 0),
        ("cheque_returned", 0, 800_000),
        ("purchase", 800_000, 0),
    ]
    assert broken(desk) == {}
