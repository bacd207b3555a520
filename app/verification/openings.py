"""Invariants of opening balances: what customers brought along stands first and whole in the books."""

from app.verification.invariant import Invariant

OPENINGS = (
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
             -- An opening without energy has no order; ids rise under the lock of the supply account, and times,
             -- which are taken when a request begins, need not.
             WHERE purchase.order_no <= opening.order_no OR (opening.order_no IS NULL AND purchase.money_transaction_id
                   < coalesce(opening.energy_transaction_id, opening.money_transaction_id))
            UNION ALL
            SELECT opening.supply_point_id, given.reason, NULL
              FROM opening_balances AS opening JOIN allowance_grants AS given USING (supply_point_id)
             WHERE given.transaction_id IS DISTINCT FROM opening.energy_transaction_id
               AND (given.order_no <= opening.order_no OR (opening.order_no IS NULL AND given.transaction_id
                    < coalesce(opening.energy_transaction_id, opening.money_transaction_id)))
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
               AND (command.args->'order_no' IS DISTINCT FROM to_jsonb(opening.order_no)
                    OR command.args->'value_wh' IS DISTINCT FROM to_jsonb(opening.remaining_wh)
                    OR command.args->'paid_until_wh'
                       IS DISTINCT FROM to_jsonb(opening.reading_wh + opening.remaining_wh))
        """,
    ),
)
