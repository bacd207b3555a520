"""Invariants of receipts: what each one is for, where its money lies, and that no cash moves without a shift."""

from app.verification.invariant import Invariant

RECEIPTS = (
    Invariant(
        name="I14 receipts",
        says="each receipt is for exactly one purchase, cheque, refund or closing, of its kind, and shows its amount",
        query="""
            SELECT receipt.receipt_no, receipt.kind, receipt.amount_fen, receipt.subject_id,
                   subject.kind AS subjects_kind, subject.amount_fen AS subjects_fen, subject.id AS found_subject_id
              FROM receipts AS receipt
              FULL JOIN (SELECT receipt_id, id, 'purchase' AS kind, paid_fen AS amount_fen FROM purchases
                          WHERE receipt_id IS NOT NULL
                         UNION ALL
                         SELECT receipt_id, id, 'cheque', amount_fen FROM cheques
                         UNION ALL
                         SELECT return_receipt_id, id, 'cheque_returned', -amount_fen FROM cheques
                          WHERE return_receipt_id IS NOT NULL
                         UNION ALL
                         SELECT receipt_id, id, 'refund', -(deposit_back_fen + debt_reopened_fen) FROM refunds
                          WHERE receipt_id IS NOT NULL
                         UNION ALL
                         SELECT receipt_id, id, CASE outcome WHEN 'refund' THEN 'refund' ELSE 'payment' END, -money_fen
                           FROM closings WHERE receipt_id IS NOT NULL) AS subject ON subject.receipt_id = receipt.id
             WHERE receipt.id IS NULL OR subject.id IS NULL OR subject.id <> receipt.subject_id
                OR subject.kind <> receipt.kind OR subject.amount_fen <> receipt.amount_fen
        """,
    ),
    Invariant(
        name="I14 tenders booked",
        says="each receipt's tenders lie in the books, cash in the till, cheques in clearing and the rest at the bank, "
        "in the receipt's shift",
        query="""
            SELECT receipt.receipt_no, tendered.cash_fen, booked.till_fen, tendered.other_fen, booked.bank_fen,
                   tendered.cheques_fen, booked.cheques_fen AS in_clearing_fen, receipt.shift_id,
                   transaction.shift_id AS booked_shift_id
              FROM (SELECT receipt_id, money_transaction_id AS id FROM purchases
                    UNION ALL SELECT receipt_id, money_transaction_id FROM refunds
                    UNION ALL SELECT receipt_id, money_transaction_id FROM closings
                    UNION ALL SELECT receipt_id, transaction_id FROM cheques) AS money
              JOIN receipts AS receipt ON receipt.id = money.receipt_id
              LEFT JOIN ledger_transactions AS transaction ON transaction.id = money.id
              LEFT JOIN (SELECT receipt.id, sum(tender.amount_fen) FILTER (WHERE tender.kind = 'cash') AS cash_fen,
                                sum(tender.amount_fen) FILTER (
                                    WHERE tender.kind = 'cheque' AND receipt.kind = 'cheque') AS cheques_fen,
                                sum(tender.amount_fen) FILTER (WHERE tender.kind <> 'cash'
                                    AND NOT (tender.kind = 'cheque' AND receipt.kind = 'cheque')) AS other_fen
                           FROM receipts AS receipt JOIN tenders AS tender ON tender.receipt_id = receipt.id
                          GROUP BY receipt.id) AS tendered ON tendered.id = receipt.id
              LEFT JOIN (SELECT entry.transaction_id, sum(entry.amount) FILTER (WHERE account.kind = 'till') AS till_fen,
                                sum(entry.amount) FILTER (WHERE account.kind = 'bank') AS bank_fen,
                                sum(entry.amount) FILTER (WHERE account.kind = 'cheques') AS cheques_fen
                           FROM ledger_entries AS entry JOIN ledger_accounts AS account ON account.id = entry.account_id
                          WHERE account.kind IN ('till', 'bank', 'cheques')
                          GROUP BY entry.transaction_id) AS booked ON booked.transaction_id = money.id
             WHERE coalesce(tendered.cash_fen, 0) <> coalesce(booked.till_fen, 0)
                OR coalesce(tendered.other_fen, 0) <> coalesce(booked.bank_fen, 0)
                OR coalesce(tendered.cheques_fen, 0) <> coalesce(booked.cheques_fen, 0)
                OR transaction.shift_id IS DISTINCT FROM receipt.shift_id
        """,
    ),
    Invariant(
        name="I14 given back as taken",
        says="a reversal pays back in the tenders of its purchase, and a returned cheque is the cheque that was taken",
        query="""
            SELECT receipt.receipt_no, receipt.kind, given.tenders AS given, taken.tenders AS taken
              FROM (SELECT refund.receipt_id AS given_id, purchase.receipt_id AS taken_id
                      FROM refunds AS refund JOIN purchases AS purchase ON purchase.id = refund.purchase_id
                     WHERE refund.kind = 'reversal' AND refund.receipt_id IS NOT NULL
                       -- What was sold before there were tills has no receipt, and goes back in cash.
                       AND purchase.receipt_id IS NOT NULL
                    UNION ALL
                    SELECT return_receipt_id, receipt_id FROM cheques WHERE return_receipt_id IS NOT NULL) AS pair
              JOIN receipts AS receipt ON receipt.id = pair.given_id
              LEFT JOIN LATERAL (
                   SELECT jsonb_agg(jsonb_build_array(kind, -amount_fen, reference) ORDER BY line) AS tenders
                     FROM tenders WHERE receipt_id = pair.given_id) AS given ON true
              LEFT JOIN LATERAL (
                   SELECT jsonb_agg(jsonb_build_array(kind, amount_fen, reference) ORDER BY line) AS tenders
                     FROM tenders WHERE receipt_id = pair.taken_id) AS taken ON true
             WHERE given.tenders IS DISTINCT FROM taken.tenders
        """,
    ),
    Invariant(
        name="I15 till entries",
        says="whatever moves cash belongs to a shift",
        query="""
            SELECT transaction.id AS transaction_id, transaction.business_key, entry.amount AS cash_fen,
                   transaction.shift_id
              FROM ledger_entries AS entry
              JOIN ledger_accounts AS account ON account.id = entry.account_id AND account.kind = 'till'
              JOIN ledger_transactions AS transaction ON transaction.id = entry.transaction_id
              LEFT JOIN shifts AS shift ON shift.id = transaction.shift_id
             WHERE shift.id IS NULL
               -- What was sold before there were tills.
               AND NOT (transaction.shift_id IS NULL AND EXISTS (
                        SELECT FROM purchases AS purchase
                         WHERE purchase.money_transaction_id = transaction.id AND purchase.receipt_id IS NULL))
        """,
    ),
)
