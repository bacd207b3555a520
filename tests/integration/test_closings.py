"""An account is closed: energy first, then the proof, then the money, to the fen; and nothing stands afterwards."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_cheque, a_contract, a_debt, a_live_terminal, a_notice, a_state, a_terminal
from sqlalchemy import event, text

from app.allowances.sweep import post_all
from app.clock import sleep
from app.closings import service
from app.commands import service as commands
from app.commands.rules import Op
from app.customers.queries import contract_by_no
from app.customers.rules import ControlMode
from app.database import transaction
from app.load_control.levels import UNWATCHED_WH
from app.load_control.service import reassess
from app.notices.rules import NoticeKind
from app.openings.rules import Opening
from app.openings.service import open_balance
from app.roles import Role
from app.staff.queries import find_by_sign_in_name
from app.verification import INVARIANTS, find_broken

CONTRACT = "HT-1"
TERMINAL = "SH-0001"
CLOSING = f"/contracts/{CONTRACT}/closing"
EMPTY = {"deposit": 0, "receivable": 0, "allowance": 0, "emergency": 0}


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, price="0.8130", emergency_limit_wh=5_000_000)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    with a_desk(database, staff=Role) as opened:
        yield opened
        assert broken(database) == []


def broken(database: Database) -> list[Any]:
    with transaction(database.engine) as session:
        return [(one.name, row) for one in INVARIANTS for row in find_broken(session, one)]


def sell(desk: Desk, amount_yuan: str) -> Any:
    return desk.post("/purchases", {"contract_no": CONTRACT, "amount_yuan": amount_yuan}, role=Role.CASHIER)


def tells(desk: Desk, *, order_no: int, paid_until_wh: int, supplied_wh: int, power_w: int = 0) -> None:
    # The factory dates the report a second back; it must be newer than what was asked for before it.
    with transaction(desk.database.engine) as session:
        a_live_terminal(
            session,
            terminal_id=TERMINAL,
            now=datetime.now(UTC) + timedelta(seconds=1),
            state=a_state(order_no=order_no, paid_until_wh=paid_until_wh),
            supplied_wh=supplied_wh,
            active_power_w=power_w,
        )


def sold_and_used(desk: Desk, amount_yuan: str, *, supplied_wh: int) -> dict[str, Any]:
    sold: dict[str, Any] = sell(desk, amount_yuan).json()
    tells(desk, order_no=sold["order_no"], paid_until_wh=sold["paid_until_wh"], supplied_wh=supplied_wh)
    return sold


def ask(desk: Desk, *, role: Role = Role.ACCOUNT_MANAGER) -> Any:
    return desk.post(CLOSING, {"reason": "the works moves away"}, role=role)


def finish(desk: Desk, *, key: str | None = None, **body: Any) -> Any:
    return desk.post(f"{CLOSING}/finish", body, role=Role.CASHIER, key=key)


def take_cheque(desk: Desk) -> Any:
    cheque = {
        "contract_no": CONTRACT, "amount_yuan": "100.00", "cheque_no": "30109810", "bank": "工商银行",
        "drawer": "东方钢铁", "drawn_on": f"{datetime.now(UTC):%Y-%m-%d}",
    }  # fmt: skip
    return desk.post("/cheques", cheque, role=Role.CASHIER)


def asked_and_shown(desk: Desk) -> dict[str, Any]:
    answer = ask(desk)
    assert answer.status_code == 201, answer.text
    asked: dict[str, Any] = answer.json()
    assert broken(desk.database) == []
    tells(desk, order_no=asked["order_no"], paid_until_wh=asked["reading_wh"], supplied_wh=asked["reading_wh"])
    return asked


def one(desk: Desk, query: str) -> Any:
    with desk.database.engine.connect() as connection:
        return connection.execute(text(query)).one()


def balances(desk: Desk) -> dict[str, int]:
    rows = one(desk, "SELECT jsonb_object_agg(kind, balance) AS kept FROM ledger_accounts WHERE balance IS NOT NULL")
    kept: dict[str, int] = rows.kept
    return kept


def earned_fen(desk: Desk) -> int:
    query = "SELECT coalesce(-sum(amount), 0) AS fen FROM ledger_entries JOIN ledger_accounts a ON a.id = account_id"
    fen: int = one(desk, f"{query} WHERE a.kind = 'revenue'").fen
    return fen


def lend(desk: Desk, energy_wh: int) -> Any:
    (listed,) = desk.get("/supply-points").json()["items"]
    body = {"energy_wh": energy_wh, "asked_by": "王强", "reason": "the bank is closed"}
    return desk.post(f"/supply-points/{listed['id']}/emergency-credits", body, role=Role.OPERATOR)


def test_what_is_left_is_refunded_each_part_at_its_own_price_to_the_fen(desk: Desk) -> None:
    first = sell(desk, "16260.00").json()
    dearer = {"yuan_per_kwh": "0.90", "valid_from": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}
    assert desk.post(f"/contracts/{CONTRACT}/prices", dearer, role=Role.TARIFF_KEEPER).status_code == 201
    second = sold_and_used(desk, "9000.00", supplied_wh=12_345_678)
    quoted = desk.post(f"{CLOSING}/quote", {}, role=Role.CASHIER).json()
    assert (quoted["outcome"], quoted["money_yuan"], quoted["fraction_fen"]) == ("refund", "15222.96", "0.3786")
    assert quoted["parts"] == [
        {"name": first["purchase_no"], "energy_wh": 7_654_322, "worth_fen": "622296.3786"},
        {"name": second["purchase_no"], "energy_wh": 10_000_000, "worth_fen": "900000"},
    ]
    asked = ask(desk).json()
    assert (asked["state"], asked["money_fen"], asked["given_up"]) == ("closing", 1_522_296, False)
    assert balances(desk) == {**EMPTY, "deposit": 2_526_000}
    assert refusal(finish(desk)) == (409, "not-given-up-yet")
    tells(desk, order_no=asked["order_no"], paid_until_wh=12_345_678, supplied_wh=12_345_678)
    assert desk.get(CLOSING).json()["given_up"] is True
    done = finish(desk, tenders=[{"kind": "transfer", "amount_yuan": "15222.96", "reference": "T-9"}]).json()
    assert (done["state"], done["receipt_no"] is not None) == ("finished", True)
    assert (balances(desk), earned_fen(desk)) == (EMPTY, 2_526_000 - 1_522_296)
    assert desk.get(f"/contracts/{CONTRACT}").json()["closed_at"] is not None
    assert one(desk, "SELECT kept_nfen FROM allowances").kept_nfen == 378_600_000
    receipt = one(desk, "SELECT kind, amount_fen FROM receipts ORDER BY number DESC LIMIT 1")
    assert tuple(receipt) == ("refund", -1_522_296)
    page = desk.get(f"/receipts/{done['receipt_no']}/page", role=Role.CASHIER).text
    assert "销户止码" in page
    assert "15,222.96" in page
    assert "0.3786 分 fen" in page
    assert "Owed again" not in page


def test_what_was_used_of_lent_energy_and_old_debt_is_paid_up(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    lent = lend(desk, 5_000_000).json()
    with transaction(desk.database.engine) as session:
        a_debt(session, contract=contract_by_no(session, CONTRACT), debt_fen=120_000)
    tells(desk, order_no=lent["order_no"], paid_until_wh=6_000_000, supplied_wh=2_000_005)
    asked = asked_and_shown(desk)
    # 1 000 005 Wh at 0.8130 are 81 300.4065 fen.
    assert (asked["lent_wh"], asked["overused_wh"], asked["overused_fen"]) == (5_000_000, 1_000_005, 81_300)
    assert (asked["outcome"], asked["money_fen"]) == ("pay_up", -201_300)
    short = finish(desk, tenders=[{"kind": "cash", "amount_yuan": "2012.99"}])
    assert refusal(short) == (409, "tenders-unequal")
    done = finish(desk)
    assert done.json()["state"] == "finished"
    assert (balances(desk), earned_fen(desk)) == (EMPTY, 81_300 + 81_300)
    receipt = one(desk, "SELECT kind, amount_fen, content FROM receipts ORDER BY number DESC LIMIT 1")
    assert (receipt.kind, receipt.amount_fen, receipt.content["debt_settled_fen"]) == ("payment", 201_300, 120_000)


def test_lent_energy_that_was_not_used_goes_back_without_a_value(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    lent = lend(desk, 5_000_000).json()
    tells(desk, order_no=lent["order_no"], paid_until_wh=6_000_000, supplied_wh=900_000)
    asked = asked_and_shown(desk)
    assert (asked["remaining_wh"], asked["money_fen"]) == (5_100_000, 8_130)
    assert finish(desk).json()["state"] == "finished"
    assert balances(desk) == EMPTY


def test_all_used_and_nothing_owed_moves_no_money_and_gives_no_receipt(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=1_000_000)
    asked = asked_and_shown(desk)
    assert (asked["outcome"], asked["money_fen"], asked["fraction_fen"]) == ("nothing", 0, "0")
    receipts = desk.count("receipts")
    done = finish(desk).json()
    assert (done["state"], done["receipt_no"], desk.count("receipts")) == ("finished", None, receipts)
    assert (balances(desk), earned_fen(desk)) == (EMPTY, 81_300)


def test_a_site_that_ran_before_anything_was_bought_pays_for_it(desk: Desk) -> None:
    tells(desk, order_no=0, paid_until_wh=0, supplied_wh=10_000)
    assert asked_and_shown(desk)["money_fen"] == -813
    assert finish(desk).json()["state"] == "finished"
    assert (balances(desk), earned_fen(desk)) == (EMPTY, 813)


def test_an_opening_balance_is_worth_its_share_of_what_was_paid_for_it(desk: Desk) -> None:
    opening = Opening(
        contract_no=CONTRACT, reading_wh=1_000, remaining_wh=3_000, energy_paid_fen=100, debt_fen=7, kept_fen=12
    )
    with transaction(desk.database.engine) as session:
        by = session.scalar(text("SELECT id FROM staff_members WHERE sign_in_name = 'account_manager.one'"))
        open_balance(session, opening, by=by, pace=desk.pace, now=datetime.now(UTC))
    tells(desk, order_no=1, paid_until_wh=4_000, supplied_wh=3_000)
    asked = asked_and_shown(desk)
    assert (asked["parts"][0]["worth_fen"], asked["money_fen"]) == ("33.333333333", 38)
    transfer = {"kind": "transfer", "amount_yuan": "0.38", "reference": "20260302-7"}
    assert finish(desk, tenders=[transfer]).json()["fraction_fen"] == "0.333333333"
    assert balances(desk) == EMPTY


def test_what_refunds_took_back_is_not_paid_twice(desk: Desk) -> None:
    sold = sold_and_used(desk, "16260.00", supplied_wh=1_000_000)
    body = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 4_000_000, "reason": "winter"}
    refund = desk.post("/refunds", body, role=Role.CASHIER).json()
    assert ask(desk).json()["because"] == "refund_under_way"
    tells(desk, order_no=refund["order_no"], paid_until_wh=16_000_000, supplied_wh=1_000_000)
    assert desk.post(f"/refunds/{refund['id']}/pay-out", {}, role=Role.CASHIER).status_code == 200
    assert asked_and_shown(desk)["money_fen"] == 15 * 81_300
    assert finish(desk).json()["state"] == "finished"
    assert balances(desk) == EMPTY


def test_nothing_is_sold_lent_cut_refunded_or_closed_outright_while_an_account_is_being_closed(desk: Desk) -> None:
    sold = sold_and_used(desk, "813.00", supplied_wh=900_000)
    asked_and_shown(desk)
    assert refusal(sell(desk, "100.00")) == (409, "contract-closing")
    assert refusal(lend(desk, 1_000)) == (409, "contract-closing")
    assert refusal(ask(desk)) == (409, "contract-closing")
    assert refusal(desk.post(f"/contracts/{CONTRACT}/close", {}, role=Role.ACCOUNT_MANAGER)) == (
        409, "contract-closing",
    )  # fmt: skip
    body = {"purchase_no": sold["purchase_no"], "kind": "refund", "reason": "winter"}
    assert desk.post("/refunds", body, role=Role.CASHIER).json()["because"] == "account_closing"
    (listed,) = desk.get("/supply-points").json()["items"]
    order = {"action": "limit", "supply_point_id": listed["id"], "power_w": 100_000, "reason": "a try"}
    refused = desk.post("/commands", order, role=Role.OPERATOR).json()
    assert "closing" in [interlock["code"] for interlock in refused["interlocks"]]
    assert desk.get(f"/contracts/{CONTRACT}").json()["closing_since"] is not None


def test_the_last_order_lets_no_terminal_trip_and_cuts_and_notices_are_taken_back(database: Database) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, price="0.8130", control_mode=ControlMode.LOCAL)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=TERMINAL)
    with a_desk(database) as desk:
        sold_and_used(desk, "813.00", supplied_wh=900_000)
        with transaction(database.engine) as session:
            point = contract_by_no(session, CONTRACT).supply_point_id
            now = datetime.now(UTC)
            a_notice(
                session, supply_point_id=point, kind=NoticeKind.WRITTEN, issued_at=now, cut_not_before=now,
                served_at=now,
            )  # fmt: skip
            trip = commands.NewCommand(
                terminal_id=TERMINAL, supply_point_id=point, op=Op.TRIP, args={"round": 1}, reason="a try"
            )
            commands.add(session, trip, clock=desk.pace.clock, now=now)
        asked = ask(desk).json()
        credit = one(desk, "SELECT args FROM commands WHERE op = 'credit' ORDER BY version DESC LIMIT 1").args
        assert (credit["mode"], credit["value_wh"], credit["paid_until_wh"]) == ("refresh", -100_000, 900_000)
        assert (credit["alarm_wh"], credit["trip_wh"]) == (UNWATCHED_WH, UNWATCHED_WH)
        assert one(desk, "SELECT state FROM commands WHERE op = 'trip'").state == "cancelled"
        assert one(desk, "SELECT count(*) AS n FROM notices WHERE withdrawn_at IS NULL AND kind = 'written'").n == 0
        with transaction(database.engine) as session:
            session.execute(text("UPDATE commands SET state = 'refused', ended_at = now() - interval '5 minutes'"))
            (decided,) = reassess(session, [point], trigger="test", pace=desk.pace, now=datetime.now(UTC))
        assert (decided.stage.word, [reason.code for reason in decided.because]) == ("normal", ["closing"])
        again = one(desk, "SELECT args FROM commands WHERE op = 'credit' ORDER BY version DESC LIMIT 1").args
        assert (again["mode"], again["paid_until_wh"], again["trip_wh"]) == ("refresh", 900_000, UNWATCHED_WH)
        assert again["order_no"] > asked["order_no"]


_RETIRED = """
    WITH ended AS (UPDATE commands SET ended_at = now(), state = 'cancelled')
    UPDATE terminals SET retired_at = now()
"""


@pytest.mark.parametrize(
    ("spoil", "because"),
    [
        ("UPDATE terminal_live SET supplied_at = supplied_at - interval '1 day'", "report_stale"),
        ("UPDATE terminal_live SET active_power_w = 800", "load_running"),
        ("UPDATE control_states SET stage = 'tripped'", "supply_cut"),
        ("UPDATE allowances SET posted_supplied_wh = 900001", "counter_behind"),
        (_RETIRED, "no_terminal"),
    ],
)
def test_a_closing_that_would_race_is_refused_and_writes_nothing(desk: Desk, spoil: str, because: str) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    with desk.database.engine.connect() as connection:
        with connection.begin() as held:
            connection.execute(text(spoil))
            held.commit()
        refused = ask(desk)
        assert (refusal(refused), refused.json()["because"]) == ((409, "closing-refused"), because)
        assert desk.count("closings") == 0
        connection.execute(text("UPDATE allowances SET posted_supplied_wh = 0"))
        connection.commit()


def test_a_cut_that_the_terminal_may_be_acting_on_is_waited_for(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    with transaction(desk.database.engine) as session:
        point = contract_by_no(session, CONTRACT).supply_point_id
        args = {"power_w": 100_000}
        limit = commands.NewCommand(
            terminal_id=TERMINAL, supply_point_id=point, op=Op.LIMIT, args=args, reason="a try"
        )
        commands.add(session, limit, clock=desk.pace.clock, now=datetime.now(UTC))
        session.execute(text("UPDATE commands SET state = 'operating' WHERE op = 'limit'"))
    assert ask(desk).json()["because"] == "cut_pending"


def test_a_cheque_in_clearing_is_waited_for_and_none_is_taken_any_more(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    taken = take_cheque(desk)
    assert taken.status_code == 201, taken.text
    assert ask(desk).json()["because"] == "cheque_in_clearing"
    given_back = f"/cheques/{taken.json()['id']}/return"
    assert desk.post(given_back, {"reason": "the account is closed"}, role=Role.CASHIER).status_code == 200
    assert ask(desk).status_code == 201
    assert refusal(take_cheque(desk)) == (409, "contract-closing")


def test_a_cheque_that_comes_while_a_closing_is_asked_for_waits_and_is_refused(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool, desk.database.engine.connect() as watcher:
        watcher.execution_options(isolation_level="AUTOCOMMIT")
        with transaction(desk.database.engine) as session:
            by = session.scalar(text("SELECT id FROM staff_members WHERE sign_in_name = 'account_manager.one'"))
            new = service.NewClosing(contract_no=CONTRACT, reason="the works moves away", asked_by=by)
            service.ask(session, new, pace=desk.pace, now=datetime.now(UTC))
            cheque = pool.submit(take_cheque, desk)
            while not cheque.done() and not watcher.scalar(text(waits)):
                sleep(0.01)
        assert refusal(cheque.result()) == (409, "contract-closing")
    assert desk.count("cheques") == 0


def test_a_closing_is_not_finished_over_a_cheque_in_clearing(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    asked_and_shown(desk)
    with transaction(desk.database.engine) as session:
        contract = contract_by_no(session, CONTRACT)
        since, contract.closing_since = contract.closing_since, None
        session.flush()
        cheque_id = a_cheque(
            session,
            contract=contract,
            cashier=find_by_sign_in_name(session, name="cashier.one"),
            now=datetime.now(UTC),
        )
        contract.closing_since = since
    refused = finish(desk)
    assert (refusal(refused), refused.json()["because"]) == ((409, "closing-refused"), "cheque_in_clearing")
    given_back = desk.post(f"/cheques/{cheque_id}/return", {"reason": "too late"}, role=Role.CASHIER)
    assert given_back.status_code == 200
    assert finish(desk).json()["state"] == "finished"


def test_an_approver_releases_what_the_terminal_cannot_show_and_nobody_their_own(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    ask(desk)
    reason = {"reason": "the terminal was taken down; the meter was read"}
    with transaction(desk.database.engine) as session:
        asker = session.scalar(text("SELECT asked_by FROM closings"))
        session.execute(text("UPDATE closings SET asked_by = (SELECT id FROM staff_members "
                             "WHERE sign_in_name = 'approver.one')"))  # fmt: skip
    assert refusal(desk.post(f"{CLOSING}/release", reason, role=Role.APPROVER)) == (403, "own-closing")
    with transaction(desk.database.engine) as session:
        session.execute(text("UPDATE closings SET asked_by = :asker"), {"asker": asker})
    released = desk.post(f"{CLOSING}/release", reason, role=Role.APPROVER).json()
    assert released["released_because"] == reason["reason"]
    again = desk.post(f"{CLOSING}/release", {"reason": "another"}, role=Role.APPROVER)
    assert (refusal(again), again.json()["released_by"]) == ((409, "closing-released-before"), "approver.one")
    assert desk.get(CLOSING).json()["released_because"] == reason["reason"]
    done = finish(desk).json()
    assert (done["state"], done["money_fen"]) == ("finished", 8_130)


def test_energy_used_after_the_final_reading_is_never_given_away(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    asked = asked_and_shown(desk)
    tells(desk, order_no=asked["order_no"], paid_until_wh=900_000, supplied_wh=900_500)
    assert desk.get(CLOSING).json()["used_since_wh"] == 500
    assert refusal(finish(desk)) == (409, "used-since-final-reading")
    post_all(desk.database.engine, now=datetime.now(UTC))
    assert broken(desk.database) == []
    assert desk.post(f"{CLOSING}/withdraw", {}, role=Role.CASHIER).json()["state"] == "withdrawn"
    assert balances(desk)["allowance"] == 99_500
    tells(desk, order_no=asked["order_no"] + 1, paid_until_wh=1_000_000, supplied_wh=900_500)
    assert asked_and_shown(desk)["money_fen"] == 8_089
    assert finish(desk).json()["state"] == "finished"


def test_a_withdrawn_closing_leaves_everything_as_it_was(desk: Desk) -> None:
    sold = sold_and_used(desk, "813.37", supplied_wh=900_000)
    lent = lend(desk, 2_000_000).json()
    tells(desk, order_no=lent["order_no"], paid_until_wh=lent["paid_until_wh"], supplied_wh=900_000)
    post_all(desk.database.engine, now=datetime.now(UTC))
    before = balances(desk)
    asked = asked_and_shown(desk)
    key = "withdraw-once"
    first, second = (desk.post(f"{CLOSING}/withdraw", {}, role=Role.CASHIER, key=key) for _ in range(2))
    assert first.json()["state"] == "withdrawn"
    assert first.content == second.content
    assert balances(desk) == before
    credit = one(desk, "SELECT args FROM commands WHERE op = 'credit' ORDER BY version DESC LIMIT 1").args
    assert (credit["mode"], credit["paid_until_wh"], credit["trip_wh"]) == ("refresh", lent["paid_until_wh"], 0)
    assert refusal(finish(desk)) == (409, "closing-over")
    assert sell(desk, "8130.00").json()["emergency_repaid_wh"] == 2_000_000
    assert broken(desk.database) == []
    tells(desk, order_no=asked["order_no"] + 2, paid_until_wh=9_000_455 + 2_000_000, supplied_wh=900_000)
    body = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 100_000, "reason": "winter"}
    assert desk.post("/refunds", body, role=Role.CASHIER).status_code == 201


def test_a_closing_is_finished_once_and_the_same_key_gives_the_same_bytes(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    asked_and_shown(desk)
    first, second = (finish(desk, key="k") for _ in range(2))
    assert first.content == second.content
    assert refusal(finish(desk)) == (409, "closing-over")
    assert refusal(ask(desk)) == (409, "contract-closed")
    assert refusal(desk.post(f"{CLOSING}/withdraw", {}, role=Role.CASHIER)) == (409, "closing-over")


def test_an_account_that_moved_meanwhile_is_not_settled_on_old_figures(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    asked_and_shown(desk)
    with transaction(desk.database.engine) as session:
        a_debt(session, contract=contract_by_no(session, CONTRACT), debt_fen=1)
    assert refusal(finish(desk)) == (409, "account-moved")


def test_a_contract_with_anything_on_it_is_not_closed_outright(desk: Desk) -> None:
    assert refusal(desk.get(CLOSING)) == (404, "no-such-closing")
    sell(desk, "813.00")
    refused = desk.post(f"/contracts/{CONTRACT}/close", {}, role=Role.ACCOUNT_MANAGER)
    assert refusal(refused) == (409, "account-not-settled")
    assert refused.json()["standing"] == {"deposit_fen": 81_300, "remaining_wh": 1_000_000}


def test_the_record_names_every_transaction_of_a_closing(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    asked_and_shown(desk)
    finish(desk)
    rows = one(
        desk,
        "SELECT array_agg(action ORDER BY seq) AS actions, sum(cardinality(transaction_ids)) AS transactions "
        "FROM audit_events WHERE action LIKE 'closing.%' OR action = 'contract.closed'",
    )
    assert (sorted(rows.actions), rows.transactions) == (["closing.asked", "closing.finished", "contract.closed"], 2)


def test_the_record_says_what_was_before_and_by_which_receipt_the_money_went(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    ask(desk)
    desk.post(f"{CLOSING}/withdraw", {}, role=Role.CASHIER)
    ask(desk)
    desk.post(f"{CLOSING}/release", {"reason": "burnt down"}, role=Role.APPROVER)
    done = finish(desk, tenders=[{"kind": "transfer", "amount_yuan": "81.30", "reference": "T-9"}]).json()
    with desk.database.engine.connect() as connection:
        query = "SELECT payload FROM audit_events WHERE action LIKE 'closing.%' ORDER BY at"
        asked, withdrawn, _, released, finished = [json.loads(each) for each in connection.scalars(text(query))]
    assert asked["before"] == {"state": None, "paid_until_wh": 1_000_000}
    assert (asked["after"]["state"], asked["after"]["paid_until_wh"]) == ("closing", 900_000)
    assert withdrawn["before"] == {"state": "closing", "paid_until_wh": 900_000}
    assert (withdrawn["after"]["state"], withdrawn["after"]["paid_until_wh"]) == ("withdrawn", 1_000_000)
    assert (released["before"]["released_because"], released["after"]["released_because"]) == (None, "burnt down")
    assert (finished["before"]["state"], finished["after"]["state"]) == ("closing", "finished")
    assert finished["after"]["receipt_no"] == done["receipt_no"]
    assert finished["after"]["tenders"] == [{"kind": "transfer", "amount_fen": -8_130, "reference": "T-9"}]


def test_what_is_left_is_not_paid_in_cash_that_the_shift_does_not_hold(desk: Desk) -> None:
    by_card = [{"kind": "card", "amount_yuan": "24390.00", "reference": "4711"}]
    sold = desk.post(
        "/purchases",
        {"contract_no": CONTRACT, "amount_yuan": "24390.00", "tenders": by_card},
        role=Role.CASHIER,
    ).json()
    tells(desk, order_no=sold["order_no"], paid_until_wh=sold["paid_until_wh"], supplied_wh=0)
    asked_and_shown(desk)
    assert refusal(finish(desk)) == (409, "till-lacks-cash")
    transfer = {"kind": "transfer", "amount_yuan": "24390.00", "reference": "20260302-7"}
    sums_of_cash: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "float_fen" in statement:
            sums_of_cash.append(statement)

    event.listen(desk.database.engine, "before_cursor_execute", note)
    assert finish(desk).status_code == 409
    assert len(sums_of_cash) == 1
    done = finish(desk, tenders=[transfer]).json()
    event.remove(desk.database.engine, "before_cursor_execute", note)
    # All who sell at the till would wait for the sum.
    assert (done["state"], len(sums_of_cash)) == ("finished", 1)


def test_a_terminal_that_cannot_have_been_told_so_finishes_no_closing(desk: Desk) -> None:
    sold_and_used(desk, "813.00", supplied_wh=900_000)
    asked = ask(desk).json()
    for order_no, paid_until_wh in (
        (asked["order_no"] + 1, 900_000),
        (2**31, 900_000),
        (asked["order_no"], 900_001),
        (asked["order_no"] - 1, 900_000),
    ):
        tells(desk, order_no=order_no, paid_until_wh=paid_until_wh, supplied_wh=900_000)
        assert desk.get(CLOSING).json()["given_up"] is False
        assert refusal(finish(desk)) == (409, "not-given-up-yet")
    tells(desk, order_no=asked["order_no"], paid_until_wh=900_000, supplied_wh=900_000)
    assert finish(desk).json()["state"] == "finished"
