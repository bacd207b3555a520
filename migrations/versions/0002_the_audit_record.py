"""The audit record: a chain of events for each office, and its head."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("stream", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "audit_events",
        sa.Column("stream", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject_kind", sa.String(length=30), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("transaction_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(hash) = 32", name=op.f("ck_audit_events_hash")),
        sa.CheckConstraint("seq > 0", name=op.f("ck_audit_events_seq")),
        sa.ForeignKeyConstraint(["actor_id"], ["staff_members.id"], name=op.f("fk_audit_events_actor_id")),
        sa.PrimaryKeyConstraint("stream", "seq", name=op.f("pk_audit_events")),
    )
    op.create_index("ix_audit_events_subject", "audit_events", ["subject_kind", "subject"])
    op.create_index("ix_audit_events_actor_id", "audit_events", ["actor_id", "at"])
    op.create_index("ix_audit_events_at", "audit_events", ["at"], postgresql_using="brin")
    _record_what_was_there()
    op.execute("GRANT SELECT, INSERT ON audit_heads, audit_events TO wattgate_app")
    op.execute("GRANT UPDATE ON audit_heads TO wattgate_app")


def _record_what_was_there() -> None:
    """Begin the service's own chain with one event that names the transactions of before; without any, with none."""
    op.execute("""
        WITH before AS (
            SELECT array_agg(id ORDER BY id) AS ids FROM ledger_transactions HAVING count(*) > 0
        ), told AS (
            SELECT ids, now() AS at, jsonb_build_object(
                       'action', 'books.taken_over', 'actor', 'wattgate', 'actor_id', NULL, 'address', NULL,
                       'after', NULL, 'at', now(), 'before', NULL, 'request_id', NULL, 'subject', 'ledger',
                       'subject_kind', 'migration', 'transaction_ids', to_jsonb(ids))::text AS payload
              FROM before
        ), added AS (
            INSERT INTO audit_events
                   (stream, seq, at, action, subject_kind, subject, transaction_ids, payload, hash)
            SELECT '00000000-0000-0000-0000-000000000000', 1, at, 'books.taken_over', 'migration', 'ledger', ids,
                   payload, sha256(decode(repeat('00', 32), 'hex') || convert_to(E'1\\n' || payload, 'UTF8'))
              FROM told
         RETURNING stream, seq, hash
        )
        INSERT INTO audit_heads (stream, seq, hash) SELECT stream, seq, hash FROM added
    """)


def downgrade() -> None:
    op.drop_table("audit_events")
    op.drop_table("audit_heads")
