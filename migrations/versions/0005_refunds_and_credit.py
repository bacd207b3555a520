"""Refunds, emergency credit, and what contracts agree on for debt, overdraft and emergencies."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    for name, default in (("overdraft_wh", "0"), ("emergency_limit_wh", "0")):
        op.add_column("supply_contracts", sa.Column(name, sa.BigInteger(), nullable=False, server_default=default))
    op.add_column(
        "supply_contracts", sa.Column("debt_share_percent", sa.Integer(), nullable=False, server_default="100")
    )
    op.create_check_constraint(
        op.f("ck_supply_contracts_credit_limits"), "supply_contracts", "overdraft_wh >= 0 AND emergency_limit_wh >= 0"
    )
    op.create_check_constraint(
        op.f("ck_supply_contracts_debt_share"), "supply_contracts", "debt_share_percent BETWEEN 1 AND 100"
    )
    op.add_column("purchases", sa.Column("emergency_repaid_wh", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_check_constraint(
        op.f("ck_purchases_emergency_repaid"), "purchases", "emergency_repaid_wh BETWEEN 0 AND energy_wh"
    )
    _make_refunds()
    _make_emergency_credits()
    op.execute("GRANT SELECT, INSERT ON refunds, emergency_credits TO wattgate_app")
    op.execute("GRANT UPDATE ON refunds TO wattgate_app")


def downgrade() -> None:
    op.drop_table("emergency_credits")
    op.drop_table("refunds")
    op.drop_constraint(op.f("ck_purchases_emergency_repaid"), "purchases")
    op.drop_column("purchases", "emergency_repaid_wh")
    op.drop_constraint(op.f("ck_supply_contracts_debt_share"), "supply_contracts")
    op.drop_constraint(op.f("ck_supply_contracts_credit_limits"), "supply_contracts")
    for name in ("debt_share_percent", "emergency_limit_wh", "overdraft_wh"):
        op.drop_column("supply_contracts", name)


def _make_refunds() -> None:
    staff, transactions = "staff_members.id", "ledger_transactions.id"
    parents = {
        "purchase_id": "purchases.id", "supply_point_id": "supply_points.id", "asked_by": staff,
        "released_by": staff, "ended_by": staff, "energy_transaction_id": transactions,
        "money_transaction_id": transactions, "regrant_transaction_id": transactions, "receipt_id": "receipts.id",
    }  # fmt: skip
    once = ("energy_transaction_id", "money_transaction_id", "regrant_transaction_id", "receipt_id")
    op.create_table(
        "refunds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purchase_id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.Column("yuan_per_kwh", sa.Numeric(precision=18, scale=8), nullable=False),
        sa.Column("deposit_back_fen", sa.BigInteger(), nullable=False),
        sa.Column("debt_reopened_fen", sa.BigInteger(), nullable=False),
        sa.Column("kept_before_nfen", sa.BigInteger(), nullable=False),
        sa.Column("kept_after_nfen", sa.BigInteger(), nullable=False),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.BigInteger(), nullable=False),
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
        sa.Column("regranted_wh", sa.BigInteger(), nullable=True),
        sa.Column("regrant_order_no", sa.BigInteger(), nullable=True),
        sa.Column("regrant_kept_before_nfen", sa.BigInteger(), nullable=True),
        sa.Column("regrant_kept_after_nfen", sa.BigInteger(), nullable=True),
        sa.Column("regrant_transaction_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "energy_wh >= 0 AND deposit_back_fen >= 0 AND debt_reopened_fen >= 0", name=op.f("ck_refunds_amounts")
        ),
        sa.CheckConstraint("kind IN ('reversal', 'refund')", name=op.f("ck_refunds_kind")),
        sa.CheckConstraint("state IN ('taking_back', 'paid_out', 'withdrawn')", name=op.f("ck_refunds_state")),
        sa.CheckConstraint("(state = 'taking_back') = (ended_at IS NULL)", name=op.f("ck_refunds_ended")),
        sa.CheckConstraint("(state = 'paid_out') = (receipt_id IS NOT NULL)", name=op.f("ck_refunds_receipt")),
        sa.CheckConstraint(
            "(state = 'withdrawn') = (regrant_order_no IS NOT NULL)", name=op.f("ck_refunds_regranted")
        ),
        *(
            sa.ForeignKeyConstraint([name], [parent], name=op.f(f"fk_refunds_{name}"))
            for name, parent in parents.items()
        ),
        *(sa.UniqueConstraint(name, name=op.f(f"uq_refunds_{name}")) for name in once),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
    )
    op.create_index(
        "uq_refunds_purchase_id",
        "refunds",
        ["purchase_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'withdrawn'"),
    )
    op.create_index("ix_refunds_supply_point_id", "refunds", ["supply_point_id", "asked_at"])


def _make_emergency_credits() -> None:
    op.create_table(
        "emergency_credits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.BigInteger(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("energy_transaction_id", sa.Uuid(), nullable=False),
        sa.Column("asked_by", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lent_by", sa.Uuid(), nullable=False),
        sa.Column("lent_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("energy_wh > 0", name=op.f("ck_emergency_credits_energy")),
        sa.ForeignKeyConstraint(
            ["energy_transaction_id"],
            ["ledger_transactions.id"],
            name=op.f("fk_emergency_credits_energy_transaction_id"),
        ),
        sa.ForeignKeyConstraint(["lent_by"], ["staff_members.id"], name=op.f("fk_emergency_credits_lent_by")),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_emergency_credits_supply_point_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergency_credits")),
        sa.UniqueConstraint("energy_transaction_id", name=op.f("uq_emergency_credits_energy_transaction_id")),
    )
    op.create_index("ix_emergency_credits_supply_point_id", "emergency_credits", ["supply_point_id", "lent_at"])
