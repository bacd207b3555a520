"""Taking a purchase back: energy first, then the proof, then the money; nothing is lost on either side."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_debt, a_live_terminal, a_person, a_state, a_terminal
from people import bearer
from sqlalchemy import text

from app.customers.queries import contract_by_no
from app.customers.rules import ControlMode
from app.database import transaction
from app.load_control.queries import pictures
from app.load_control.service import reassess
from app.roles import Role
from app.verification import INVARIANTS, find_broken

NOW = datetime.now(UTC)
CONTRACT = "HT-1"
TERMINAL = "SH-0001"


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, price="0.8130", emergency_limit_wh=5_000_000)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    with a_desk(database) as opened:
        yield opened
        assert broken(database) == []


def broken(database: Database) -> list[Any]:
    with transaction(database.engine) as session:
        return [(one.name, row) for one in INVARIANTS for row in find_broken(session, one)]


def sell(desk: Desk, amount_yuan: str, **more: Any) -> dict[str, Any]:
    body = {"contract_no": CONTRACT, "amount_yuan": amount_yuan, **more}
    answer = desk.post("/purchases", body, role=Role.CASHIER)
    assert answer.status_code == 201, answer.text
    sold: dict[str, Any] = answer.json()
    return sold


def terminal_tells(desk: Desk, *, order_no: int, paid_until_wh: int, supplied_wh: int = 0) -> None:
    with transaction(desk.database.engine) as session:
        a_live_terminal(
            session,
            terminal_id=TERMINAL,
            now=datetime.now(UTC),
            state=a_state(order_no=order_no, paid_until_wh=paid_until_wh),
            supplied_wh=supplied_wh,
        )


def ask(desk: Desk, purchase_no: str, *, kind: str = "refund", **more: Any) -> Any:
    body = {"purchase_no": purchase_no, "kind": kind, "reason": "a mistake", **more}
    return desk.post("/refunds", body, role=Role.CASHIER)


def pay(desk: Desk, refund_id: str, **more: Any) -> Any:
    return desk.post(f"/refunds/{refund_id}/pay-out", more, role=Role.CASHIER)


def point(desk: Desk) -> dict[str, Any]:
    (listed,) = desk.get("/supply-points").json()["items"]
    shown: dict[str, Any] = desk.get(f"/supply-points/{listed['id']}").json()
    return shown


def test_a_mistaken_purchase_is_undone_with_its_debt_and_its_tenders(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        a_debt(session, contract=contract_by_no(session, CONTRACT), debt_fen=120_000)
    sell(desk, "100000.00")
    before = point(desk)
    tenders = [
        {"kind": "cash", "amount_yuan": "30000.00"},
        {"kind": "card", "amount_yuan": "20000.00", "reference": "4711"},
    ]
    sold = sell(desk, "50000.00", tenders=tenders)
    terminal_tells(desk, order_no=2, paid_until_wh=sold["paid_until_wh"])
    refund = ask(desk, sold["purchase_no"], kind="reversal").json()
    assert (refund["state"], refund["money_fen"], refund["taken_back"]) == ("taking_back", 5_000_000, False)
    assert refund["paid_until_wh"] == before["paid_until_wh"]
    assert refusal(pay(desk, refund["id"])) == (409, "not-taken-back-yet")
    terminal_tells(desk, order_no=refund["order_no"], paid_until_wh=refund["paid_until_wh"])
    paid = pay(desk, refund["id"]).json()
    assert (paid["state"], paid["taken_back"], paid["receipt_no"] is not None) == ("paid_out", True, True)
    after = point(desk)
    assert after["balances"] == before["balances"]
    with desk.database.engine.connect() as connection:
        out = connection.execute(
            text("SELECT kind, amount_fen FROM tenders WHERE amount_fen < 0 ORDER BY amount_fen")
        ).all()
    assert [tuple(row) for row in out] == [("cash", -3_000_000), ("card", -2_000_000)]


def test_a_debt_that_was_paid_is_owed_again(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        a_debt(session, contract=contract_by_no(session, CONTRACT), debt_fen=120_000)
    sold = sell(desk, "1000.00")
    terminal_tells(desk, order_no=0, paid_until_wh=0)
    refund = ask(desk, sold["purchase_no"], kind="reversal").json()
    assert (refund["energy_wh"], refund["taken_back"]) == (0, True)
    pay(desk, refund["id"])
    assert point(desk)["balances"]["receivable_fen"] == 120_000


def test_unused_energy_is_refunded_in_part_at_its_own_price(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000, supplied_wh=12_000_000)
    body = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 1_000_000, "reason": "winter"}
    quoted = desk.post("/refunds/quote", body, role=Role.CASHIER).json()
    assert (quoted["unused_wh"], quoted["money_yuan"]) == (8_000_000, "813.00")
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    assert (refund["energy_wh"], refund["money_fen"], refund["paid_until_wh"]) == (1_000_000, 81_300, 19_000_000)
    terminal_tells(desk, order_no=refund["order_no"], paid_until_wh=19_000_000, supplied_wh=12_100_000)
    assert pay(desk, refund["id"], kind="transfer", reference="T-9").json()["state"] == "paid_out"


def test_more_than_is_unused_is_refused_with_what_could_be_taken(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000, supplied_wh=12_000_000)
    refused = ask(desk, sold["purchase_no"], energy_wh=9_000_000)
    assert refusal(refused) == (409, "refund-refused")
    assert refused.json()["because"] == "too_little_left"
    assert 7_000_000 < refused.json()["most_wh"] < 8_000_000
    assert refusal(ask(desk, sold["purchase_no"], kind="reversal")) == (409, "refund-refused")
    assert desk.get("/refunds").json()["items"] == []


def test_a_terminal_that_is_silent_cannot_be_asked(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    refused = ask(desk, sold["purchase_no"], energy_wh=1_000_000)
    assert refused.json()["because"] == "report_stale"


def test_a_terminal_in_local_mode_keeps_what_keeps_it_from_its_alarm(database: Database) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, price="0.8130", control_mode=ControlMode.LOCAL)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    with a_desk(database) as desk:
        sold = sell(desk, "32520.00")
        terminal_tells(desk, order_no=1, paid_until_wh=40_000_000)
        refused = ask(desk, sold["purchase_no"], kind="reversal").json()
        assert refused["because"] == "would_cut"
        assert refused["most_wh"] < 10_000_000


def test_an_approver_releases_what_the_terminal_cannot_show_and_nobody_their_own(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    reason = {"reason": "the terminal burnt; meter read on site"}
    released = desk.post(f"/refunds/{refund['id']}/release", reason, role=Role.APPROVER).json()
    assert released["released_because"] == reason["reason"]
    with transaction(desk.database.engine) as session:
        session.execute(text("UPDATE refunds SET released_by = NULL, asked_by = (SELECT id FROM staff_members "
                             "WHERE sign_in_name = 'approver.one')"))  # fmt: skip
    own = desk.post(f"/refunds/{refund['id']}/release", reason, role=Role.APPROVER)
    assert refusal(own) == (403, "own-refund")
    assert refusal(pay(desk, refund["id"])) == (409, "not-taken-back-yet")


def test_a_refund_is_released_once_and_who_did_it_stays(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    path = f"/refunds/{refund['id']}/release"
    first = desk.post(path, {"reason": "burnt down"}, role=Role.APPROVER).json()
    with transaction(desk.database.engine) as session:
        second = bearer(a_person(session, role=Role.APPROVER), settings=desk.settings)
    refused = desk.http.post(f"/api/v1{path}", json={"reason": "so that I may pay"}, headers=second)
    assert refusal(refused) == (409, "refund-released-before")
    assert refused.json()["detail"] == "approver.one has released it: burnt down"
    shown = desk.get(f"/refunds/{refund['id']}").json()
    assert (shown["released_by"], shown["released_because"]) == (first["released_by"], "burnt down")


def test_released_money_is_paid_although_the_terminal_is_silent(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    desk.post(f"/refunds/{refund['id']}/release", {"reason": "burnt down"}, role=Role.APPROVER)
    assert pay(desk, refund["id"]).json()["state"] == "paid_out"


def test_withdrawn_money_buys_its_energy_again(desk: Desk) -> None:
    sold = sell(desk, "16260.37")
    terminal_tells(desk, order_no=1, paid_until_wh=sold["paid_until_wh"])
    refund = ask(desk, sold["purchase_no"], energy_wh=1_234_567).json()
    sell(desk, "0.13")
    again = desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER).json()
    # Three Wh less: the fraction of a fen that the refund had kept has bought with the 0.13 yuan meanwhile.
    assert (again["state"], again["regranted_wh"]) == ("withdrawn", 1_234_564)
    assert refusal(pay(desk, refund["id"])) == (409, "refund-over")
    assert ask(desk, sold["purchase_no"], energy_wh=1_000).status_code == 201


def test_a_withdrawal_stands_in_the_books_under_who_has_withdrawn_it(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    assert desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.ACCOUNT_MANAGER).status_code == 200
    with desk.database.engine.connect() as connection:
        asked, again = connection.execute(
            text("""
                SELECT command.reason, ordered.sign_in_name AS ordered_by, posted.sign_in_name AS posted_by
                  FROM refunds AS refund
                  JOIN commands AS command
                    ON (command.args->>'order_no')::bigint IN (refund.order_no, refund.regrant_order_no)
                  JOIN staff_members AS ordered ON ordered.id = command.requested_by
                  JOIN ledger_transactions AS transaction
                    ON transaction.id = CASE (command.args->>'order_no')::bigint WHEN refund.order_no
                       THEN refund.energy_transaction_id ELSE refund.regrant_transaction_id END
                  JOIN staff_members AS posted ON posted.id = transaction.actor_id
                 ORDER BY command.version
            """)
        ).all()
    assert tuple(asked) == ("refund of 1,000 kWh", "cashier.one", "cashier.one")
    manager = "account_manager.one"
    assert tuple(again) == ("the refund was withdrawn: 1,000 kWh again", manager, manager)


def test_one_refund_is_paid_once_and_the_same_key_gives_the_same_bytes(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    terminal_tells(desk, order_no=refund["order_no"], paid_until_wh=19_000_000)
    path = f"/refunds/{refund['id']}/pay-out"
    first, second = (desk.post(path, {}, role=Role.CASHIER, key="k") for _ in range(2))
    assert first.content == second.content
    assert refusal(desk.post(path, {}, role=Role.CASHIER)) == (409, "refund-over")
    assert refusal(ask(desk, sold["purchase_no"], energy_wh=1)) == (409, "refund-refused")


def test_a_purchase_while_energy_is_taken_back_says_the_whole_truth_as_a_refresh(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    ask(desk, sold["purchase_no"], energy_wh=10_000_000)
    later = sell(desk, "813.00")
    assert later["paid_until_wh"] == 11_000_000
    with desk.database.engine.connect() as connection:
        args = connection.scalar(text("SELECT args FROM commands WHERE op = 'credit' ORDER BY version DESC LIMIT 1"))
    assert (args["mode"], args["paid_until_wh"]) == ("refresh", 11_000_000)


def test_emergency_credit_is_lent_within_its_limit_and_given_back_by_the_next_purchase(desk: Desk) -> None:
    sell(desk, "813.00")
    terminal_tells(desk, order_no=1, paid_until_wh=1_000_000, supplied_wh=900_000)
    (listed,) = desk.get("/supply-points").json()["items"]
    path = f"/supply-points/{listed['id']}/emergency-credits"
    body = {"energy_wh": 5_000_000, "asked_by": "王强", "reason": "the bank is closed"}
    lent = desk.post(path, body, role=Role.OPERATOR)
    assert (lent.status_code, lent.json()["paid_until_wh"]) == (201, 6_000_000)
    more = desk.post(path, {**body, "energy_wh": 1}, role=Role.OPERATOR)
    assert (refusal(more), more.json()["because"]) == ((409, "emergency-credit-refused"), "above_the_limit")
    assert desk.get(path).json()["items"] == [lent.json()]
    first = sell(desk, "813.00")
    assert (first["energy_wh"], first["emergency_repaid_wh"], first["command_id"]) == (1_000_000, 1_000_000, None)
    second = sell(desk, "8130.00")
    assert (second["emergency_repaid_wh"], second["paid_until_wh"]) == (4_000_000, 12_000_000)
    assert point(desk)["balances"].get("emergency_wh", 0) == 0


def test_a_purchase_that_gave_back_what_was_lent_can_be_undone(desk: Desk) -> None:
    sell(desk, "813.00")
    terminal_tells(desk, order_no=1, paid_until_wh=1_000_000, supplied_wh=900_000)
    (listed,) = desk.get("/supply-points").json()["items"]
    body = {"energy_wh": 2_000_000, "asked_by": "王强", "reason": "the bank is closed"}
    lent = desk.post(f"/supply-points/{listed['id']}/emergency-credits", body, role=Role.OPERATOR).json()
    sold = sell(desk, "8130.00")
    terminal_tells(desk, order_no=3, paid_until_wh=sold["paid_until_wh"], supplied_wh=1_000_000)
    refund = ask(desk, sold["purchase_no"], kind="reversal").json()
    assert (refund["energy_wh"], refund["paid_until_wh"]) == (8_000_000, lent["paid_until_wh"])
    assert broken(desk.database) == []
    again = desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER).json()
    assert (again["state"], again["regranted_wh"]) == ("withdrawn", 10_000_000)


def test_an_overdraft_lets_supply_go_on_below_the_trip_threshold(database: Database) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, overdraft_wh=3_000_000)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    with a_desk(database) as desk:
        sell(desk, "800.00")
        with desk.database.engine.connect() as connection:
            args = connection.scalar(text("SELECT args FROM commands WHERE op = 'credit'"))
    assert args["trip_wh"] == -3_000_000


def test_a_share_of_each_purchase_pays_old_debt_where_that_was_agreed(database: Database) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, debt_share_percent=30)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
        a_debt(session, contract=contract, debt_fen=10_000_000)
    with a_desk(database) as desk:
        sold = sell(desk, "50000.00")
        assert (sold["debt_paid_fen"], Decimal(sold["energy_kwh"])) == (1_500_000, Decimal(43_750))
    assert broken(database) == []


def test_a_refund_that_the_terminal_refused_is_sent_again_as_a_refresh(desk: Desk) -> None:
    sold = sell(desk, "162600.00")
    terminal_tells(desk, order_no=1, paid_until_wh=200_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    with transaction(desk.database.engine) as session:
        session.execute(
            text("UPDATE commands SET state = 'refused', ended_at = :at WHERE id = :id"),
            {"at": datetime.now(UTC) - timedelta(minutes=5), "id": refund["command_id"]},
        )
    with transaction(desk.database.engine) as session:
        point_id = contract_by_no(session, CONTRACT).supply_point_id
        reassess(session, [point_id], trigger="test", pace=desk.pace, now=datetime.now(UTC))
        latest = session.execute(text("SELECT args, state FROM commands ORDER BY version DESC LIMIT 1")).one()
    assert (latest.state, latest.args["mode"], latest.args["paid_until_wh"]) == ("waiting", "refresh", 199_000_000)
    assert latest.args["order_no"] > refund["order_no"]


def lend(desk: Desk, energy_wh: int) -> Any:
    (listed,) = desk.get("/supply-points").json()["items"]
    body = {"energy_wh": energy_wh, "asked_by": "王强", "reason": "the bank is closed"}
    return desk.post(f"/supply-points/{listed['id']}/emergency-credits", body, role=Role.OPERATOR)


def test_a_purchase_too_small_for_a_watt_hour_is_undone(database: Database) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, price="1234.5")
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    with a_desk(database) as desk:
        sold = sell(desk, "0.45")
        assert (sold["energy_wh"], sold["kept_fen"]) == (0, "45")
        terminal_tells(desk, order_no=0, paid_until_wh=0)
        refund = ask(desk, sold["purchase_no"], kind="reversal").json()
        pay(desk, refund["id"])
        assert sell(desk, "0.50")["kept_fen"] == "50"
        assert broken(database) == []


def test_a_withdrawn_reversal_gives_back_only_what_is_still_lent(desk: Desk) -> None:
    sell(desk, "813.00")
    terminal_tells(desk, order_no=1, paid_until_wh=1_000_000, supplied_wh=900_000)
    lend(desk, 500_000)
    mistaken = sell(desk, "1626.00")
    assert mistaken["emergency_repaid_wh"] == 500_000
    terminal_tells(desk, order_no=3, paid_until_wh=3_000_000, supplied_wh=900_000)
    refund = ask(desk, mistaken["purchase_no"], kind="reversal").json()
    # Meanwhile another purchase gives back what the reversal has lent again.
    assert sell(desk, "813.00")["emergency_repaid_wh"] == 500_000
    withdrawn = desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER)
    assert (withdrawn.status_code, withdrawn.json()["state"]) == (200, "withdrawn")
    assert point(desk)["paid_until_wh"] == 1_000_000 + 500_000 + 500_000 + 2_000_000


def test_cash_that_the_shift_does_not_hold_is_not_paid_out(desk: Desk) -> None:
    by_card = [{"kind": "card", "amount_yuan": "81300.00", "reference": "4711"}]
    sold = sell(desk, "81300.00", tenders=by_card)
    terminal_tells(desk, order_no=sold["order_no"], paid_until_wh=sold["paid_until_wh"])
    asked = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    terminal_tells(desk, order_no=asked["order_no"], paid_until_wh=asked["paid_until_wh"])
    assert refusal(pay(desk, asked["id"])) == (409, "till-lacks-cash")
    sell(desk, "812.99")
    assert refusal(pay(desk, asked["id"])) == (409, "till-lacks-cash")
    sell(desk, "0.01")
    paid = pay(desk, asked["id"])
    assert paid.status_code == 200, paid.text
    assert paid.json()["state"] == "paid_out"


def test_a_reversal_that_the_till_cannot_pay_names_what_can_be_done(desk: Desk) -> None:
    by_card = [{"kind": "card", "amount_yuan": "81300.00", "reference": "4711"}]
    earlier = sell(desk, "81300.00", tenders=by_card)
    terminal_tells(desk, order_no=1, paid_until_wh=earlier["paid_until_wh"])
    refund = ask(desk, earlier["purchase_no"], energy_wh=1_000_000).json()
    mistaken = sell(desk, "813.00")
    terminal_tells(desk, order_no=mistaken["order_no"], paid_until_wh=mistaken["paid_until_wh"])
    assert pay(desk, refund["id"]).status_code == 200
    reversal = ask(desk, mistaken["purchase_no"], kind="reversal").json()
    terminal_tells(desk, order_no=reversal["order_no"], paid_until_wh=reversal["paid_until_wh"])
    refused = pay(desk, reversal["id"], kind="transfer", reference="T-9")
    assert refusal(refused) == (409, "till-lacks-cash")
    assert "withdraw the reversal" in refused.json()["remedy"]
    assert desk.post(f"/refunds/{reversal['id']}/withdraw", {}, role=Role.CASHIER).status_code == 200
    terminal_tells(desk, order_no=reversal["order_no"] + 1, paid_until_wh=mistaken["paid_until_wh"])
    instead = ask(desk, mistaken["purchase_no"]).json()
    terminal_tells(desk, order_no=instead["order_no"], paid_until_wh=instead["paid_until_wh"])
    paid = pay(desk, instead["id"], kind="transfer", reference="T-9").json()
    assert (paid["state"], paid["money_fen"]) == ("paid_out", 81_300)


def told_by_liars(*, order_no: int, paid_until_wh: int) -> list[dict[str, int]]:
    """What proves nothing: an order never given, the order with more energy than it said, an earlier order."""
    return [
        {"order_no": order_no + 1, "paid_until_wh": paid_until_wh},
        {"order_no": 2**31, "paid_until_wh": paid_until_wh},
        {"order_no": order_no, "paid_until_wh": paid_until_wh + 1},
        {"order_no": order_no - 1, "paid_until_wh": paid_until_wh},
    ]


def test_a_terminal_that_cannot_have_been_told_so_proves_nothing(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    for lie in told_by_liars(order_no=refund["order_no"], paid_until_wh=19_000_000):
        terminal_tells(desk, **lie)
        assert desk.get(f"/refunds/{refund['id']}").json()["taken_back"] is False, lie
        assert refusal(pay(desk, refund["id"])) == (409, "not-taken-back-yet"), lie
    # The next order is counted on from what it claims, and must not make a lie of before true.
    terminal_tells(desk, order_no=7, paid_until_wh=19_000_000)
    assert sell(desk, "813.00")["order_no"] == 8
    assert refusal(pay(desk, refund["id"])) == (409, "not-taken-back-yet")
    with desk.database.engine.connect() as connection:
        args = connection.scalar(text("SELECT args FROM commands WHERE op = 'credit' ORDER BY version DESC LIMIT 1"))
    assert args["mode"] == "refresh"
    terminal_tells(desk, order_no=8, paid_until_wh=20_000_001)
    assert refusal(pay(desk, refund["id"])) == (409, "not-taken-back-yet")
    terminal_tells(desk, order_no=8, paid_until_wh=20_000_000)
    assert pay(desk, refund["id"]).json()["state"] == "paid_out"


def test_a_refund_that_was_released_is_asked_of_the_terminal_on_and_on(desk: Desk) -> None:
    sold = sell(desk, "162600.00")
    terminal_tells(desk, order_no=1, paid_until_wh=200_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    desk.post(f"/refunds/{refund['id']}/release", {"reason": "burnt down"}, role=Role.APPROVER)
    assert pay(desk, refund["id"]).json()["state"] == "paid_out"
    for order_no, paid_until_wh, is_lowering in (
        (refund["order_no"] + 5, 199_000_000, True),
        (refund["order_no"], 199_000_001, True),
        (refund["order_no"], 199_000_000, False),
    ):
        terminal_tells(desk, order_no=order_no, paid_until_wh=paid_until_wh)
        with transaction(desk.database.engine) as session:
            (picture,) = pictures(
                session,
                [contract_by_no(session, CONTRACT).supply_point_id],
                report_valid_for=desk.pace.report_valid_for,
                retry_after=desk.pace.retry_after,
                now=datetime.now(UTC),
            )
        assert picture.facts.taking_back is is_lowering


def test_what_was_proved_and_paid_out_is_not_asked_again_after_a_restore(desk: Desk) -> None:
    sold = sell(desk, "162600.00")
    terminal_tells(desk, order_no=1, paid_until_wh=200_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    terminal_tells(desk, order_no=refund["order_no"], paid_until_wh=199_000_000)
    pay(desk, refund["id"])
    # The terminal holds a purchase of today that the books have lost; it must not be lowered.
    terminal_tells(desk, order_no=refund["order_no"] + 1, paid_until_wh=250_000_000)
    with transaction(desk.database.engine) as session:
        point_id = contract_by_no(session, CONTRACT).supply_point_id
        before = session.scalar(text("SELECT count(*) FROM commands WHERE op = 'credit'"))
        session.execute(text("UPDATE commands SET state = 'verified', ended_at = now()"))
        reassess(session, [point_id], trigger="test", pace=desk.pace, now=datetime.now(UTC))
        assert session.scalar(text("SELECT count(*) FROM commands WHERE op = 'credit'")) == before
    terminal_tells(desk, order_no=refund["order_no"], paid_until_wh=199_000_000)


def test_the_record_says_what_was_before_and_by_which_receipt_the_money_went(desk: Desk) -> None:
    sold = sell(desk, "16260.00")
    terminal_tells(desk, order_no=1, paid_until_wh=20_000_000)
    refund = ask(desk, sold["purchase_no"], energy_wh=1_000_000).json()
    desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER)
    again = ask(desk, sold["purchase_no"], energy_wh=2_000_000).json()
    desk.post(f"/refunds/{again['id']}/release", {"reason": "burnt down"}, role=Role.APPROVER)
    paid = pay(desk, again["id"], kind="transfer", reference="T-9").json()
    with desk.database.engine.connect() as connection:
        payloads = connection.scalars(
            text("SELECT payload FROM audit_events WHERE action LIKE 'refund.%' ORDER BY at")
        )
        asked, withdrawn, _, released, paid_out = [json.loads(one) for one in payloads]
    assert (asked["before"]["paid_until_wh"], asked["after"]["paid_until_wh"]) == (20_000_000, 19_000_000)
    assert (withdrawn["before"]["paid_until_wh"], withdrawn["after"]["paid_until_wh"]) == (19_000_000, 20_000_000)
    assert (released["before"]["released_because"], released["after"]["released_because"]) == (None, "burnt down")
    assert (paid_out["before"]["state"], paid_out["after"]["state"]) == ("taking_back", "paid_out")
    assert paid_out["after"]["receipt_no"] == paid["receipt_no"]
    assert paid_out["after"]["tenders"] == [{"kind": "transfer", "amount_fen": -162_600, "reference": "T-9"}]
