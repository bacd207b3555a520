"""`wattgate verify`: clean after a day's work, and it names the row that somebody with all rights has changed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from databases import Database, a_database
from factories import (
    a_cheque,
    a_closed_shift,
    a_contract,
    a_live_terminal,
    a_person,
    a_purchase,
    a_site_code,
    a_state,
    a_terminal,
    an_approved_cut,
    an_exchange,
    an_open_shift,
)
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from app.cheques.service import clear, give_back
from app.clock import Clock, sleep
from app.database import connect, transaction
from app.embedded.postgres import EmbeddedPostgres
from app.load_control.service import Pace
from app.openings.rules import Opening
from app.openings.service import open_balance
from app.purchases.service import Sale, sell_energy
from app.refunds.rules import RefundKind
from app.refunds.service import NewRefund, ask, pay_out, release
from app.roles import Role
from app.shifts.rules import Tender, TenderKind
from app.verification import INVARIANTS, find_broken

NOW = datetime(2026, 3, 2, tzinfo=UTC)
PACE = Pace(clock=Clock(), report_interval_s=900)

_A_KEY_WITHOUT_ANSWER = """
    INSERT INTO idempotency_keys (scope, key, request_hash, created_by)
    SELECT 's', 'k', '', id FROM staff_members LIMIT 1
"""
_A_FALSE_REVERSAL = """
    UPDATE ledger_transactions SET reverses_id = (SELECT id FROM ledger_transactions ORDER BY id DESC LIMIT 1)
     WHERE id = (SELECT id FROM ledger_transactions ORDER BY id LIMIT 1)
"""

_A_REFUND_OF_NOTHING = """
    INSERT INTO refunds (id, purchase_id, supply_point_id, kind, state, reason, energy_wh, yuan_per_kwh,
           deposit_back_fen, debt_reopened_fen, kept_before_nfen, kept_after_nfen, paid_until_wh, order_no, deal_no,
           asked_by, asked_at)
    SELECT gen_random_uuid(), id, supply_point_id, 'refund', 'taking_back', 'r', 1, 1, 0, 0, 0, 0, 0, 9, 9,
           cashier_id, now() FROM purchases LIMIT 1
"""
_ASKED_BY_ANOTHER = """
    UPDATE approvals SET requested_by =
           (SELECT id FROM staff_members WHERE id NOT IN (requested_by, decided_by) LIMIT 1)
"""
_A_CLOSING = """
    INSERT INTO closings (id, contract_id, supply_point_id, state, outcome, reason, parts, reading_wh, remaining_wh,
           lent_wh, worth_fen, worth_nfen, overused_wh, overused_fen, deposit_fen, debt_fen, kept_before_nfen,
           kept_after_nfen, money_fen, order_no, asked_by, asked_at, ended_at)
    SELECT gen_random_uuid(), id, supply_point_id, '{state}', 'nothing', 'r', '[]', 0, 0, 0, {worth_fen}, 0, 0, 0,
           0, 0, 0, 0, 0, 1, (SELECT id FROM staff_members LIMIT 1), now(),
           CASE '{state}' WHEN 'finished' THEN now() END
      FROM supply_contracts LIMIT 1
"""
_A_CLOSE_WITHOUT_A_COUNT = """
    UPDATE shifts SET state = 'closed', closed_at = now(), seal = '', sealed = '', totals = '{}'
"""

_A_SEAL_MADE_ANEW = """
    UPDATE shifts SET sealed = replace(sealed, 'counted so', 'as it was'), reason = 'as it was',
           seal = sha256(convert_to(replace(sealed, 'counted so', 'as it was'), 'UTF8')),
           totals = replace(sealed, 'counted so', 'as it was')::jsonb
     WHERE state = 'closed'
"""

_A_GRANT_BEFORE_THE_OPENING = """
    INSERT INTO allowance_grants (id, supply_point_id, transaction_id, reason, energy_wh, paid_until_wh, order_no,
           granted_at)
    SELECT gen_random_uuid(), supply_point_id, gen_random_uuid(), 'emergency', 1, 1, 0, now() FROM opening_balances
"""
_A_GRANT_BEFORE_A_DEBT_WAS_OPENED = """
    WITH opened AS (UPDATE opening_balances SET order_no = NULL RETURNING supply_point_id)
    INSERT INTO allowance_grants (id, supply_point_id, transaction_id, reason, energy_wh, paid_until_wh, order_no,
           granted_at)
    SELECT gen_random_uuid(), supply_point_id, '00000000-0000-0000-0000-000000000001', 'emergency', 1, 1, 0, now()
      FROM opened
"""
_A_PURCHASE_BEFORE_THE_OPENING = """
    UPDATE purchases SET supply_point_id = (SELECT supply_point_id FROM opening_balances), order_no = 0
     WHERE id = (SELECT id FROM purchases WHERE order_no = 2 LIMIT 1)
"""
_A_PURCHASE_BEFORE_A_DEBT_WAS_OPENED = """
    WITH opened AS (UPDATE opening_balances SET order_no = NULL RETURNING supply_point_id)
    UPDATE purchases SET supply_point_id = opened.supply_point_id FROM opened WHERE order_no = 2
"""
_A_FALSE_FINAL_READING = """
    UPDATE terminal_exchanges SET old_final_wh = old_final_wh + 1, paid_until_before_wh = paid_until_before_wh + 1
"""
_A_FALSE_SHIFT = """
    UPDATE terminal_exchanges
       SET paid_until_after_wh = paid_until_after_wh + 1, paid_until_before_wh = paid_until_before_wh + 1
"""

_A_FALSE_PAYLOAD = """
    UPDATE audit_events SET payload = (payload::jsonb || '{{"{member}": "{value}"}}')::text WHERE seq = 1
"""

_A_CUT_UNDER_NO_POLICY = """
    WITH decided AS (
        INSERT INTO stage_decisions
               (id, supply_point_id, decided_at, trigger, stage_before, stage, because, held, facts)
        SELECT gen_random_uuid(), supply_point_id, issued_at, 'time', 'warning', 'limited', '[]', '[]', '{facts}'
          FROM commands RETURNING supply_point_id)
    UPDATE commands SET op = '{op}', command_class = 'cut', expires_at = issued_at,
           executed_at = issued_at, args = args || '{{"power_w": 1}}'
      FROM decided WHERE commands.supply_point_id = decided.supply_point_id
"""

#: What somebody with all rights might do, and the invariant that names the row.
TAMPERED = [
    ("UPDATE ledger_entries SET amount = amount + 1 WHERE line = 1", "I1 balanced"),
    ("DELETE FROM ledger_entries WHERE line = 2", "I1 one book"),
    ("UPDATE ledger_accounts SET balance = balance + 1 WHERE kind = 'deposit'", "I2 balances"),
    ("UPDATE ledger_accounts SET version = version + 1 WHERE kind = 'allowance'", "I2 balances"),
    ("UPDATE ledger_entries SET balance_after = balance_after + 1 WHERE account_version = 1", "I3 running balance"),
    ("UPDATE ledger_entries SET balance_after = -1 WHERE account_version = 1", "I4 floors"),
    ("UPDATE purchases SET paid_fen = paid_fen + 1", "I5 purchases"),
    ("UPDATE purchases SET energy_wh = energy_wh + 1", "I5 purchases"),
    (_A_REFUND_OF_NOTHING, "I5 refunds"),
    ("UPDATE ledger_accounts SET balance = 1 WHERE kind = 'emergency'", "I5 emergency credit"),
    ("DELETE FROM purchases WHERE order_no = 2", "I5 no orphans"),
    ("UPDATE allowances SET posted_supplied_wh = posted_supplied_wh + 1", "I6 grants"),
    ("UPDATE allowances SET paid_until_wh = paid_until_wh + 1", "I7 paid until"),
    ("UPDATE allowance_grants SET energy_wh = energy_wh + 1", "I7 paid until"),
    ("UPDATE purchases SET kept_after_nfen = kept_after_nfen + 1 WHERE order_no = 1", "I7 money to energy"),
    ("UPDATE opening_balances SET kept_fen = kept_fen + 1", "O1 openings"),
    ("DELETE FROM opening_balances", "O2 openings first"),
    (_A_PURCHASE_BEFORE_THE_OPENING, "O2 openings first"),
    (_A_PURCHASE_BEFORE_A_DEBT_WAS_OPENED, "O2 openings first"),
    (_A_GRANT_BEFORE_THE_OPENING, "O2 openings first"),
    (_A_GRANT_BEFORE_A_DEBT_WAS_OPENED, "O2 openings first"),
    ("UPDATE opening_balances SET remaining_wh = remaining_wh + 1", "O3 opening credits"),
    (_A_CLOSING.format(state="finished", worth_fen=0), "C1 closings"),
    (_A_CLOSING.format(state="closing", worth_fen=1), "C2 settlement"),
    (_A_CLOSING.format(state="closing", worth_fen=0), "C3 closing contracts"),
    ("UPDATE supply_contracts SET closing_since = now()", "C3 closing contracts"),
    ("UPDATE ledger_transactions SET kind = 'closing'", "I5 no orphans"),
    (_A_FALSE_FINAL_READING, "I7 paid until"),
    (_A_FALSE_SHIFT, "X1 exchanges"),
    ("UPDATE terminal_exchanges SET order_no = order_no + 1", "X2 exchange credits"),
    ("UPDATE commands SET ended_at = NULL, state = 'unknown'", "X3 retired terminals"),
    (_A_KEY_WITHOUT_ANSWER, "I8 keys"),
    (_A_FALSE_REVERSAL, "I9 reversals"),
    ("DELETE FROM receipts WHERE number = 1", "I14 receipt numbers"),
    ("UPDATE tills SET last_receipt_no = last_receipt_no + 1", "I14 receipt numbers"),
    ("UPDATE tenders SET amount_fen = amount_fen + 1", "I14 tenders"),
    ("UPDATE receipts SET amount_fen = amount_fen + 1", "I14 receipts of purchases"),
    ("UPDATE receipts SET amount_fen = amount_fen - 1 WHERE kind = 'refund'", "I14 receipts"),
    ("UPDATE receipts SET kind = 'payment' WHERE kind = 'refund'", "I14 receipts"),
    ("UPDATE receipts SET subject_id = gen_random_uuid() WHERE kind = 'cheque_returned'", "I14 receipts"),
    ("UPDATE cheques SET amount_fen = amount_fen + 1 WHERE state = 'in_clearing'", "I14 receipts"),
    ("DELETE FROM refunds", "I14 receipts"),
    ("DELETE FROM receipts WHERE kind = 'refund'", "I14 receipts"),
    ("UPDATE tenders SET kind = 'online' WHERE kind = 'cash' AND amount_fen < 0", "I14 tenders booked"),
    ("UPDATE tenders SET kind = 'card' WHERE kind = 'cheque'", "I14 tenders booked"),
    ("UPDATE ledger_transactions SET shift_id = NULL WHERE kind = 'reversal'", "I14 tenders booked"),
    ("UPDATE refunds SET money_transaction_id = NULL", "I14 tenders booked"),
    ("UPDATE tenders SET reference = 'another' WHERE kind = 'card' AND amount_fen < 0", "I14 given back as taken"),
    ("UPDATE tenders SET reference = 'another' WHERE kind = 'cheque' AND amount_fen < 0", "I14 given back as taken"),
    ("UPDATE ledger_transactions SET shift_id = NULL WHERE kind = 'float'", "I15 till entries"),
    ("UPDATE ledger_transactions SET shift_id = NULL WHERE kind = 'purchase'", "I15 till entries"),
    ("UPDATE ledger_transactions SET shift_id = gen_random_uuid() WHERE kind = 'close'", "I15 till entries"),
    ("UPDATE shifts SET float_fen = float_fen + 1", "I15 cash"),
    (_A_CLOSE_WITHOUT_A_COUNT, "I15 counted"),
    ("UPDATE shifts SET totals = jsonb_set(totals, '{float_fen}', '1') WHERE state = 'closed'", "I15 seals"),
    ("UPDATE shifts SET sealed = sealed || ' ' WHERE state = 'closed'", "I15 seals"),
    ("UPDATE shifts SET sealed = 'x', seal = sha256('x') WHERE state = 'closed'", "I15 seals"),
    ("UPDATE shifts SET totals = jsonb_set(totals, '{float_fen}', '\"much\"') WHERE state = 'closed'", "I15 seals"),
    ("UPDATE shift_counts SET cash_fen = cash_fen + 1", "I15 seals"),
    ("UPDATE tenders SET amount_fen = amount_fen + 1", "I15 seals"),
    (_A_SEAL_MADE_ANEW, "I15 seals"),
    ("UPDATE cheques SET amount_fen = amount_fen + 1 WHERE state = 'in_clearing'", "I15 cheques"),
    ("DELETE FROM cheques WHERE state = 'in_clearing'", "I15 cheques"),
    ("UPDATE cheques SET amount_fen = amount_fen + 1 WHERE state = 'cleared'", "I15 cleared cheques"),
    ("DELETE FROM cheques WHERE state = 'cleared'", "I15 cleared cheques"),
    ("UPDATE audit_events SET payload = payload || ' '", "I12 chains"),
    ("DELETE FROM audit_events WHERE seq = 2", "I12 chains"),
    ("UPDATE audit_events SET subject = 'somebody else' WHERE seq = 1", "I12 columns"),
    ("UPDATE audit_events SET payload = 'no JSON' WHERE seq = 1", "I12 columns"),
    ("UPDATE audit_events SET payload = '[]' WHERE seq = 1", "I12 columns"),
    ("UPDATE audit_events SET payload = repeat('[', 100000) WHERE seq = 1", "I12 columns"),
    (_A_FALSE_PAYLOAD.format(member="at", value="yesterday, perhaps"), "I12 columns"),
    (_A_FALSE_PAYLOAD.format(member="actor_id", value="nobody"), "I12 columns"),
    (_A_FALSE_PAYLOAD.format(member="transaction_ids", value="none"), "I12 columns"),
    ("DELETE FROM audit_events WHERE (stream, seq) IN (SELECT stream, seq FROM audit_heads)", "I12 heads"),
    ("UPDATE audit_events SET transaction_ids = '{}'", "I12 coverage"),
    ("UPDATE terminals SET last_order_no = 1", "P1 order numbers"),
    ("UPDATE commands SET args = args || '{\"value_wh\": 1}'", "P2 credits"),
    ("UPDATE commands SET args = args || '{\"value_wh\": \"much\"}'", "P2 credits"),
    ("UPDATE terminal_live SET state = '{\"order_no\": 9, \"paid_until_wh\": 1}'", "P3 terminal agrees"),
    ("UPDATE terminal_live SET state = '{\"order_no\": 1, \"paid_until_wh\": 99000000000}'", "P3 terminal agrees"),
    ("UPDATE commands SET op = 'trip', command_class = 'cut', expires_at = now(), executed_at = now()", "P4 cuts"),
    ("UPDATE site_codes SET paid_until_wh = paid_until_wh + 1", "P7 site codes"),
    ("UPDATE site_codes SET order_no = order_no + 1", "P7 site codes"),
    ("UPDATE commands SET attempts = 0", "P7 site codes"),
    ("UPDATE approvals SET result = '{\"command_ids\": []}'", "P5 two persons"),
    ("UPDATE approvals SET state = 'refused', result = NULL", "P5 two persons"),
    (_ASKED_BY_ANOTHER, "P5 two persons"),
    ("UPDATE approvals SET digest = repeat('0', 64)", "P5 decided in the record"),
    ("UPDATE approvals SET wanted = '{}'", "P5 decided in the record"),
    ("UPDATE approvals SET lapses_at = decided_at - interval '1 s'", "P5 decided in the record"),
    ("DELETE FROM audit_events WHERE action = 'approval.approved'", "P5 decided in the record"),
    ("DELETE FROM audit_events WHERE action = 'approval.asked'", "P5 decided in the record"),
    (_A_CUT_UNDER_NO_POLICY.format(op="trip", facts='{"policy": null}'), "P6 policies"),
    (_A_CUT_UNDER_NO_POLICY.format(op="limit", facts='{"policy": {"version": 99}}'), "P6 policies"),
    (_A_CUT_UNDER_NO_POLICY.format(op="limit", facts='{"policy": {"version": "none"}}'), "P6 policies"),
]  # fmt: skip


@pytest.fixture
def worked(database: Database) -> Database:
    a_days_work(database)
    return database


def a_days_work(database: Database) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session, price="0.8137")
        a_terminal(session, supply_point_id=contract.supply_point_id)
        for paid_fen in (1_680_001, 77):
            a_purchase(session, contract=contract, now=NOW, paid_fen=paid_fen)
        _take_cheques_and_close(session)
        _reverse_a_purchase(session)
        a_site_code(session, now=NOW)
        _limit_by_two(session)
        taken_over = a_contract(session)
        a_terminal(session, supply_point_id=taken_over.supply_point_id)
        opening = Opening(
            contract_no=taken_over.contract_no, reading_wh=1000, remaining_wh=5000, energy_paid_fen=400, debt_fen=0,
            kept_fen=12,
        )  # fmt: skip
        by = a_person(session, role=Role.ACCOUNT_MANAGER).id
        open_balance(session, opening, by=by, pace=Pace(clock=Clock(), report_interval_s=900), now=NOW)
        an_exchange(session, supply_point_id=taken_over.supply_point_id, by=by, now=NOW, old_final_wh=2000)


def _take_cheques_and_close(session: Session) -> None:
    """Cheques in clearing, cleared and returned, at a till whose shift is closed a little short."""
    contract, cashier = a_contract(session), a_person(session, role=Role.CASHIER)
    a_terminal(session, supply_point_id=contract.supply_point_id)
    a_cheque(session, contract=contract, cashier=cashier, now=NOW, cheque_no="1")
    cleared = a_cheque(session, contract=contract, cashier=cashier, now=NOW, cheque_no="2")
    clear(session, cleared, bank_reference="B-1", cashier_id=cashier.id, pace=PACE, now=NOW)
    returned = a_cheque(session, contract=contract, cashier=cashier, now=NOW, cheque_no="3")
    give_back(session, returned, reason="not covered", cashier_id=cashier.id, now=NOW)
    a_purchase(session, contract=contract, cashier=cashier, now=NOW, paid_fen=100)
    a_closed_shift(session, cashier=cashier, cash_fen=99, now=NOW)


def _limit_by_two(session: Session) -> None:
    """A limit by hand, asked for by one person and approved by another."""
    point = a_contract(session).supply_point_id
    terminal = a_terminal(session, supply_point_id=point)
    a_live_terminal(session, terminal_id=terminal.id, now=NOW, state=a_state(paid_until_wh=0), supplied_wh=0)
    order = {"action": "limit", "supply_point_id": str(point), "reason": "a test", "arguments": {"power_w": 300_000}}
    an_approved_cut(session, orders=[order], now=NOW)


def _reverse_a_purchase(session: Session) -> None:
    """A mistaken sale for cash and by card, whose money an approver has let go."""
    contract, cashier = a_contract(session), a_person(session, role=Role.CASHIER)
    approver = a_person(session, role=Role.APPROVER)
    terminal = a_terminal(session, supply_point_id=contract.supply_point_id)
    an_open_shift(session, cashier=cashier, float_fen=5000)
    a_purchase(session, contract=contract, cashier=cashier, now=NOW)
    tenders = (
        Tender(kind=TenderKind.CASH, amount_fen=60_000),
        Tender(kind=TenderKind.CARD, amount_fen=20_000, reference="4711"),
    )
    sale = Sale(contract_no=contract.contract_no, paid_fen=80_000, cashier_id=cashier.id, tenders=tenders)
    sold = sell_energy(session, sale, pace=PACE, now=NOW)
    state = a_state(order_no=2, paid_until_wh=sold.paid_until_wh)
    a_live_terminal(session, terminal_id=terminal.id, now=NOW, state=state, supplied_wh=0)
    new = NewRefund(
        purchase_no=sold.purchase_no, kind=RefundKind.REVERSAL, energy_wh=None, reason="typed twice",
        asked_by=cashier.id,
    )  # fmt: skip
    refund = ask(session, new, alone_fen=None, pace=PACE, now=NOW)
    release(session, refund.id, because="seen on site", approver_id=approver.id, now=NOW)
    pay_out(session, refund.id, tender=tenders[0], cashier_id=cashier.id, now=NOW)


def test_a_days_work_breaks_nothing(worked: Database) -> None:
    with transaction(worked.engine) as session:
        assert [row for one in INVARIANTS for row in find_broken(session, one)] == []


@pytest.mark.parametrize("remaining_wh", [0, 5000])
def test_a_sale_that_began_before_an_opening_and_waited_for_it_breaks_nothing(
    database: Database, remaining_wh: int
) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id)
        opening = Opening(
            contract_no=contract.contract_no, reading_wh=1000, remaining_wh=remaining_wh, energy_paid_fen=0,
            debt_fen=7, kept_fen=0,
        )  # fmt: skip
        by = a_person(session, role=Role.ACCOUNT_MANAGER).id
        open_balance(session, opening, by=by, pace=PACE, now=NOW + timedelta(seconds=1))
        a_purchase(session, contract=contract, now=NOW)
    with transaction(database.engine) as session:
        assert [row for one in INVARIANTS for row in find_broken(session, one)] == []


@pytest.fixture(scope="module")
def superuser(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Engine]:
    """Somebody with all rights in a database after a day's work, which every test here leaves as it was."""
    with a_database(postgres, template_database) as worked:
        a_days_work(worked)
        engine = create_engine(worked.superuser_url)
        yield engine
        engine.dispose()


@pytest.mark.parametrize(("change", "name"), TAMPERED, ids=[f"{name}-{n}" for n, (_, name) in enumerate(TAMPERED)])
def test_a_changed_row_is_named(superuser: Engine, change: str, name: str) -> None:
    invariant = next(one for one in INVARIANTS if one.name == name)
    with Session(superuser) as session:
        session.execute(text("SET session_replication_role = replica"))  # triggers and foreign keys look away
        assert not find_broken(session, invariant)
        assert session.execute(text(change)).rowcount > 0  # type: ignore[attr-defined]
        assert find_broken(session, invariant)


_PURCHASES_OF_NO_ENERGY = """
    WITH bought AS (SELECT 45 AS paid_fen, 0 AS debt_paid_fen, 0 AS energy_wh, 0 AS emergency_repaid_wh,
           0 AS kept_before_nfen, 45000000000 AS kept_after_nfen, 'T' AS terminal_id,
           gen_random_uuid() AS supply_point_id, NULL AS energy_transaction_id)
    INSERT INTO purchases
    SELECT (jsonb_populate_record(purchase, to_jsonb(bought) || jsonb_build_object(
               'id', gen_random_uuid(), 'purchase_no', 'OF-NO-ENERGY-' || n, 'order_no', n,
               'money_transaction_id', gen_random_uuid(), 'receipt_id', gen_random_uuid()))).*
      FROM bought, generate_series(1, 20) AS n, purchases AS purchase
     WHERE purchase.id = (SELECT min(id::text)::uuid FROM purchases)
"""
_THEIR_REVERSALS_UNDER_THEIR_NUMBERS = """
    INSERT INTO refunds
    SELECT (jsonb_populate_record(refund, jsonb_build_object(
               'id', gen_random_uuid(), 'purchase_id', purchase.id, 'supply_point_id', purchase.supply_point_id,
               'energy_wh', 0, 'deposit_back_fen', 45, 'kept_before_nfen', 45000000000, 'kept_after_nfen', 0,
               'deal_no', purchase.order_no, 'energy_transaction_id', gen_random_uuid(),
               'money_transaction_id', gen_random_uuid(), 'receipt_id', gen_random_uuid()))).*
      FROM purchases AS purchase, refunds AS refund
     WHERE purchase.terminal_id = 'T' AND refund.kind = 'reversal' ORDER BY purchase.order_no DESC
"""


def test_a_reversal_from_before_deals_were_numbered_comes_after_its_purchase(superuser: Engine) -> None:
    invariant = next(one for one in INVARIANTS if one.name == "I7 money to energy")
    with Session(superuser) as session:
        session.execute(text("SET session_replication_role = replica"))
        session.execute(text(_PURCHASES_OF_NO_ENERGY))
        session.execute(text(_THEIR_REVERSALS_UNDER_THEIR_NUMBERS))
        assert find_broken(session, invariant) == []


def test_every_invariant_is_tampered_with_above() -> None:
    assert {name for _, name in TAMPERED} == {one.name for one in INVARIANTS}


def wattgate_verify(url: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "WATTGATE_DATABASE_URL": url,
        "WATTGATE_TOKEN_SECRET": "x" * 32,
        "WATTGATE_SIGNING_KEY_FILE": "/nowhere",
    }
    command = [sys.executable, "-m", "app.cli", "verify"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def as_owner(database: Database, *statements: str) -> None:
    owner = connect(database.owner_url, pool_size=1)
    with owner.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    owner.dispose()


def test_the_command_exits_with_1_and_prints_the_row(worked: Database) -> None:
    clean = wattgate_verify(worked.application_url)
    assert clean.returncode == 0
    assert [line.split()[0] for line in clean.stdout.splitlines()] == ["holds"] * len(INVARIANTS)
    as_owner(worked, "UPDATE ledger_accounts SET balance = balance + 1 WHERE kind = 'deposit'")
    broken = wattgate_verify(worked.application_url)
    assert broken.returncode == 1
    assert "broken I2 balances" in broken.stdout
    assert "'kind': 'deposit'" in broken.stdout


def test_an_invariant_that_cannot_be_checked_is_named_and_stops_no_other(worked: Database) -> None:
    as_owner(worked, "DROP FUNCTION moment_or_null(text)")
    unchecked = wattgate_verify(worked.application_url)
    assert unchecked.returncode == 2
    told = [line for line in unchecked.stdout.splitlines() if not line.startswith("holds")]
    assert told[0].startswith("could not be checked I12 columns")
    assert "moment_or_null" in told[1]
    assert len(unchecked.stdout.splitlines()) - len(told) == len(INVARIANTS) - 1
    as_owner(worked, "UPDATE ledger_accounts SET balance = balance + 1 WHERE kind = 'deposit'")
    both = wattgate_verify(worked.application_url)
    assert both.returncode == 1
    assert "could not be checked I12 columns" in both.stdout


def test_a_database_that_is_away_was_not_checked() -> None:
    away = wattgate_verify("postgresql+psycopg://x@127.0.0.1:9/x")
    assert away.returncode == 2
    assert away.stdout == ""
    assert "does not answer" in away.stderr


@pytest.mark.parametrize(
    ("change", "code"),
    [("SELECT 1", 2), ("UPDATE ledger_accounts SET balance = balance + 1 WHERE kind = 'deposit'", 1)],
)
def test_a_database_that_goes_away_meanwhile_is_told_with_what_was_not_reached(
    worked: Database, postgres: EmbeddedPostgres, change: str, code: int
) -> None:
    as_owner(worked, change)
    waits = """
        SELECT pid FROM pg_stat_activity
         WHERE datname = :name AND application_name = 'wattgate verify' AND wait_event_type = 'Lock'
    """
    owner = create_engine(worked.owner_url)
    beside = create_engine(postgres.superuser_url("postgres"), isolation_level="AUTOCOMMIT")
    with owner.connect() as at_tills, beside.connect() as killer, ThreadPoolExecutor(1) as pool:
        at_tills.execute(text("LOCK TABLE tills"))
        command = pool.submit(wattgate_verify, worked.application_url)
        while (waiting := killer.scalar(text(waits), {"name": worked.name})) is None:
            assert not command.done()
            sleep(0.01)
        killer.execute(text(f"ALTER DATABASE {worked.name} ALLOW_CONNECTIONS false"))
        killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": waiting})
        told = command.result()
    owner.dispose()
    beside.dispose()
    assert told.returncode == code
    assert "Traceback" not in told.stderr
    assert "does not answer any more" in told.stderr
    reached = [one for one in INVARIANTS if f" {one.name}: " in told.stdout]
    not_reached = INVARIANTS[len(reached) :]
    assert reached == list(INVARIANTS[: len(reached)])
    assert not_reached
    assert ", ".join(one.name for one in not_reached) in told.stderr
    assert f"could not be checked {reached[-1].name}" in told.stdout
