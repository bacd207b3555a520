"""Invariants of the two books, of allowances, and of purchases and request keys."""

from app.verification.invariant import Invariant

BOOKS = (
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
        says="each purchase has its money in till and bank and its energy in the allowance, to the fen and the Wh",
        query="""
            SELECT purchase.purchase_no, purchase.paid_fen, money.amount AS taken_fen,
                   purchase.energy_wh, -energy.amount AS granted_wh
              FROM purchases AS purchase
              LEFT JOIN (SELECT entry.transaction_id, sum(entry.amount) AS amount FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind IN ('till', 'bank') GROUP BY entry.transaction_id) AS money
                ON money.transaction_id = purchase.money_transaction_id
              LEFT JOIN (SELECT entry.transaction_id, entry.amount FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind = 'allowance') AS energy
                ON energy.transaction_id = purchase.energy_transaction_id
             WHERE money.amount IS DISTINCT FROM purchase.paid_fen
                OR coalesce(-energy.amount, 0) <> purchase.energy_wh - purchase.emergency_repaid_wh
        """,
    ),
    Invariant(
        name="I5 refunds",
        says="each refund took its energy out of the allowance, and paid its money out of till and bank, or none yet",
        query="""
            SELECT refund.id AS refund_id, refund.state, refund.energy_wh, energy.amount AS taken_wh,
                   refund.deposit_back_fen + refund.debt_reopened_fen AS money_fen, -money.amount AS paid_fen
              FROM refunds AS refund
              LEFT JOIN (SELECT entry.transaction_id, entry.amount FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind = 'allowance') AS energy
                ON energy.transaction_id = refund.energy_transaction_id
              LEFT JOIN (SELECT entry.transaction_id, sum(entry.amount) AS amount FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind IN ('till', 'bank') GROUP BY entry.transaction_id) AS money
                ON money.transaction_id = refund.money_transaction_id
             WHERE coalesce(energy.amount, 0) <> refund.energy_wh
                OR (refund.state = 'paid_out') <> (refund.money_transaction_id IS NOT NULL)
                OR (refund.state = 'paid_out'
                    AND coalesce(-money.amount, 0) <> refund.deposit_back_fen + refund.debt_reopened_fen)
        """,
    ),
    Invariant(
        name="I5 emergency credit",
        says="what is lent is what was lent less what purchases, withdrawn reversals and closings gave back",
        query="""
            SELECT account.supply_point_id, account.balance AS lent_wh,
                   coalesce(given.energy_wh, 0) - coalesce(repaid.energy_wh, 0) - coalesce(closed.lent_wh, 0)
                   AS expected_wh
              FROM ledger_accounts AS account
              LEFT JOIN (SELECT supply_point_id, sum(energy_wh) AS energy_wh FROM emergency_credits GROUP BY 1) AS given
                ON given.supply_point_id = account.supply_point_id
              LEFT JOIN (SELECT supply_point_id, sum(energy_wh) AS energy_wh
                           FROM (SELECT purchase.supply_point_id, purchase.emergency_repaid_wh AS energy_wh
                                   FROM purchases AS purchase
                                 UNION ALL
                                 SELECT purchase.supply_point_id, -purchase.emergency_repaid_wh
                                   FROM refunds AS refund JOIN purchases AS purchase ON purchase.id = refund.purchase_id
                                  WHERE refund.kind = 'reversal'
                                 UNION ALL
                                 SELECT refund.supply_point_id, -entry.amount
                                   FROM refunds AS refund
                                   JOIN ledger_entries AS entry ON entry.transaction_id = refund.regrant_transaction_id
                                   JOIN ledger_accounts AS lent
                                     ON lent.id = entry.account_id AND lent.kind = 'emergency') AS moved
                          GROUP BY 1) AS repaid ON repaid.supply_point_id = account.supply_point_id
              LEFT JOIN (SELECT supply_point_id, sum(lent_wh) AS lent_wh FROM closings
                          WHERE state <> 'withdrawn' GROUP BY 1) AS closed
                ON closed.supply_point_id = account.supply_point_id
             WHERE account.kind = 'emergency'
               AND account.balance <> coalesce(given.energy_wh, 0) - coalesce(repaid.energy_wh, 0)
                   - coalesce(closed.lent_wh, 0)
        """,
    ),
    Invariant(
        name="I5 no orphans",
        says="each transaction of a purchase or a closing belongs to exactly one",
        query="""
            SELECT transaction.id AS transaction_id, transaction.business_key
              FROM ledger_transactions AS transaction
             WHERE transaction.kind = 'purchase' AND NOT EXISTS (
                   SELECT FROM purchases AS purchase
                    WHERE transaction.id IN (purchase.money_transaction_id, purchase.energy_transaction_id))
                OR transaction.kind IN ('closing', 'closing withdrawn') AND NOT EXISTS (
                   SELECT FROM closings AS closing
                    WHERE transaction.id IN (closing.money_transaction_id, closing.energy_transaction_id,
                                             closing.again_transaction_id))
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
                           PARTITION BY allowance.supply_point_id ORDER BY given.order_no, given.id)
                       -- Readings from before an exchange are of the old counter.
                       - coalesce((SELECT sum(exchange.new_start_wh - exchange.old_final_wh)
                                     FROM terminal_exchanges AS exchange
                                    WHERE exchange.supply_point_id = given.supply_point_id
                                      AND (exchange.order_no, exchange.id) > (given.order_no, given.id)), 0)
                       AS expected_wh
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
        says="money paid in or back is energy at its price or money kept, to the nano-fen, one purchase after the other",
        query="""
            SELECT purchase_no, what, kept_before_nfen, kept_after_nfen, expected_before_nfen FROM (
                SELECT moved.*, coalesce(lag(kept_after_nfen) OVER (
                           -- Reversals of before deals were numbered have the number of their purchase.
                           PARTITION BY supply_point_id ORDER BY moved.order_no, moved.step),
                           opening.kept_fen * 1000000000, 0) AS expected_before_nfen
                  FROM (SELECT supply_point_id, order_no, 0 AS step, purchase_no, 'purchase' AS what,
                               kept_before_nfen, kept_after_nfen, paid_fen - debt_paid_fen AS into_deposit_fen,
                               energy_wh, yuan_per_kwh
                          FROM purchases
                        UNION ALL
                        SELECT refund.supply_point_id, refund.deal_no, 1, purchase.purchase_no, refund.kind,
                               refund.kept_before_nfen, refund.kept_after_nfen, -refund.deposit_back_fen,
                               -refund.energy_wh - CASE WHEN refund.kind = 'reversal'
                                                        THEN purchase.emergency_repaid_wh ELSE 0 END,
                               refund.yuan_per_kwh
                          FROM refunds AS refund JOIN purchases AS purchase ON purchase.id = refund.purchase_id
                        UNION ALL
                        SELECT refund.supply_point_id, refund.regrant_order_no, 2, purchase.purchase_no,
                               'withdrawal', refund.regrant_kept_before_nfen, refund.regrant_kept_after_nfen,
                               refund.deposit_back_fen, refund.regranted_wh, refund.yuan_per_kwh
                          FROM refunds AS refund JOIN purchases AS purchase ON purchase.id = refund.purchase_id
                         WHERE refund.state = 'withdrawn') AS moved
                  LEFT JOIN opening_balances AS opening USING (supply_point_id)) AS chain
             WHERE kept_before_nfen <> expected_before_nfen
                OR into_deposit_fen * 1000000000::numeric + kept_before_nfen
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
)
