"""A terminal takes another's place: not a Wh is lost, nothing is cut, and the old one moves nothing any more."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import bcrypt
import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_notice, a_policy_in_force, a_state, a_terminal
from sqlalchemy import text

from app.allowances.sweep import post_all
from app.clock import Clock
from app.commands.rules import Evidence
from app.commands.service import weigh
from app.database import new_id, transaction
from app.load_control.queries import pictures
from app.load_control.service import close_supply_point, reassess
from app.mqtt.signing import new_private_key_pem
from app.notices.rules import NoticeKind
from app.roles import Role
from app.terminal_reports import service as reports
from app.terminal_reports.ingest import read_batch
from app.terminals.queries import broker_credentials
from app.verification import INVARIANTS, find_broken

CONTRACT = "HT-1"
OLD, NEW = "SH-0001", "SH-0101"
NEWEST_MODE = "SELECT args->>'mode' FROM commands WHERE terminal_id = :new ORDER BY version DESC LIMIT 1"
ROUNDS = [{"round": 1, "feeds_zh": "空调", "feeds_en": "air conditioning", "importance": 1, "load_w": 120_000}]


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    key_file = tmp_path / "signing.pem"
    key_file.write_bytes(new_private_key_pem())
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no=CONTRACT, price="0.8130", emergency_limit_wh=90_000_000)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id=OLD)
    with a_desk(database, signing_key_file=key_file) as opened:
        yield opened
        assert broken(database) == []


def broken(database: Database) -> list[Any]:
    with transaction(database.engine) as session:
        return [(one.name, row) for one in INVARIANTS for row in find_broken(session, one)]


def point_id(desk: Desk) -> str:
    (listed,) = desk.get("/supply-points").json()["items"]
    return str(listed["id"])


def point(desk: Desk) -> dict[str, Any]:
    shown: dict[str, Any] = desk.get(f"/supply-points/{point_id(desk)}").json()
    return shown


def rows(desk: Desk, sql: str) -> list[tuple[Any, ...]]:
    with desk.database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql), {"old": OLD, "new": NEW})]


def sell(desk: Desk, amount_yuan: str) -> dict[str, Any]:
    answer = desk.post("/purchases", {"contract_no": CONTRACT, "amount_yuan": amount_yuan}, role=Role.CASHIER)
    assert answer.status_code == 201, answer.text
    sold: dict[str, Any] = answer.json()
    return sold


def tells(desk: Desk, terminal_id: str, *, order_no: int, paid_until_wh: int, supplied_wh: int, **state: Any) -> None:
    with transaction(desk.database.engine) as session:
        a_live_terminal(
            session,
            terminal_id=terminal_id,
            now=datetime.now(UTC),
            state=a_state(order_no=order_no, paid_until_wh=paid_until_wh, **state),
            supplied_wh=supplied_wh,
        )


def allowance_wh(desk: Desk) -> int:
    ((balance,),) = rows(desk, "SELECT balance FROM ledger_accounts WHERE kind = 'allowance'")
    assert isinstance(balance, int)
    return balance


def order(desk: Desk, action: str) -> Any:
    asked = {"supply_point_id": point_id(desk), "action": action, "reason": "a fair in town"}
    return desk.post("/commands", asked, role=Role.OPERATOR)


def body(**changes: Any) -> dict[str, Any]:
    return {
        "terminal_id": NEW,
        "meter_no": "M0101",
        "safe_load_w": 50_000,
        "rounds": ROUNDS,
        "old_final_wh": 12_000_000,
        "new_start_wh": 500,
        "reason": "the display is broken",
        **changes,
    }


def exchange(desk: Desk, *, role: Role = Role.OPERATOR, key: str | None = None, **changes: Any) -> Any:
    return desk.post(f"/supply-points/{point_id(desk)}/terminal-exchange", body(**changes), role=role, key=key)


def test_what_remains_is_the_same_to_the_wh(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=11_900_000)
    answer = exchange(desk)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    made = answer.json()["exchange"]
    assert (made["remaining_wh"], made["supplied_wh"], made["order_no"]) == (8_000_000, 12_000_000, 2)
    assert (made["paid_until_before_wh"], made["paid_until_after_wh"]) == (20_000_000, 8_000_500)
    shown = point(desk)
    assert (shown["terminal_id"], shown["paid_until_wh"], shown["remaining_wh"]) == (NEW, 8_000_500, 8_000_000)
    assert allowance_wh(desk) == 8_000_000
    (credit,) = rows(desk, "SELECT args, state, op FROM commands WHERE terminal_id = :new")
    assert credit[0] | {"alarm_wh": 0} == {
        "order_no": 2, "mode": "refresh", "value_wh": 8_000_000, "paid_until_wh": 8_000_500, "alarm_wh": 0,
        "trip_wh": 0,
    }  # fmt: skip
    (listed,) = desk.get(f"/supply-points/{point_id(desk)}/terminal-exchanges").json()["items"]
    assert listed == made


def test_the_credential_is_shown_again_under_the_same_key_and_kept_as_a_hash_only(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=11_900_000)
    first, again = exchange(desk, key="k-1"), exchange(desk, key="k-1")
    assert (first.content, first.status_code) == (again.content, again.status_code)
    assert again.headers["idempotent-replayed"] == "true"
    credential = first.json()["registered"]["credential"]
    with transaction(desk.database.engine) as session:
        users = broker_credentials(session)
    assert list(users) == [NEW]
    assert bcrypt.checkpw(credential.encode(), users[NEW].encode())
    assert all(credential.encode() not in stored for (stored,) in rows(desk, "SELECT body FROM idempotency_keys"))
    assert refusal(exchange(desk, key="k-1", new_start_wh=1))[1] == "idempotency-key-reused"


def test_readings_that_cannot_be_are_refused_and_nothing_changes(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=11_900_000)
    assert refusal(exchange(desk, old_final_wh=11_899_999)) == (409, "final-reading-too-low")
    assert refusal(exchange(desk, old_final_wh=120_000_000)) == (409, "final-reading-too-high")
    assert refusal(exchange(desk, terminal_id=OLD)) == (409, "terminal-taken")
    assert exchange(desk, rounds=ROUNDS * 2).status_code == 422
    assert point(desk)["terminal_id"] == OLD
    assert desk.count("terminal_exchanges") == 0


def test_without_a_terminal_or_an_open_contract_there_is_nothing_to_exchange(desk: Desk) -> None:
    with transaction(desk.database.engine) as session:
        bare = a_contract(session).supply_point_id
    asked = desk.post(f"/supply-points/{bare}/terminal-exchange", body(), role=Role.OPERATOR)
    assert refusal(asked) == (404, "no-terminal-fitted")
    unknown = desk.post(f"/supply-points/{new_id()}/terminal-exchange", body(), role=Role.OPERATOR)
    assert refusal(unknown) == (404, "no-such-supply-point")
    with transaction(desk.database.engine) as session:
        point_id_of = session.execute(
            text("SELECT supply_point_id FROM supply_contracts WHERE contract_no = 'HT-1'")
        ).scalar_one()
        close_supply_point(session, CONTRACT, now=datetime.now(UTC))
    closed = desk.post(f"/supply-points/{point_id_of}/terminal-exchange", body(), role=Role.ADMINISTRATOR)
    assert refusal(closed) == (409, "no-contract-to-serve")


def test_purchases_and_postings_go_on_in_readings_of_the_new_counter(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=500_500)
    post_all(desk.database.engine, now=datetime.now(UTC))
    exchange(desk, old_final_wh=500_500, new_start_wh=0)
    sold = sell(desk, "813.00")
    assert (sold["order_no"], sold["paid_until_wh"]) == (3, 20_000_000 - 500_500 + 1_000_000)
    (mode,) = rows(desk, NEWEST_MODE)
    assert mode == ("refresh",), "the new terminal has not shown yet what it holds"
    # The new counter comes to a reading that was posted before, of the old one.
    tells(desk, NEW, order_no=3, paid_until_wh=sold["paid_until_wh"], supplied_wh=500_500)
    assert post_all(desk.database.engine, now=datetime.now(UTC)) == 500_500
    assert allowance_wh(desk) == 21_000_000 - 2 * 500_500
    sell(desk, "813.00")
    (mode,) = rows(desk, NEWEST_MODE)
    assert mode == ("append",)


def test_a_terminal_is_exchanged_again_and_again_in_overdraft_too(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=20_300_000)
    first = exchange(desk, old_final_wh=20_400_000, new_start_wh=0).json()["exchange"]
    assert (first["remaining_wh"], first["paid_until_after_wh"]) == (-400_000, -400_000)
    second = exchange(desk, terminal_id="SH-0201", old_final_wh=100_000, new_start_wh=7).json()["exchange"]
    assert (second["remaining_wh"], second["order_no"]) == (-500_000, 3)
    # Back in service under its old name it is not: an id is used once.
    assert refusal(exchange(desk, terminal_id=OLD, old_final_wh=7)) == (409, "terminal-taken")


def test_an_exchange_before_the_first_purchase_begins_no_control(desk: Desk) -> None:
    tells(desk, OLD, order_no=0, paid_until_wh=0, supplied_wh=11_900_000)
    made = exchange(desk).json()["exchange"]
    assert (made["order_no"], made["command_id"], made["paid_until_after_wh"]) == (0, None, 500 - 12_000_000)
    tells(desk, NEW, order_no=0, paid_until_wh=0, supplied_wh=900)
    with transaction(desk.database.engine) as session:
        where = UUID(point_id(desk))
        (decision,) = reassess(session, [where], trigger="report", pace=desk.pace, now=datetime.now(UTC))
    assert (decision.stage.word, [one.code for one in decision.because]) == ("normal", ["not_started"])
    assert sell(desk, "813.00")["order_no"] == 1


def test_a_refund_under_way_is_proved_by_the_new_terminal(desk: Desk) -> None:
    sold = sell(desk, "48780.00")
    tells(desk, OLD, order_no=1, paid_until_wh=60_000_000, supplied_wh=12_000_000)
    asked = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 1_000_000, "reason": "winter"}
    refund = desk.post("/refunds", asked, role=Role.CASHIER).json()
    made = exchange(desk).json()["exchange"]
    assert made["remaining_wh"] == 47_000_000
    payment = f"/refunds/{refund['id']}/pay-out"
    assert refusal(desk.post(payment, {}, role=Role.CASHIER)) == (409, "not-taken-back-yet")
    # A terminal that has served elsewhere proves nothing with an order of there.
    tells(desk, NEW, order_no=77, paid_until_wh=5, supplied_wh=500)
    assert refusal(desk.post(payment, {}, role=Role.CASHIER)) == (409, "not-taken-back-yet")
    tells(desk, NEW, order_no=made["order_no"], paid_until_wh=made["paid_until_after_wh"], supplied_wh=500)
    assert desk.post(payment, {}, role=Role.CASHIER).json()["state"] == "paid_out"
    again = desk.post("/refunds", asked | {"energy_wh": None}, role=Role.CASHIER)
    assert again.json()["because"] == "taken_back_before"


def test_a_refund_that_leaves_too_little_by_the_final_reading_is_withdrawn_before_an_exchange(desk: Desk) -> None:
    sold = sell(desk, "48780.00")
    tells(desk, OLD, order_no=1, paid_until_wh=60_000_000, supplied_wh=12_000_000)
    asked = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 47_000_000, "reason": "winter"}
    refund = desk.post("/refunds", asked, role=Role.CASHIER).json()
    assert refusal(exchange(desk, old_final_wh=13_000_000)) == (409, "refund-unproved")
    assert desk.post(f"/refunds/{refund['id']}/withdraw", {}, role=Role.CASHIER).json()["state"] == "withdrawn"
    assert exchange(desk, old_final_wh=13_000_000).json()["exchange"]["remaining_wh"] == 47_000_000


def test_a_terminal_with_an_order_of_elsewhere_has_taken_nothing_over(desk: Desk) -> None:
    sell(desk, "48780.00")
    tells(desk, OLD, order_no=1, paid_until_wh=60_000_000, supplied_wh=12_000_000)
    made = exchange(desk).json()["exchange"]
    tells(desk, NEW, order_no=77, paid_until_wh=900_000_000, supplied_wh=500)
    path = f"/commands/{made['command_id']}"
    now = datetime.now(UTC)
    state = a_state(order_no=77, paid_until_wh=900_000_000)
    told = Evidence(state=state, active_power_w=0, at=now, live=True, after_birth=True, results={})
    with transaction(desk.database.engine) as session:
        weigh(session, {NEW: told}, clock=Clock(), now=now)
    assert desk.get(path).json()["state"] == "waiting"
    sold = sell(desk, "813.00")
    (mode,) = rows(desk, NEWEST_MODE)
    assert (sold["order_no"], mode) == (78, ("refresh",))


def test_refunds_of_long_ago_keep_no_energy_from_a_new_terminal(desk: Desk) -> None:
    sold = sell(desk, "48780.00")
    tells(desk, OLD, order_no=1, paid_until_wh=60_000_000, supplied_wh=12_000_000)
    asked = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 1_000_000, "reason": "winter"}
    refund = desk.post("/refunds", asked, role=Role.CASHIER).json()
    tells(desk, OLD, order_no=2, paid_until_wh=59_000_000, supplied_wh=12_000_000)
    assert desk.post(f"/refunds/{refund['id']}/pay-out", {}, role=Role.CASHIER).json()["state"] == "paid_out"
    exchange(desk)
    tells(desk, NEW, order_no=1, paid_until_wh=900_000_000, supplied_wh=500)
    with transaction(desk.database.engine) as session:
        (seen,) = pictures(
            session,
            [UUID(point_id(desk))],
            report_valid_for=timedelta(hours=1),
            retry_after=timedelta(seconds=1),
            now=datetime.now(UTC),
        )
    assert (seen.facts.taking_back, seen.facts.lowering) == (True, False)
    assert desk.get(f"/refunds/{refund['id']}").json()["taken_back"] is True


def test_an_older_purchase_is_refunded_from_the_new_terminal(desk: Desk) -> None:
    sold = sell(desk, "48780.00")
    tells(desk, OLD, order_no=1, paid_until_wh=60_000_000, supplied_wh=12_000_000)
    made = exchange(desk).json()["exchange"]
    tells(desk, NEW, order_no=2, paid_until_wh=made["paid_until_after_wh"], supplied_wh=1_000_500)
    asked = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 1_000_000, "reason": "winter"}
    quoted = desk.post("/refunds/quote", asked, role=Role.CASHIER).json()
    assert (quoted["unused_wh"], quoted["money_yuan"]) == (47_000_000, "813.00")
    refund = desk.post("/refunds", asked, role=Role.CASHIER).json()
    assert refund["paid_until_wh"] == made["paid_until_after_wh"] - 1_000_000


def test_commands_of_the_old_terminal_end_and_say_why(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=0, paid_until_wh=0, supplied_wh=11_900_000)
    with transaction(desk.database.engine) as session:
        session.execute(
            text("""
                INSERT INTO commands (id, terminal_id, supply_point_id, op, args, slot, version, command_class,
                       reason, state, issued_at, expires_at, due_at, attempts, operate_sent_at)
                SELECT gen_random_uuid(), id, supply_point_id, 'trip', '{"round": 1}', 'round-1', 90, 'cut', 'r',
                       'operating', now(), now(), now(), 1, now() FROM terminals
            """)
        )
    exchange(desk)
    ended = rows(
        desk, "SELECT op, state, outcome, ended_at IS NOT NULL FROM commands WHERE terminal_id = :old ORDER BY op"
    )
    because = f"the terminal was exchanged for {NEW}"
    assert ended == [("credit", "cancelled", because, True), ("trip", "unknown", because, True)]


def test_a_tripped_point_begins_anew_and_needs_every_interlock_again(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=19_999_000)
    now = datetime.now(UTC)
    with transaction(desk.database.engine) as session:
        a_policy_in_force(session)
        where = UUID(point_id(desk))
        long_ago = now - timedelta(days=5)
        for kind in (NoticeKind.WRITTEN, NoticeKind.SECOND):
            a_notice(
                session, supply_point_id=where, kind=kind, issued_at=long_ago, served_at=long_ago,
                cut_not_before=now - timedelta(hours=2),
            )  # fmt: skip
        session.execute(text("UPDATE control_states SET stage = 'tripped', look_again_at_wh = 1"))
    made = exchange(desk, old_final_wh=20_000_000).json()["exchange"]
    shown = point(desk)
    assert (shown["stage"], made["remaining_wh"]) == ("normal", 0)
    assert rows(desk, "SELECT stage_before, stage FROM stage_decisions WHERE trigger = 'terminal exchange'") == [
        ("tripped", "normal")
    ]
    assert [one["code"] for one in desk.get(f"/supply-points/{where}/why").json()["because"]] == [
        "terminal_exchanged"
    ]
    with transaction(desk.database.engine) as session:
        (decision,) = reassess(session, [where], trigger="time", pace=desk.pace, now=now)
    assert (decision.stage.word, decision.look_again_at_wh) == ("normal", 0)
    # Its first report with nothing left: the notices stand, but it holds less than the books until its credit came.
    tells(desk, NEW, order_no=0, paid_until_wh=-9, supplied_wh=500)
    with transaction(desk.database.engine) as session:
        (decision,) = reassess(session, [where], trigger="report", pace=desk.pace, now=datetime.now(UTC))
    assert (decision.stage.word, [one.code for one in decision.held]) == ("warning", ["credit_undelivered"])
    assert rows(desk, "SELECT op FROM commands WHERE terminal_id = :new AND command_class = 'cut'") == []


def test_a_guarantee_and_disabled_control_are_ordered_again(desk: Desk) -> None:
    sell(desk, "48780.00")
    tells(desk, OLD, order_no=1, paid_until_wh=60_000_000, supplied_wh=12_000_000)
    for action in ("guarantee", "disable_control"):
        assert order(desk, action).status_code == 201
    exchange(desk)
    again = rows(desk, "SELECT op, args->>'on', args->>'enabled' FROM commands WHERE terminal_id = :new ORDER BY op")
    assert again == [("control", None, "false"), ("credit", None, None), ("guarantee", "true", None)]


def test_the_old_terminal_moves_nothing_any_more_and_what_it_says_is_kept(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=11_900_000)
    exchange(desk)
    before = point(desk)
    frames = [(f"lm/v1/{OLD}/up/death", b'{"session": "' + b"0" * 32 + b'"}'), (f"lm/v1/{OLD}/up/death", b"nothing")]
    with transaction(desk.database.engine) as session:
        reports.record(session, read_batch(frames), pace=desk.pace, now=Clock().now())
    assert point(desk) == before
    kept = rows(desk, "SELECT reason FROM quarantined_messages ORDER BY reason")
    assert len(kept) == 2
    assert ("the terminal is not registered, is retired, or its credential is revoked",) in kept
    shown = desk.get("/terminals/" + OLD).json()
    assert (shown["online"], shown["retired_at"] is not None) == (False, True)
    assert order(desk, "disable_control").json()["terminal_id"] == NEW
    assert desk.get(f"/supply-points/{before['id']}/reports").status_code == 200


def test_the_record_tells_of_both_terminals(desk: Desk) -> None:
    sell(desk, "16260.00")
    tells(desk, OLD, order_no=1, paid_until_wh=20_000_000, supplied_wh=11_900_000)
    exchange(desk)
    told = desk.get("/audit", action="terminal.exchanged").json()["items"]
    assert [(one["before"]["terminal_id"], one["after"]["terminal_id"]) for one in told] == [(OLD, NEW)]
    assert desk.get("/audit", action="terminal.retired").json()["items"][0]["subject"] == OLD
