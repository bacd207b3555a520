"""Imports and opening balances."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("file_name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("imported_by", sa.Uuid(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('customers', 'contracts', 'terminals', 'opening-balances')", name=op.f("ck_imports_kind")
        ),
        sa.ForeignKeyConstraint(["imported_by"], ["staff_members.id"], name=op.f("fk_imports_imported_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.UniqueConstraint("kind", "sha256", name=op.f("uq_imports_kind_sha256")),
    )
    op.create_table(
        "opening_balances",
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("reading_wh", "remaining_wh", "granted_wh", "energy_paid_fen", "debt_fen", "kept_fen")
        ),
        sa.Column("terminal_id", sa.String(length=32), nullable=True),
        sa.Column("order_no", sa.BigInteger(), nullable=True),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("money_transaction_id", sa.Uuid(), nullable=True),
        sa.Column("energy_transaction_id", sa.Uuid(), nullable=True),
        sa.Column("opened_by", sa.Uuid(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "reading_wh >= 0 AND remaining_wh >= 0 AND granted_wh >= 0 AND energy_paid_fen >= 0 AND debt_fen >= 0"
            " AND kept_fen >= 0",
            name=op.f("ck_opening_balances_not_below_zero"),
        ),
        sa.CheckConstraint(
            "(granted_wh = 0) = (energy_transaction_id IS NULL)", name=op.f("ck_opening_balances_energy_booked")
        ),
        sa.CheckConstraint(
            "(energy_paid_fen + debt_fen + kept_fen = 0) = (money_transaction_id IS NULL)",
            name=op.f("ck_opening_balances_money_booked"),
        ),
        *(
            sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_opening_balances_{column}"))
            for column, target in (
                ("supply_point_id", "supply_points.id"),
                ("contract_id", "supply_contracts.id"),
                ("terminal_id", "terminals.id"),
                ("money_transaction_id", "ledger_transactions.id"),
                ("energy_transaction_id", "ledger_transactions.id"),
                ("opened_by", "staff_members.id"),
            )
        ),
        sa.PrimaryKeyConstraint("supply_point_id", name=op.f("pk_opening_balances")),
        sa.UniqueConstraint("money_transaction_id", name=op.f("uq_opening_balances_money_transaction_id")),
        sa.UniqueConstraint("energy_transaction_id", name=op.f("uq_opening_balances_energy_transaction_id")),
    )
    op.execute("GRANT SELECT, INSERT ON imports, opening_balances TO wattgate_app")


def downgrade() -> None:
    op.drop_table("opening_balances")
    op.drop_table("imports")
