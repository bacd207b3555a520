"""Key statements of the anchor, and which keys each terminal trusts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0020"
down_revision: str | None = "0016"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_OPS = ("credit", "control", "warn", "limit", "trip", "close", "guarantee", "configure")


def upgrade() -> None:
    op.create_table(
        "key_statements",
        sa.Column("serial", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("keys", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_key_statements")),
    )
    op.execute("GRANT SELECT, INSERT ON key_statements TO wattgate_app")
    op.add_column("terminals", sa.Column("keys_pinned", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("terminal_live", sa.Column("keys_told", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    _may_be((*_OPS, "keys"))


def downgrade() -> None:
    op.execute("DELETE FROM command_steps WHERE command_id IN (SELECT id FROM commands WHERE op = 'keys')")
    op.execute("DELETE FROM commands WHERE op = 'keys'")
    _may_be(_OPS)
    op.drop_column("terminal_live", "keys_told")
    op.drop_column("terminals", "keys_pinned")
    op.drop_table("key_statements")


def _may_be(ops: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{one}'" for one in ops)
    op.drop_constraint(op.f("ck_commands_op"), "commands", type_="check")
    op.create_check_constraint(op.f("ck_commands_op"), "commands", f"op IN ({listed})")
