"""Functions with which invariants read what somebody may have written who had no right to."""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

#: pg_input_is_valid needs PostgreSQL 16.
_READ_OR_NULL = """
    CREATE FUNCTION {name}(written text) RETURNS {type} LANGUAGE plpgsql STABLE AS $$
    BEGIN
        RETURN written::{type};
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        RETURN NULL;
    END $$
"""


def upgrade() -> None:
    op.execute(_READ_OR_NULL.format(name="jsonb_or_null", type="jsonb"))
    op.execute(_READ_OR_NULL.format(name="moment_or_null", type="timestamptz"))


def downgrade() -> None:
    op.execute("DROP FUNCTION moment_or_null(text)")
    op.execute("DROP FUNCTION jsonb_or_null(text)")
