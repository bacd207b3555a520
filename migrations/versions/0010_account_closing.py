"""Closings of accounts, and contracts that are being closed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("supply_contracts", sa.Column("closing_since", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_supply_contracts_closing_or_closed"),
        "supply_contracts",
        "num_nonnulls(closing_since, closed_at) < 2",
    )
    _make_closings()
    op.execute("GRANT SELECT, INSERT, UPDATE ON closings TO wattgate_app")


def downgrade() -> None:
    op.drop_table("closings")
    op.drop_constraint(op.f("ck_supply_contracts_closing_or_closed"), "supply_contracts")
    op.drop_column("supply_contracts", "closing_since")


def _make_closings() -> None:
    staff, transactions = "staff_members.id", "ledger_transactions.id"
    parents = {
        "contract_id": "supply_contracts.id", "supply_point_id": "supply_points.id", "asked_by": staff,
        "released_by": staff, "ended_by": staff, "energy_transaction_id": transactions,
        "money_transaction_id": transactions, "again_transaction_id": transactions, "receipt_id": "receipts.id",
    }  # fmt: skip
    once = ("energy_transaction_id", "money_transaction_id", "again_transaction_id", "receipt_id")
    whole = (
        "reading_wh", "remaining_wh", "lent_wh", "worth_fen", "worth_nfen", "overused_wh", "overused_fen",
        "deposit_fen", "debt_fen", "kept_before_nfen", "kept_after_nfen", "money_fen", "order_no",
    )  # fmt: skip
    op.create_table(
        "closings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parts", postgresql.JSONB(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in whole),
        sa.Column("yuan_per_kwh", sa.Numeric(precision=18, scale=8), nullable=True),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("energy_transaction_id", sa.Uuid(), nullable=True),
        sa.Column("asked_by", sa.Uuid(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_by", sa.Uuid(), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_because", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Uuid(), nullable=True),
        sa.Column("money_transaction_id", sa.Uuid(), nullable=True),
        sa.Column("receipt_id", sa.Uuid(), nullable=True),
        sa.Column("again_order_no", sa.BigInteger(), nullable=True),
        sa.Column("again_transaction_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("state IN ('closing', 'finished', 'withdrawn')", name=op.f("ck_closings_state")),
        sa.CheckConstraint("outcome IN ('refund', 'pay_up', 'nothing')", name=op.f("ck_closings_outcome")),
        sa.CheckConstraint(
            "lent_wh >= 0 AND worth_fen >= 0 AND overused_wh >= 0 AND overused_fen >= 0"
            " AND deposit_fen >= 0 AND debt_fen >= 0",
            name=op.f("ck_closings_amounts"),
        ),
        sa.CheckConstraint(
            "worth_nfen BETWEEN 0 AND 999999999 AND kept_after_nfen BETWEEN 0 AND 999999999",
            name=op.f("ck_closings_fractions"),
        ),
        sa.CheckConstraint("(state = 'closing') = (ended_at IS NULL)", name=op.f("ck_closings_ended")),
        sa.CheckConstraint(
            "(state = 'finished' AND money_fen <> 0) = (receipt_id IS NOT NULL)", name=op.f("ck_closings_receipt")
        ),
        sa.CheckConstraint("(state = 'withdrawn') = (again_order_no IS NOT NULL)", name=op.f("ck_closings_again")),
        *(
            sa.ForeignKeyConstraint([name], [parent], name=op.f(f"fk_closings_{name}"))
            for name, parent in parents.items()
        ),
        *(sa.UniqueConstraint(name, name=op.f(f"uq_closings_{name}")) for name in once),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closings")),
    )
    op.create_index(
        "uq_closings_contract_id",
        "closings",
        ["contract_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'withdrawn'"),
    )
    op.create_index("ix_closings_supply_point_id", "closings", ["supply_point_id", "asked_at"])
