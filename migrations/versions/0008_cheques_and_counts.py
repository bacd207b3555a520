"""Cheques in clearing; counts that are asked for again, totals sealed as text, and prints of them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_STATES_BEFORE = ("open", "counted", "closed")
_STATES = ("open", "counted", "recount", "closed")


def upgrade() -> None:
    op.add_column("shifts", sa.Column("recount_reason", sa.String(), nullable=True))
    op.add_column("shifts", sa.Column("sealed", sa.Text(), nullable=True))
    _allow_states(_STATES)
    op.create_check_constraint(
        op.f("ck_shifts_sealed_whole"),
        "shifts",
        "(seal IS NULL) = (totals IS NULL) AND (seal IS NULL) = (sealed IS NULL)",
    )
    op.create_table(
        "shift_prints",
        sa.Column("shift_id", sa.Uuid(), nullable=False),
        sa.Column("copy_no", sa.Integer(), nullable=False),
        sa.Column("printed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("printed_by", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["printed_by"], ["staff_members.id"], name=op.f("fk_shift_prints_printed_by")),
        sa.ForeignKeyConstraint(["shift_id"], ["shifts.id"], name=op.f("fk_shift_prints_shift_id")),
        sa.PrimaryKeyConstraint("shift_id", "copy_no", name=op.f("pk_shift_prints")),
    )
    _make_cheques()
    op.execute("GRANT SELECT, INSERT ON shift_prints, cheques TO wattgate_app")
    op.execute("GRANT UPDATE ON cheques TO wattgate_app")


def downgrade() -> None:
    op.drop_table("cheques")
    op.drop_table("shift_prints")
    op.drop_constraint(op.f("ck_shifts_sealed_whole"), "shifts")
    op.execute("UPDATE shifts SET state = 'counted' WHERE state = 'recount'")
    _allow_states(_STATES_BEFORE)
    op.drop_column("shifts", "sealed")
    op.drop_column("shifts", "recount_reason")


def _allow_states(states: Sequence[str]) -> None:
    op.drop_constraint(op.f("ck_shifts_state"), "shifts")
    listed = ", ".join(f"'{state}'" for state in states)
    op.create_check_constraint(op.f("ck_shifts_state"), "shifts", f"state IN ({listed})")


def _make_cheques() -> None:
    op.create_table(
        "cheques",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        sa.Column("cheque_no", sa.String(length=20), nullable=False),
        sa.Column("bank", sa.String(length=100), nullable=False),
        sa.Column("drawer", sa.String(length=100), nullable=False),
        sa.Column("drawn_on", sa.Date(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_by", sa.Uuid(), nullable=False),
        sa.Column("receipt_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", sa.Uuid(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Uuid(), nullable=True),
        sa.Column("bank_reference", sa.String(length=35), nullable=True),
        sa.Column("purchase_no", sa.String(length=20), nullable=True),
        sa.Column("return_reason", sa.String(length=300), nullable=True),
        sa.Column("return_receipt_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_cheques_amount")),
        sa.CheckConstraint("(state = 'in_clearing') = (ended_at IS NULL)", name=op.f("ck_cheques_ended")),
        sa.CheckConstraint("(state = 'cleared') = (purchase_no IS NOT NULL)", name=op.f("ck_cheques_cleared")),
        sa.CheckConstraint(
            "(state = 'returned') = (return_receipt_id IS NOT NULL)", name=op.f("ck_cheques_returned")
        ),
        sa.CheckConstraint("state IN ('in_clearing', 'cleared', 'returned')", name=op.f("ck_cheques_state")),
        sa.ForeignKeyConstraint(["contract_id"], ["supply_contracts.id"], name=op.f("fk_cheques_contract_id")),
        sa.ForeignKeyConstraint(["ended_by"], ["staff_members.id"], name=op.f("fk_cheques_ended_by")),
        sa.ForeignKeyConstraint(["purchase_no"], ["purchases.purchase_no"], name=op.f("fk_cheques_purchase_no")),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name=op.f("fk_cheques_receipt_id")),
        sa.ForeignKeyConstraint(["return_receipt_id"], ["receipts.id"], name=op.f("fk_cheques_return_receipt_id")),
        sa.ForeignKeyConstraint(["taken_by"], ["staff_members.id"], name=op.f("fk_cheques_taken_by")),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["ledger_transactions.id"], name=op.f("fk_cheques_transaction_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cheques")),
        sa.UniqueConstraint("purchase_no", name=op.f("uq_cheques_purchase_no")),
        sa.UniqueConstraint("receipt_id", name=op.f("uq_cheques_receipt_id")),
        sa.UniqueConstraint("return_receipt_id", name=op.f("uq_cheques_return_receipt_id")),
        sa.UniqueConstraint("transaction_id", name=op.f("uq_cheques_transaction_id")),
    )
    op.create_index(op.f("ix_cheques_contract_id"), "cheques", ["contract_id"])
    op.create_index("ix_cheques_state", "cheques", ["state", "id"])
    op.create_index(
        "uq_cheques_bank",
        "cheques",
        ["bank", "cheque_no"],
        unique=True,
        postgresql_where=sa.text("state <> 'returned'"),
    )
