"""Invariants of the audit record: its chains are whole, and it tells of every transaction of the books."""

from app.verification.invariant import Invariant

RECORD = (
    Invariant(
        name="I12 chains",
        says="each event of the record follows the one before it, and its hash covers both",
        query=r"""
            SELECT stream, seq, action, subject FROM (
                SELECT event.*, lag(event.hash) OVER chain AS hash_before, lag(event.seq) OVER chain AS seq_before
                  FROM audit_events AS event WINDOW chain AS (PARTITION BY event.stream ORDER BY event.seq)) AS chained
             WHERE seq <> coalesce(seq_before, 0) + 1
                OR hash <> sha256(coalesce(hash_before, decode(repeat('00', 32), 'hex'))
                                  || convert_to(seq::text || E'\n' || payload, 'UTF8'))
        """,
    ),
    Invariant(
        name="I12 columns",
        says="what is searched for in the record is what its hashed text says",
        query="""
            SELECT event.stream, event.seq, event.action, event.subject
              FROM audit_events AS event
              CROSS JOIN LATERAL (SELECT jsonb_or_null(event.payload) AS told OFFSET 0) AS read
             WHERE to_jsonb(event.action) IS DISTINCT FROM told->'action'
                OR to_jsonb(event.subject_kind) IS DISTINCT FROM told->'subject_kind'
                OR to_jsonb(event.subject) IS DISTINCT FROM told->'subject'
                OR coalesce(to_jsonb(event.actor_id), 'null') IS DISTINCT FROM told->'actor_id'
                OR to_jsonb(event.transaction_ids) IS DISTINCT FROM told->'transaction_ids'
                OR event.at IS DISTINCT FROM moment_or_null(told->>'at')
        """,
    ),
    Invariant(
        name="I12 heads",
        says="each chain ends where its head says",
        query="""
            SELECT coalesce(head.stream, last.stream) AS stream, head.seq AS head_seq, last.seq AS last_seq
              FROM audit_heads AS head
              FULL JOIN (SELECT DISTINCT ON (stream) stream, seq, hash FROM audit_events
                          ORDER BY stream, seq DESC) AS last ON last.stream = head.stream
             WHERE head.seq IS DISTINCT FROM last.seq OR head.hash IS DISTINCT FROM last.hash
        """,
    ),
    Invariant(
        name="I12 coverage",
        says="the record tells who made each transaction of the books",
        query="""
            SELECT transaction.id AS transaction_id, transaction.business_key
              FROM ledger_transactions AS transaction
              LEFT JOIN (SELECT DISTINCT unnest(transaction_ids) AS id FROM audit_events) AS told USING (id)
             WHERE told.id IS NULL
        """,
    ),
)
