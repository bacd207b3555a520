"""A shift from the float to the seal over HTTP: blind, by two people, to the fen, whoever comes at the same time."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import PASSWORD, SIGNED_AT, a_contract, a_terminal, an_office
from people import bearer
from pypdf import PdfReader
from sqlalchemy import text

from app.audit.rules import canonical
from app.database import new_id, transaction
from app.roles import Role
from app.shift_closing.rules import seal_of
from app.shifts.models import Shift
from app.staff.service import NewStaffMember, hire
from app.verification import INVARIANTS, find_broken

CONTRACT = "HT-2026-0001"
FLOAT_FEN = 50_000


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT)
        a_terminal(session, supply_point_id=contract.supply_point_id)
    with a_desk(database) as opened:
        yield opened


@pytest.fixture
def shift_id(desk: Desk) -> str:
    """The cashier's shift with a float of 500.00, sales of 300.00 in cash and 200.00 by card."""
    (first,) = desk.get("/shifts", role=Role.CASHIER).json()["items"]
    settle(desk, first["id"], cash_fen=0)
    opened = desk.post("/shifts", {"till_no": first["till_no"], "float_fen": FLOAT_FEN}, role=Role.CASHIER)
    sell(desk, ("cash", "300.00"), ("card", "200.00"))
    return str(opened.json()["id"])


def sell(desk: Desk, *tenders: tuple[str, str]) -> httpx.Response:
    body = {
        "contract_no": CONTRACT,
        "amount_yuan": f"{sum(float(amount) for _, amount in tenders):.2f}",
        "tenders": [
            {"kind": kind, "amount_yuan": amount, "reference": "" if kind == "cash" else "4711"}
            for kind, amount in tenders
        ],
    }
    return desk.post("/purchases", body, role=Role.CASHIER)


def count(desk: Desk, shift_id: str, *, role: Role = Role.CASHIER, **found: Any) -> httpx.Response:
    return desk.post(f"/shifts/{shift_id}/count", found, role=role)


def close(desk: Desk, shift_id: str, *, reason: str | None = None) -> httpx.Response:
    seen = desk.get(f"/shifts/{shift_id}/comparison", role=Role.APPROVER).json()
    body = {"count_id": seen.get("count_id", str(new_id())), "reason": reason}
    return desk.post(f"/shifts/{shift_id}/close", body, role=Role.APPROVER)


def settle(desk: Desk, shift_id: str, *, cash_fen: int) -> dict[str, Any]:
    assert count(desk, shift_id, cash_fen=cash_fen).status_code == 200
    closed = close(desk, shift_id)
    assert closed.status_code == 200, closed.text
    whole: dict[str, Any] = closed.json()
    return whole


def account_fen(desk: Desk, kind: str) -> int:
    query = """
        SELECT coalesce(sum(entry.amount), 0) FROM ledger_entries AS entry
          JOIN ledger_accounts AS account ON account.id = entry.account_id WHERE account.kind = :kind
    """
    with desk.database.engine.connect() as connection:
        return int(connection.execute(text(query), {"kind": kind}).scalar_one())


def broken(desk: Desk) -> dict[str, Any]:
    with transaction(desk.database.engine) as session:
        return {one.name: rows for one in INVARIANTS if (rows := find_broken(session, one))}


def at_once(*works: Callable[[], Any]) -> list[Any]:
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


def a_second_person(desk: Desk, *roles: Role) -> dict[str, str]:
    with transaction(desk.database.engine) as session:
        new = NewStaffMember(
            sign_in_name=f"second.{new_id().hex[-8:]}",
            name_zh="赵敏",
            name_en="Zhao Min",
            password=PASSWORD,
            roles=list(roles),
        )
        person = hire(session, new, office=an_office(session), now=SIGNED_AT)
    return bearer(person, settings=desk.settings)


def test_a_day_at_the_till_ends_in_sealed_totals(desk: Desk, shift_id: str) -> None:
    counted = count(
        desk, shift_id, cash_fen=80_000, denominations={"10000": 7, "5000": 2}, slips_fen={"card": 20_000}
    )
    assert (counted.status_code, counted.json()["state"]) == (200, "counted")
    seen = desk.get(f"/shifts/{shift_id}/comparison", role=Role.APPROVER).json()
    cash, card = seen["compared"][0], seen["compared"][3]
    assert (cash["expected_fen"], cash["counted_fen"], cash["difference_fen"]) == (80_000, 80_000, 0)
    assert (card["tender"], card["expected_fen"], card["difference_fen"]) == ("card", 20_000, 0)
    closed = close(desk, shift_id).json()
    totals = closed["totals"]
    assert (closed["state"], totals["receipts"]["number"], totals["counts"]) == ("closed", 1, 1)
    assert totals["receipts"]["first"] == totals["receipts"]["last"] == f"{totals['till_no']}-0000001"
    assert [(each["kind"], each["tender"], each["in_fen"]) for each in totals["flows"]] == [
        ("purchase", "card", 20_000),
        ("purchase", "cash", 30_000),
    ]
    assert closed["seal"] == seal_of(canonical(totals)).hex()
    assert (account_fen(desk, "till"), account_fen(desk, "safe")) == (0, 30_000)
    assert account_fen(desk, "over_short") == 0
    assert broken(desk) == {}


def test_a_till_that_is_short_needs_a_reason_and_books_what_is_missing(desk: Desk, shift_id: str) -> None:
    count(desk, shift_id, cash_fen=79_950, slips_fen={"card": 20_000})
    assert refusal(close(desk, shift_id)) == (409, "reason-needed")
    closed = close(desk, shift_id, reason="撕毁一张 a torn note").json()
    assert closed["totals"]["compared"][0]["difference_fen"] == -50
    assert closed["reason"] == "撕毁一张 a torn note"
    assert (account_fen(desk, "over_short"), account_fen(desk, "safe")) == (50, 29_950)
    assert broken(desk) == {}


def test_a_till_that_is_over_books_what_is_too_much(desk: Desk, shift_id: str) -> None:
    count(desk, shift_id, cash_fen=80_050, slips_fen={"card": 20_000})
    assert close(desk, shift_id, reason="change not taken").status_code == 200
    assert account_fen(desk, "over_short") == -50
    assert broken(desk) == {}


def test_a_missing_slip_needs_a_reason_and_moves_no_money(desk: Desk, shift_id: str) -> None:
    count(desk, shift_id, cash_fen=80_000)
    refused = close(desk, shift_id)
    assert refusal(refused) == (409, "reason-needed")
    assert refused.json()["differences_fen"] == {"card": -20_000}
    assert close(desk, shift_id, reason="slip lost; the bank's list has it").status_code == 200
    assert account_fen(desk, "over_short") == 0
    assert broken(desk) == {}


def test_a_recount_keeps_every_count_and_the_till_stays_shut(desk: Desk, shift_id: str) -> None:
    first = count(desk, shift_id, cash_fen=70_000, slips_fen={"card": 20_000}).json()["counts"][0]
    again = desk.post(f"/shifts/{shift_id}/recount", {"reason": "请重新清点"}, role=Role.APPROVER)
    assert (again.json()["state"], again.json()["recount_reason"]) == ("recount", "请重新清点")
    assert refusal(sell(desk, ("cash", "1.00"))) == (409, "no-open-shift")
    assert refusal(close(desk, shift_id)) == (409, "not-counted")
    count(desk, shift_id, cash_fen=80_000, slips_fen={"card": 20_000})
    stale = {"count_id": first["id"], "reason": "the old one"}
    assert refusal(desk.post(f"/shifts/{shift_id}/close", stale, role=Role.APPROVER)) == (409, "counted-anew")
    closed = close(desk, shift_id).json()
    assert [each["cash_fen"] for each in closed["counts"]] == [70_000, 80_000]
    assert (closed["totals"]["counts"], closed["totals"]["reason"]) == (2, None)
    assert refusal(count(desk, shift_id, cash_fen=1)) == (409, "not-to-be-counted")
    assert broken(desk) == {}


def test_until_the_close_the_cashier_reads_no_sum_anywhere(desk: Desk, shift_id: str) -> None:
    def told() -> str:
        answers = [
            desk.get(f"/shifts/{shift_id}", role=Role.CASHIER),
            desk.get("/shifts", role=Role.CASHIER),
            desk.get("/tills", role=Role.CASHIER),
            desk.get("/purchases", role=Role.CASHIER),
            desk.get("/cheques", role=Role.CASHIER),
        ]
        assert all(answer.status_code == 200 for answer in answers)
        for path in ("comparison", "page"):
            answers.append(desk.get(f"/shifts/{shift_id}/{path}", role=Role.CASHIER))
            assert answers[-1].status_code in (403, 409)
        return " ".join(answer.text for answer in answers)

    sell(desk, ("cash", "123.45"))
    expected = ("92345", "92,345", "923.45", "42345", "423.45")  # with the float and without
    assert not any(sum_ in told() for sum_ in expected)
    unequal = count(desk, shift_id, cash_fen=7, denominations={"1": 6})
    assert refusal(unequal) == (409, "count-unequal")
    counted = count(desk, shift_id, cash_fen=77_777)
    assert not any(sum_ in told() + counted.text + unequal.text for sum_ in expected)


def test_nobody_looks_before_the_count_and_nobody_judges_their_own_shift(desk: Desk, shift_id: str) -> None:
    assert refusal(desk.get(f"/shifts/{shift_id}/comparison", role=Role.APPROVER)) == (409, "not-counted")
    both = a_second_person(desk, Role.CASHIER, Role.APPROVER)
    till = {"till_no": "BOTH-1", "office_code": "OFFICE-X", "name_zh": "台", "name_en": "till"}
    with transaction(desk.database.engine) as session:
        session.execute(text("INSERT INTO offices VALUES (gen_random_uuid(), 'OFFICE-X', '甲', 'A')"))
    desk.post("/tills", till, role=Role.ADMINISTRATOR)

    def as_both(method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        keyed = both | {"Idempotency-Key": str(new_id())}
        return desk.http.request(method, f"/api/v1{path}", json=body, headers=keyed)

    own = as_both("POST", "/shifts", {"till_no": "BOTH-1", "float_fen": 100}).json()["id"]
    count_id = as_both("POST", f"/shifts/{own}/count", {"cash_fen": 0}).json()["counts"][0]["id"]
    assert refusal(as_both("GET", f"/shifts/{own}/comparison")) == (403, "own-shift")
    assert refusal(as_both("POST", f"/shifts/{own}/close", {"count_id": count_id, "reason": "x"})) == (
        403,
        "own-shift",
    )
    assert refusal(as_both("POST", f"/shifts/{own}/recount", {"reason": "x"})) == (403, "own-shift")
    assert refusal(as_both("POST", f"/shifts/{shift_id}/count", {"cash_fen": 0})) == (403, "not-your-shift")


def test_a_cashier_sees_and_closes_no_shift_but_may_see_their_own(desk: Desk, shift_id: str) -> None:
    other = a_second_person(desk, Role.CASHIER)
    seen = desk.http.get(f"/api/v1/shifts/{shift_id}", headers=other)
    assert refusal(seen) == (404, "no-such-shift")
    assert desk.http.get("/api/v1/shifts", headers=other).json()["items"] == []
    count(desk, shift_id, cash_fen=80_000)
    body = {"count_id": str(new_id()), "reason": "x"}
    assert desk.post(f"/shifts/{shift_id}/close", body, role=Role.CASHIER).status_code == 403
    assert len(desk.get("/shifts", role=Role.AUDITOR).json()["items"]) == 2
    assert len(desk.get("/shifts", role=Role.APPROVER, state="counted").json()["items"]) == 1
    assert desk.get("/shifts", role=Role.OPERATOR).status_code == 403


def test_two_supervisors_at_once_close_a_shift_once(desk: Desk, shift_id: str) -> None:
    second = a_second_person(desk, Role.APPROVER)
    count(desk, shift_id, cash_fen=79_000, slips_fen={"card": 20_000})
    count_id = desk.get(f"/shifts/{shift_id}/comparison", role=Role.APPROVER).json()["count_id"]
    body = {"count_id": count_id, "reason": "10.00 short"}

    def as_second() -> httpx.Response:
        keyed = second | {"Idempotency-Key": str(new_id())}
        return desk.http.post(f"/api/v1/shifts/{shift_id}/close", json=body, headers=keyed)

    answers = at_once(lambda: desk.post(f"/shifts/{shift_id}/close", body, role=Role.APPROVER), as_second)
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert account_fen(desk, "over_short") == 1_000
    assert broken(desk) == {}


def test_the_same_key_closes_once_and_answers_twice(desk: Desk, shift_id: str) -> None:
    found = {"cash_fen": 80_000, "slips_fen": {"card": 20_000}}
    first = desk.post(f"/shifts/{shift_id}/count", found, role=Role.CASHIER, key="k")
    again = desk.post(f"/shifts/{shift_id}/count", found, role=Role.CASHIER, key="k")
    assert first.content == again.content
    assert desk.count("shift_counts") == 2  # one of them is the first shift's


def test_a_sale_that_races_with_the_count_is_in_the_expectation_or_refused(desk: Desk, shift_id: str) -> None:
    sales = [lambda: sell(desk, ("cash", "1.00")) for _ in range(8)]
    *sold, counted = at_once(*sales, lambda: count(desk, shift_id, cash_fen=80_000, slips_fen={"card": 20_000}))
    assert counted.status_code == 200
    taken = sum(answer.status_code == 201 for answer in sold)
    assert all(refusal(answer) == (409, "no-open-shift") for answer in sold if answer.status_code != 201)
    seen = desk.get(f"/shifts/{shift_id}/comparison", role=Role.APPROVER).json()
    assert seen["compared"][0]["expected_fen"] == 80_000 + taken * 100
    assert close(desk, shift_id, reason="raced").status_code == 200
    assert broken(desk) == {}


@pytest.mark.usefixtures("shift_id")
def test_receipt_numbers_have_no_gap_under_sixteen_sales_at_once_with_refusals_between(desk: Desk) -> None:
    def refused_late() -> httpx.Response:
        body = {
            "contract_no": CONTRACT,
            "amount_yuan": "2.00",
            "tenders": [{"kind": "cash", "amount_yuan": "1.00"}],  # refused after it has taken a number
        }
        return desk.post("/purchases", body, role=Role.CASHIER)

    works = [(lambda: sell(desk, ("cash", "1.00"))) if n % 2 else refused_late for n in range(16)]
    answers = at_once(*works)
    assert sorted(answer.status_code for answer in answers) == [201] * 8 + [409] * 8
    numbers = sorted(int(answer.json()["receipt_no"][-7:]) for answer in answers if answer.status_code == 201)
    assert numbers == list(range(2, 10))
    assert broken(desk) == {}


def test_the_totals_are_shown_to_look_at_and_printed_once_as_the_original(desk: Desk, shift_id: str) -> None:
    assert refusal(desk.post(f"/shifts/{shift_id}/prints", {}, role=Role.CASHIER)) == (409, "not-closed")
    count(desk, shift_id, cash_fen=79_950, slips_fen={"card": 20_000})
    closed = close(desk, shift_id, reason="<b>torn</b> 撕毁").json()
    page = desk.get(f"/shifts/{shift_id}/page", role=Role.AUDITOR, format="roll80")
    assert "仅供查看" in page.text
    assert "&lt;b&gt;torn&lt;/b&gt;" in page.text
    assert closed["seal"][:8] in page.text
    html = {"format": "a5", "media": "html"}
    first = desk.post(f"/shifts/{shift_id}/prints", html, role=Role.CASHIER)
    second = desk.post(f"/shifts/{shift_id}/prints", html, role=Role.APPROVER)
    assert (first.status_code, second.status_code) == (201, 201)
    assert "副本" not in first.text
    assert "副本 COPY 1" in second.text
    assert "−0.50" in second.text


def test_the_totals_as_pdf(desk: Desk, shift_id: str, tmp_path: Any) -> None:
    count(desk, shift_id, cash_fen=80_000, slips_fen={"card": 20_000})
    close(desk, shift_id)
    printed = desk.post(f"/shifts/{shift_id}/prints", {"format": "roll80"}, role=Role.APPROVER)
    path = tmp_path / "totals.pdf"
    path.write_bytes(printed.content)
    said = "".join(page.extract_text() for page in PdfReader(path).pages)
    assert "班次结算单" in said
    assert "Sealed totals of a shift" in said


def test_the_end_of_a_shift_is_on_record(desk: Desk, shift_id: str) -> None:
    count(desk, shift_id, cash_fen=80_000, slips_fen={"card": 20_000})
    desk.post(f"/shifts/{shift_id}/recount", {"reason": "once more"}, role=Role.APPROVER)
    count(desk, shift_id, cash_fen=80_000, slips_fen={"card": 20_000})
    closed = close(desk, shift_id).json()
    with transaction(desk.database.engine) as session:
        till_no = session.execute(
            text("SELECT till_no FROM tills WHERE id = (SELECT till_id FROM shifts WHERE id = :id)"),
            {"id": shift_id},
        ).scalar_one()
        assert session.get_one(Shift, closed["id"]).sealed == canonical(closed["totals"])
    events = desk.get("/audit", subject=till_no).json()["items"]
    ours = [event for event in events if event["after"].get("shift_id") == shift_id]
    assert [event["action"] for event in ours[::-1]] == [
        "shift.opened",
        "shift.counted",
        "shift.sent_back",
        "shift.counted",
        "shift.closed",
    ]
    assert ours[0]["after"]["seal"] == closed["seal"]
    assert ours[0]["before"] == {"state": "counted"}
    assert len(ours[0]["transaction_ids"]) == 1
