"""Invariants of closings: what an account came to, and that nothing stands on it afterwards."""

from app.verification.invariant import Invariant

CLOSINGS = (
    Invariant(
        name="C1 closings",
        says="a finished closing leaves the accounts at zero, its money in till and bank, and its fraction of a fen kept",
        query="""
            SELECT closing.id AS closing_id, closing.money_fen, -money.amount AS moved_fen,
                   -receipt.amount_fen AS receipt_fen, account.standing, closing.kept_after_nfen, allowance.kept_nfen,
                   closing.reading_wh, allowance.paid_until_wh
              FROM closings AS closing
              JOIN allowances AS allowance USING (supply_point_id)
              -- What was used after it was closed is no business of the closing.
              JOIN (SELECT account.supply_point_id, sum(abs(CASE account.kind WHEN 'allowance'
                           THEN account.balance + used.posted_supplied_wh - used.paid_until_wh
                           ELSE account.balance END)) AS standing
                      FROM ledger_accounts AS account JOIN allowances AS used USING (supply_point_id)
                     GROUP BY account.supply_point_id) AS account USING (supply_point_id)
              LEFT JOIN receipts AS receipt ON receipt.id = closing.receipt_id AND receipt.subject_id = closing.id
              LEFT JOIN (SELECT entry.transaction_id, sum(entry.amount) AS amount FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind IN ('till', 'bank') GROUP BY entry.transaction_id) AS money
                ON money.transaction_id = closing.money_transaction_id
             WHERE closing.state = 'finished'
               AND (account.standing <> 0 OR coalesce(-money.amount, 0) <> closing.money_fen
                    OR coalesce(-receipt.amount_fen, 0) <> closing.money_fen
                    OR allowance.kept_nfen <> closing.kept_after_nfen
                    OR allowance.paid_until_wh <> closing.reading_wh)
        """,
    ),
    Invariant(
        name="C2 settlement",
        says="each closing settles energy and money to the nano-fen: what it was worth is paid, owed or kept",
        query="""
            SELECT closing.id AS closing_id, closing.money_fen, closing.remaining_wh, energy.allowance_wh,
                   part.energy_wh AS parts_wh, part.worth_nfen AS parts_nfen, priced.name AS wrong_part
              FROM closings AS closing
              CROSS JOIN LATERAL (
                   SELECT coalesce(sum(energy_wh), 0) AS energy_wh, coalesce(sum(worth_nfen), 0) AS worth_nfen
                     FROM jsonb_to_recordset(closing.parts) AS each (energy_wh numeric, worth_nfen numeric)) AS part
              LEFT JOIN LATERAL (
                   SELECT each.name
                     FROM jsonb_to_recordset(closing.parts) AS each (name text, energy_wh numeric, worth_nfen numeric)
                     JOIN purchases AS purchase ON purchase.purchase_no = each.name
                    WHERE each.worth_nfen <> each.energy_wh * purchase.yuan_per_kwh * 100000000 LIMIT 1) AS priced
                ON true
              LEFT JOIN (SELECT entry.transaction_id,
                                sum(entry.amount) FILTER (WHERE account.kind = 'allowance') AS allowance_wh,
                                sum(entry.amount) FILTER (WHERE account.kind = 'emergency') AS emergency_wh
                           FROM ledger_entries AS entry JOIN ledger_accounts AS account ON account.id = entry.account_id
                          GROUP BY entry.transaction_id) AS energy
                ON energy.transaction_id = closing.energy_transaction_id
             WHERE coalesce(energy.allowance_wh, 0) <> closing.remaining_wh
                OR coalesce(-energy.emergency_wh, 0) <> closing.lent_wh
                OR part.worth_nfen <> closing.worth_fen * 1000000000::numeric + closing.worth_nfen
                OR part.energy_wh > greatest(closing.remaining_wh - closing.lent_wh, 0)
                OR priced.name IS NOT NULL
                OR closing.overused_wh <> greatest(closing.lent_wh - closing.remaining_wh, 0)
                OR closing.overused_fen <> round(closing.overused_wh * coalesce(closing.yuan_per_kwh, 0) / 10)
                OR part.worth_nfen + closing.kept_before_nfen
                   <> (closing.money_fen + closing.debt_fen + closing.overused_fen) * 1000000000::numeric
                      + closing.kept_after_nfen
                OR closing.outcome <> CASE sign(closing.money_fen) WHEN 1 THEN 'refund' WHEN -1 THEN 'pay_up'
                                      ELSE 'nothing' END
        """,
    ),
    Invariant(
        name="C3 closing contracts",
        says="a contract is closing exactly while a closing of it is under way, and closed once it is finished",
        query="""
            SELECT contract.contract_no, contract.closing_since, contract.closed_at, closing.id AS closing_id,
                   closing.state
              FROM supply_contracts AS contract
              LEFT JOIN closings AS closing ON closing.contract_id = contract.id AND closing.state <> 'withdrawn'
             WHERE (contract.closing_since IS NOT NULL) <> (closing.state IS NOT DISTINCT FROM 'closing')
                OR (closing.state = 'finished' AND contract.closed_at IS NULL)
        """,
    ),
)
