"""Invariants of the counter: tills, shifts, receipts and tenders."""

from app.verification.invariant import Invariant

COUNTER = (
    Invariant(
        name="I14 receipt numbers",
        says="the receipts of each till are numbered from 1 without a gap",
        query="""
            SELECT till.till_no, till.last_receipt_no, count(receipt.number) AS receipts,
                   min(receipt.number) AS first_number, max(receipt.number) AS last_number
              FROM tills AS till LEFT JOIN receipts AS receipt ON receipt.till_id = till.id
             GROUP BY till.id
            HAVING count(receipt.number) <> till.last_receipt_no
                OR coalesce(max(receipt.number), 0) <> till.last_receipt_no
                OR coalesce(min(receipt.number), 1) <> 1
        """,
    ),
    Invariant(
        name="I14 tenders",
        says="the tenders of each receipt make its amount",
        query="""
            SELECT receipt.receipt_no, receipt.amount_fen, coalesce(sum(tender.amount_fen), 0) AS tendered_fen
              FROM receipts AS receipt LEFT JOIN tenders AS tender ON tender.receipt_id = receipt.id
             GROUP BY receipt.id HAVING receipt.amount_fen <> coalesce(sum(tender.amount_fen), 0)
        """,
    ),
    Invariant(
        name="I14 receipts of purchases",
        says="each purchase has a receipt of its own that shows its amount",
        query="""
            SELECT purchase.purchase_no, receipt.receipt_no, purchase.paid_fen, receipt.amount_fen
              FROM purchases AS purchase LEFT JOIN receipts AS receipt ON receipt.id = purchase.receipt_id
             WHERE (receipt.subject_id IS DISTINCT FROM purchase.id OR receipt.amount_fen <> purchase.paid_fen)
               -- What was sold before there were tills has no receipt.
               AND (purchase.receipt_id IS NOT NULL
                    OR EXISTS (SELECT FROM ledger_transactions AS transaction
                                WHERE transaction.id = purchase.money_transaction_id
                                  AND transaction.shift_id IS NOT NULL))
        """,
    ),
    Invariant(
        name="I15 cash",
        says="the till account holds, for each open shift, its float and its cash, and for a closed one nothing",
        query="""
            SELECT shift.id AS shift_id, shift.state, coalesce(booked.cash_fen, 0) AS till_account_fen,
                   CASE WHEN shift.state = 'closed' THEN 0 ELSE shift.float_fen + coalesce(taken.cash_fen, 0) END
                   AS expected_fen
              FROM shifts AS shift
              LEFT JOIN (SELECT transaction.shift_id, sum(entry.amount) AS cash_fen
                           FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account ON account.id = entry.account_id AND account.kind = 'till'
                           JOIN ledger_transactions AS transaction ON transaction.id = entry.transaction_id
                          GROUP BY transaction.shift_id) AS booked ON booked.shift_id = shift.id
              LEFT JOIN (SELECT receipt.shift_id, sum(tender.amount_fen) AS cash_fen
                           FROM receipts AS receipt
                           JOIN tenders AS tender ON tender.receipt_id = receipt.id AND tender.kind = 'cash'
                          GROUP BY receipt.shift_id) AS taken ON taken.shift_id = shift.id
             WHERE coalesce(booked.cash_fen, 0)
                   <> CASE WHEN shift.state = 'closed' THEN 0 ELSE shift.float_fen + coalesce(taken.cash_fen, 0) END
        """,
    ),
    Invariant(
        name="I15 counted",
        says="what was counted at the close of each shift is its float, its cash and what was over or short",
        query="""
            SELECT shift.id AS shift_id, count.cash_fen AS counted_fen,
                   shift.float_fen + coalesce(taken.cash_fen, 0) AS expected_fen,
                   coalesce(short.amount, 0) AS short_fen
              FROM shifts AS shift
              LEFT JOIN (SELECT DISTINCT ON (shift_id) shift_id, cash_fen FROM shift_counts
                          ORDER BY shift_id, id DESC) AS count ON count.shift_id = shift.id
              LEFT JOIN (SELECT receipt.shift_id, sum(tender.amount_fen) AS cash_fen
                           FROM receipts AS receipt
                           JOIN tenders AS tender ON tender.receipt_id = receipt.id AND tender.kind = 'cash'
                          GROUP BY receipt.shift_id) AS taken ON taken.shift_id = shift.id
              LEFT JOIN (SELECT transaction.shift_id, sum(entry.amount) AS amount
                           FROM ledger_entries AS entry
                           JOIN ledger_accounts AS account
                             ON account.id = entry.account_id AND account.kind = 'over_short'
                           JOIN ledger_transactions AS transaction ON transaction.id = entry.transaction_id
                          GROUP BY transaction.shift_id) AS short ON short.shift_id = shift.id
             WHERE shift.state = 'closed'
               AND count.cash_fen IS DISTINCT FROM
                   shift.float_fen + coalesce(taken.cash_fen, 0) - coalesce(short.amount, 0)
        """,
    ),
    Invariant(
        name="I15 seals",
        says="the totals of each closed shift are those of its rows, as they were sealed and as the record tells",
        query="""
            SELECT shift.id AS shift_id, encode(shift.seal, 'hex') AS seal, written.number AS receipts, flows.flows
              FROM shifts AS shift JOIN tills AS till ON till.id = shift.till_id
              LEFT JOIN LATERAL (
                   SELECT count(*) AS number, min(number) AS first_number, max(number) AS last_number
                     FROM receipts WHERE shift_id = shift.id) AS written ON true
              LEFT JOIN LATERAL (
                   SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'tender', tender, 'number', number,
                              'in_fen', in_fen, 'out_fen', out_fen)
                              ORDER BY kind COLLATE "C", tender COLLATE "C"), '[]') AS flows
                     FROM (SELECT receipt.kind, tender.kind AS tender, count(DISTINCT receipt.id) AS number,
                                  coalesce(sum(tender.amount_fen) FILTER (WHERE tender.amount_fen > 0), 0) AS in_fen,
                                  coalesce(-sum(tender.amount_fen) FILTER (WHERE tender.amount_fen < 0), 0) AS out_fen
                             FROM receipts AS receipt JOIN tenders AS tender ON tender.receipt_id = receipt.id
                            WHERE receipt.shift_id = shift.id
                            GROUP BY receipt.kind, tender.kind) AS flow) AS flows ON true
              LEFT JOIN LATERAL (
                   SELECT cash_fen FROM shift_counts WHERE shift_id = shift.id ORDER BY id DESC LIMIT 1) AS last ON true
             WHERE shift.state = 'closed'
               AND (CASE WHEN shift.seal <> sha256(convert_to(shift.sealed, 'UTF8')) THEN true
                         ELSE jsonb_or_null(shift.sealed) IS DISTINCT FROM shift.totals END
                    OR shift.totals->'flows' IS DISTINCT FROM flows.flows
                    OR shift.totals->'receipts'->'number' IS DISTINCT FROM to_jsonb(written.number)
                    OR coalesce(shift.totals->'receipts'->'first_number', 'null')
                       IS DISTINCT FROM coalesce(to_jsonb(written.first_number), 'null')
                    OR coalesce(shift.totals->'receipts'->'last_number', 'null')
                       IS DISTINCT FROM coalesce(to_jsonb(written.last_number), 'null')
                    OR shift.totals->'float_fen' IS DISTINCT FROM to_jsonb(shift.float_fen)
                    OR coalesce(shift.totals->'compared'->0->'counted_fen', 'null')
                       IS DISTINCT FROM coalesce(to_jsonb(last.cash_fen), 'null')
                    OR shift.totals->>'reason' IS DISTINCT FROM shift.reason
                    OR NOT EXISTS (SELECT FROM audit_events AS event
                                    WHERE event.subject_kind = 'till' AND event.action = 'shift.closed'
                                      AND event.subject = till.till_no
                                      AND event.payload LIKE '%"seal":"' || encode(shift.seal, 'hex') || '"%'))
        """,
    ),
    Invariant(
        name="I15 cheques",
        says="what the books hold of each cheque is its amount while it is in clearing, and nothing after",
        query="""
            SELECT cheque.cheque_no, cheque.bank, cheque.state, cheque.amount_fen, coalesce(held.fen, 0) AS held_fen
              FROM cheques AS cheque
              LEFT JOIN LATERAL (
                   SELECT sum(entry.amount) AS fen FROM ledger_transactions AS transaction
                     JOIN ledger_entries AS entry ON entry.transaction_id = transaction.id
                     JOIN ledger_accounts AS account ON account.id = entry.account_id AND account.kind = 'cheques'
                    WHERE transaction.id = cheque.transaction_id OR transaction.reverses_id = cheque.transaction_id)
                AS held ON true
             WHERE coalesce(held.fen, 0)
                   <> CASE WHEN cheque.state = 'in_clearing' THEN cheque.amount_fen ELSE 0 END
             UNION ALL
            SELECT NULL, NULL, NULL, sum(amount_fen), account_fen
              FROM (SELECT coalesce(sum(entry.amount), 0) AS account_fen FROM ledger_entries AS entry
                      JOIN ledger_accounts AS account ON account.id = entry.account_id AND account.kind = 'cheques')
                AS account
              LEFT JOIN cheques AS cheque ON cheque.state = 'in_clearing'
             GROUP BY account_fen HAVING coalesce(sum(amount_fen), 0) <> account_fen
        """,
    ),
    Invariant(
        name="I15 cleared cheques",
        says="each cheque that cleared bought energy for its amount, and no other cheque has paid for energy",
        query="""
            SELECT cheque.cheque_no, cheque.purchase_no, cheque.amount_fen, paid.amount_fen AS paid_fen
              FROM (SELECT * FROM cheques WHERE state = 'cleared') AS cheque
              FULL JOIN (SELECT purchase.purchase_no, sum(tender.amount_fen) AS amount_fen
                           FROM purchases AS purchase
                           JOIN tenders AS tender
                             ON tender.receipt_id = purchase.receipt_id AND tender.kind = 'cheque'
                          GROUP BY purchase.purchase_no) AS paid ON paid.purchase_no = cheque.purchase_no
             WHERE cheque.amount_fen IS DISTINCT FROM paid.amount_fen
        """,
    ),
)
