"""Find the credit of an order number without reading all that a terminal ever got."""

from collections.abc import Sequence

from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_commands_order_no ON commands (terminal_id, ((args ->> 'order_no')::bigint)) "
        "WHERE slot = 'credit'"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_commands_order_no")
