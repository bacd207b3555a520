"""The invariants of both books and of what hangs on them: each one a query that returns the rows that break it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

_SHOWN_AT_MOST = 20


@dataclass(frozen=True, kw_only=True)
class Invariant:
    """``query`` returns the rows that break it; each column says what is to be known of the row."""

    name: str
    says: str
    query: str


INVARIANTS = (
    Invariant(
        name="I1 balanced",
        says="the lines of each transaction sum to zero",
        query="""
            SELECT transaction_id, sum(amount) AS total FROM ledger_entries
             GROUP BY transaction_id HAVING sum(amount) <> 0
        """,
    ),
    Invariant(
        name="I1 one book",
        says="each transaction has two lines or more, all in its own book",
        query="""
            SELECT transaction.id AS transaction_id, count(entry.line) AS lines,
                   count(*) FILTER (WHERE account.book <> transaction.book) AS in_the_other_book
              FROM ledger_transactions AS transaction
              LEFT JOIN ledger_entries AS entry ON entry.transaction_id = transaction.id
              LEFT JOIN ledger_accounts AS account ON account.id = entry.account_id
             GROUP BY transaction.id
            HAVING count(entry.line) < 2 OR count(*) FILTER (WHERE account.book <> transaction.book) > 0
        """,
    ),
    Invariant(
        name="I2 balances",
        says="each kept balance is the sum of its entries, and its version their number",
        query="""
            SELECT account.id AS account_id, account.kind, account.balance, account.version,
                   coalesce(sum(entry.amount), 0) * account.normal_side AS sum_of_entries,
                   count(entry.line) AS entries
              FROM ledger_accounts AS account LEFT JOIN ledger_entries AS entry ON entry.account_id = account.id
             WHERE account.balance IS NOT NULL
             GROUP BY account.id
            HAVING account.balance <> coalesce(sum(entry.amount), 0) * account.normal_side
                OR account.version <> count(entry.line)
        """,
    ),
    Invariant(
        name="I3 running balance",
        says="each entry's balance is the one before it plus its amount",
        query="""
            SELECT transaction_id, line, account_id, balance_after, expected FROM (
                SELECT entry.*, account.normal_side * entry.amount
                       + coalesce(lag(entry.balance_after) OVER (
                             PARTITION BY entry.account_id ORDER BY entry.account_version), 0) AS expected
                  FROM ledger_entries AS entry JOIN ledger_accounts AS account ON account.id = entry.account_id
                 WHERE entry.balance_after IS NOT NULL) AS running
             WHERE balance_after <> expected
        """,
    ),
    Invariant(
        name="I4 floors",
        says="no account was below its floor, at any version",
        query="""
            SELECT entry.transaction_id, entry.line, account.kind, entry.balance_after, account.floor
              FROM ledger_entries AS entry JOIN ledger_accounts AS account ON account.id = entry.account_id
             WHERE account.floor IS NOT NULL AND entry.balance_after < account.floor
        """,
    ),
    Invariant(
        name="I5 purchases",
        says="each purchase has its money in the till and its energy in the allowance, to the fen and the Wh",
        query="""
            SELECT purchase.purchase_no, purchase.paid_fen, money.amount AS till_fen,
                   purchase.energy_wh, -energy.amount AS granted_wh
              FROM purchases AS purchase
              LEFT JOIN (SELECT entry.transaction_id, entry.amount FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind = 'till') AS money ON money.transaction_id = purchase.money_transaction_id
              LEFT JOIN (SELECT entry.transaction_id, entry.amount FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind = 'allowance') AS energy
                ON energy.transaction_id = purchase.energy_transaction_id
             WHERE money.amount IS DISTINCT FROM purchase.paid_fen
                OR coalesce(-energy.amount, 0) <> purchase.energy_wh
        """,
    ),
    Invariant(
        name="I5 no orphans",
        says="each transaction of a purchase belongs to exactly one purchase",
        query="""
            SELECT transaction.id AS transaction_id, transaction.business_key
              FROM ledger_transactions AS transaction
             WHERE transaction.kind = 'purchase' AND NOT EXISTS (
                   SELECT FROM purchases AS purchase
                    WHERE transaction.id IN (purchase.money_transaction_id, purchase.energy_transaction_id))
        """,
    ),
    Invariant(
        name="I6 grants",
        says="the allowance account holds what was granted less what was posted as supplied",
        query="""
            SELECT allowance.supply_point_id, account.balance AS account_wh,
                   coalesce(granted.energy_wh, 0) - (allowance.posted_supplied_wh - allowance.opening_supplied_wh)
                   AS expected_wh
              FROM allowances AS allowance
              JOIN ledger_accounts AS account
                ON account.supply_point_id = allowance.supply_point_id AND account.kind = 'allowance'
              LEFT JOIN (SELECT supply_point_id, sum(energy_wh) AS energy_wh
                           FROM allowance_grants GROUP BY supply_point_id) AS granted
                ON granted.supply_point_id = allowance.supply_point_id
             WHERE account.balance <> coalesce(granted.energy_wh, 0)
                   - (allowance.posted_supplied_wh - allowance.opening_supplied_wh)
        """,
    ),
    Invariant(
        name="I7 paid until",
        says="paid-until is the opening reading plus every grant, at each grant and now",
        query="""
            SELECT supply_point_id, grant_id, paid_until_wh, expected_wh FROM (
                SELECT allowance.supply_point_id, given.id AS grant_id, given.paid_until_wh,
                       allowance.opening_supplied_wh + sum(given.energy_wh) OVER (
                           PARTITION BY allowance.supply_point_id ORDER BY given.order_no, given.id) AS expected_wh
                  FROM allowance_grants AS given JOIN allowances AS allowance USING (supply_point_id)
                UNION ALL
                SELECT allowance.supply_point_id, NULL, allowance.paid_until_wh,
                       allowance.opening_supplied_wh + coalesce((SELECT sum(energy_wh) FROM allowance_grants AS given
                           WHERE given.supply_point_id = allowance.supply_point_id), 0)
                  FROM allowances AS allowance) AS expected
             WHERE paid_until_wh <> expected_wh
        """,
    ),
    Invariant(
        name="I7 money to energy",
        says="what each purchase paid in is energy at its price or money kept, to the nano-fen, purchase after purchase",
        query="""
            SELECT purchase_no, kept_before_nfen, kept_after_nfen, expected_before_nfen FROM (
                SELECT purchase.*, coalesce(lag(kept_after_nfen) OVER (
                           PARTITION BY supply_point_id ORDER BY purchase.order_no), opening.kept_fen * 1000000000, 0)
                       AS expected_before_nfen
                  FROM purchases AS purchase LEFT JOIN opening_balances AS opening USING (supply_point_id)) AS chain
             WHERE kept_before_nfen <> expected_before_nfen
                OR (paid_fen - debt_paid_fen) * 1000000000::numeric + kept_before_nfen
                   <> energy_wh * (yuan_per_kwh * 100000000) + kept_after_nfen
        """,
    ),
    Invariant(
        name="I8 keys",
        says="each stored request key has its answer",
        query="SELECT scope, key FROM idempotency_keys WHERE status IS NULL OR body IS NULL",
    ),
    Invariant(
        name="I9 reversals",
        says="a reversing transaction has the lines of the one it reverses, turned round",
        query="""
            SELECT reversal.id AS transaction_id, reversal.reverses_id
              FROM ledger_transactions AS reversal
              JOIN ledger_entries AS entry ON entry.transaction_id IN (reversal.id, reversal.reverses_id)
             WHERE reversal.reverses_id IS NOT NULL
             GROUP BY reversal.id, entry.account_id HAVING sum(entry.amount) <> 0
        """,
    ),
    Invariant(
        name="O1 openings",
        says="each opening has its money, its debt and its energy in the books, to the fen and the Wh",
        query="""
            SELECT opening.supply_point_id, -deposit.amount AS deposit_fen, receivable.amount AS receivable_fen,
                   -energy.amount AS granted_wh, given.paid_until_wh
              FROM opening_balances AS opening
              LEFT JOIN (ledger_entries AS deposit JOIN ledger_accounts AS deposits
                           ON deposits.id = deposit.account_id AND deposits.kind = 'deposit')
                ON deposit.transaction_id = opening.money_transaction_id
              LEFT JOIN (ledger_entries AS receivable JOIN ledger_accounts AS receivables
                           ON receivables.id = receivable.account_id AND receivables.kind = 'receivable')
                ON receivable.transaction_id = opening.money_transaction_id
              LEFT JOIN (ledger_entries AS energy JOIN ledger_accounts AS energies
                           ON energies.id = energy.account_id AND energies.kind = 'allowance')
                ON energy.transaction_id = opening.energy_transaction_id
              LEFT JOIN allowance_grants AS given ON given.transaction_id = opening.energy_transaction_id
             WHERE coalesce(-deposit.amount, 0) <> opening.energy_paid_fen + opening.kept_fen
                OR coalesce(receivable.amount, 0) <> opening.debt_fen
                OR coalesce(-energy.amount, 0) <> opening.granted_wh
                OR coalesce(given.energy_wh, 0) <> opening.granted_wh
                OR given.paid_until_wh <> opening.reading_wh + opening.remaining_wh
        """,
    ),
    Invariant(
        name="O2 openings first",
        says="an opening is the first thing in the books of its supply point, and each opening transaction has one",
        query="""
            SELECT opening.supply_point_id, purchase.purchase_no AS before, NULL AS business_key
              FROM opening_balances AS opening JOIN purchases AS purchase USING (supply_point_id)
             WHERE purchase.order_no <= opening.order_no OR purchase.booked_at < opening.opened_at
            UNION ALL
            SELECT NULL, NULL, transaction.business_key FROM ledger_transactions AS transaction
             WHERE transaction.kind = 'opening' AND NOT EXISTS (
                   SELECT FROM opening_balances AS opening
                    WHERE transaction.id IN (opening.money_transaction_id, opening.energy_transaction_id))
        """,
    ),
    Invariant(
        name="O3 opening credits",
        says="each opening that brought energy has a credit order that says the same",
        query="""
            SELECT opening.supply_point_id, command.id AS command_id, command.args
              FROM opening_balances AS opening LEFT JOIN commands AS command ON command.id = opening.command_id
             WHERE opening.remaining_wh > 0
               AND (command.id IS NULL OR (command.args->>'order_no')::bigint IS DISTINCT FROM opening.order_no
                    OR (command.args->>'value_wh')::bigint <> opening.remaining_wh
                    OR (command.args->>'paid_until_wh')::bigint <> opening.reading_wh + opening.remaining_wh)
        """,
    ),
    Invariant(
        name="P1 order numbers",
        says="order numbers of a terminal rise with its purchases and never pass its counter",
        query="""
            SELECT purchase_no, terminal_id, order_no, before_no, last_order_no FROM (
                SELECT purchase.purchase_no, purchase.terminal_id, purchase.order_no, terminal.last_order_no,
                       lag(purchase.order_no) OVER (PARTITION BY purchase.terminal_id
                                                      ORDER BY CAST(substring(purchase.purchase_no FROM 11) AS bigint)) AS before_no
                  FROM purchases AS purchase JOIN terminals AS terminal ON terminal.id = purchase.terminal_id) AS orders
             WHERE order_no <= before_no OR order_no > last_order_no
        """,
    ),
    Invariant(
        name="P2 credits",
        says="each purchase that bought energy has a credit order that says the same",
        query="""
            SELECT purchase.purchase_no, command.id AS command_id, command.args
              FROM purchases AS purchase LEFT JOIN commands AS command ON command.id = purchase.command_id
             WHERE purchase.energy_wh > 0
               AND (command.id IS NULL OR (command.args->>'order_no')::bigint <> purchase.order_no
                    OR (command.args->>'value_wh')::bigint <> purchase.energy_wh
                    OR (command.args->>'paid_until_wh')::bigint <> purchase.paid_until_wh)
        """,
    ),
    Invariant(
        name="P3 terminal agrees",
        says="no terminal holds an order or a paid-until beyond the books",
        query="""
            SELECT live.terminal_id, live.state->>'order_no' AS terminal_order_no, terminal.last_order_no,
                   live.state->>'paid_until_wh' AS terminal_paid_until_wh, allowance.paid_until_wh
              FROM terminal_live AS live
              JOIN terminals AS terminal ON terminal.id = live.terminal_id
              JOIN allowances AS allowance ON allowance.supply_point_id = terminal.supply_point_id
             WHERE (live.state->>'order_no')::bigint > terminal.last_order_no
                OR ((live.state->>'order_no')::bigint = terminal.last_order_no AND terminal.last_order_no > 0
                    AND (live.state->>'paid_until_wh')::bigint <> allowance.paid_until_wh)
        """,
    ),
    Invariant(
        name="P4 cuts",
        says="no trip was executed without a served written notice of its supply point, unless a person ordered it",
        query="""
            SELECT command.id AS command_id, command.supply_point_id, command.executed_at
              FROM commands AS command
             WHERE command.op = 'trip' AND command.executed_at IS NOT NULL AND command.requested_by IS NULL
               AND NOT EXISTS (SELECT FROM notices AS notice
                                WHERE notice.supply_point_id = command.supply_point_id AND notice.kind = 'written'
                                  AND notice.served_at < command.executed_at
                                  AND notice.cut_not_before <= command.executed_at)
        """,
    ),
)


def find_broken(session: Session, invariant: Invariant) -> list[dict[str, Any]]:
    """Return up to twenty rows that break the invariant; none means that it holds."""
    rows = session.execute(text(f"{invariant.query} LIMIT {_SHOWN_AT_MOST}")).mappings()
    return [dict(row) for row in rows]
