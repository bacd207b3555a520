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
             WHERE receipt.subject_id IS DISTINCT FROM purchase.id OR receipt.amount_fen <> purchase.paid_fen
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
)
