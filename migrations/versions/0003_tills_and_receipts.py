"""Tills, shifts, receipts and tenders; accounts for money in every form, for openings and for emergency credit."""

from collections.abc import Sequence
from uuid import NAMESPACE_OID, UUID, uuid5

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_KINDS_BEFORE = ("till", "deposit", "receivable", "revenue", "allowance", "energy_sold", "energy_supplied")
_KINDS = (
    "till", "bank", "safe", "cheques", "cheques_owed", "over_short", "deposit", "receivable", "revenue",
    "opening_money", "allowance", "emergency", "energy_sold", "energy_supplied", "opening_energy",
)  # fmt: skip

#: The utility's own accounts: book and normal side.
_OWN = {
    "till": ("money", 1), "bank": ("money", 1), "safe": ("money", 1), "cheques": ("money", 1),
    "cheques_owed": ("money", -1), "over_short": ("money", 1), "revenue": ("money", -1),
    "opening_money": ("money", -1), "energy_sold": ("energy", 1), "energy_supplied": ("energy", -1),
    "opening_energy": ("energy", 1),
}  # fmt: skip


def upgrade() -> None:
    _make_tables()
    op.add_column("ledger_transactions", sa.Column("shift_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_ledger_transactions_shift_id"), "ledger_transactions", "shifts", ["shift_id"], ["id"]
    )
    op.create_index(op.f("ix_ledger_transactions_shift_id"), "ledger_transactions", ["shift_id"])
    op.add_column("purchases", sa.Column("receipt_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_purchases_receipt_id"), "purchases", "receipts", ["receipt_id"], ["id"])
    op.create_unique_constraint(op.f("uq_purchases_receipt_id"), "purchases", ["receipt_id"])
    _allow_kinds(_KINDS)
    _open_accounts()
    op.execute(
        "GRANT SELECT, INSERT ON tills, shifts, shift_counts, receipts, receipt_prints, tenders TO wattgate_app"
    )
    op.execute("GRANT UPDATE ON tills, shifts TO wattgate_app")


def downgrade() -> None:
    op.drop_constraint(op.f("uq_purchases_receipt_id"), "purchases")
    op.drop_constraint(op.f("fk_purchases_receipt_id"), "purchases")
    op.drop_column("purchases", "receipt_id")
    op.drop_index(op.f("ix_ledger_transactions_shift_id"), "ledger_transactions")
    op.drop_constraint(op.f("fk_ledger_transactions_shift_id"), "ledger_transactions")
    op.drop_column("ledger_transactions", "shift_id")
    for table in ("tenders", "receipt_prints", "receipts", "shift_counts", "shifts", "tills"):
        op.drop_table(table)
    # Entries that lie in an account of a later kind keep it: without them the books would not be whole.
    op.execute(
        "DELETE FROM ledger_accounts AS account WHERE kind NOT IN ("
        + ", ".join(f"'{kind}'" for kind in _KINDS_BEFORE)
        + ") AND NOT EXISTS (SELECT FROM ledger_entries WHERE account_id = account.id)"
    )
    _allow_kinds(_KINDS_BEFORE)


def _allow_kinds(kinds: Sequence[str]) -> None:
    op.drop_constraint(op.f("ck_ledger_accounts_kind"), "ledger_accounts")
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    op.create_check_constraint(op.f("ck_ledger_accounts_kind"), "ledger_accounts", f"kind IN ({listed})")


def _open_accounts() -> None:
    """Open the utility's accounts, and an account of emergency credit for each supply point that is there."""
    insert = sa.text(
        "INSERT INTO ledger_accounts (id, book, kind, supply_point_id, normal_side, floor, balance, version) "
        "VALUES (:id, :book, :kind, :point, :side, :floor, :balance, :balance) ON CONFLICT DO NOTHING"
    ).bindparams(sa.bindparam("id", type_=sa.Uuid()), sa.bindparam("point", type_=sa.Uuid()))
    connection = op.get_bind()
    for kind, (book, side) in _OWN.items():
        own = {"id": _account_id(kind, NAMESPACE_OID), "book": book, "kind": kind, "point": None, "side": side}
        connection.execute(insert, {**own, "floor": None, "balance": None})
    for (point,) in connection.execute(sa.text("SELECT id FROM supply_points")).all():
        lent = {"id": _account_id("emergency", point), "book": "energy", "kind": "emergency", "point": point}
        connection.execute(insert, {**lent, "side": 1, "floor": 0, "balance": 0})


def _account_id(kind: str, owner: UUID) -> UUID:
    return uuid5(owner, f"wattgate:{kind}")


def _make_tables() -> None:
    op.create_table(
        "tills",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("till_no", sa.String(length=20), nullable=False),
        sa.Column("office_id", sa.Uuid(), nullable=False),
        sa.Column("name_zh", sa.String(length=100), nullable=False),
        sa.Column("name_en", sa.String(length=100), nullable=False),
        sa.Column("last_receipt_no", sa.BigInteger(), nullable=False),
        sa.Column("last_shift_no", sa.BigInteger(), nullable=False),
        sa.Column("open_shift_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["office_id"], ["offices.id"], name=op.f("fk_tills_office_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tills")),
        sa.UniqueConstraint("open_shift_id", name=op.f("uq_tills_open_shift_id")),
        sa.UniqueConstraint("till_no", name=op.f("uq_tills_till_no")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "shifts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("till_id", sa.Uuid(), nullable=False),
        sa.Column("shift_no", sa.BigInteger(), nullable=False),
        sa.Column("cashier_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("float_fen", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("totals", postgresql.JSONB(), nullable=True),
        sa.Column("seal", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name=op.f("ck_shifts_closed_at")),
        sa.CheckConstraint("(state = 'closed') = (seal IS NOT NULL)", name=op.f("ck_shifts_sealed")),
        sa.CheckConstraint("float_fen >= 0", name=op.f("ck_shifts_float")),
        sa.CheckConstraint("state IN ('open', 'counted', 'closed')", name=op.f("ck_shifts_state")),
        sa.ForeignKeyConstraint(["cashier_id"], ["staff_members.id"], name=op.f("fk_shifts_cashier_id")),
        sa.ForeignKeyConstraint(["closed_by"], ["staff_members.id"], name=op.f("fk_shifts_closed_by")),
        sa.ForeignKeyConstraint(["till_id"], ["tills.id"], name=op.f("fk_shifts_till_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shifts")),
        sa.UniqueConstraint("till_id", "shift_no", name=op.f("uq_shifts_till_id_shift_no")),
    )
    not_closed = sa.text("state <> 'closed'")
    op.create_index("uq_shifts_cashier_id", "shifts", ["cashier_id"], unique=True, postgresql_where=not_closed)
    op.create_index("uq_shifts_till_id", "shifts", ["till_id"], unique=True, postgresql_where=not_closed)
    op.create_table(
        "shift_counts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shift_id", sa.Uuid(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counted_by", sa.Uuid(), nullable=False),
        sa.Column("cash_fen", sa.BigInteger(), nullable=False),
        sa.Column("slips", postgresql.JSONB(), nullable=False),
        sa.Column("denominations", postgresql.JSONB(), nullable=True),
        sa.ForeignKeyConstraint(["counted_by"], ["staff_members.id"], name=op.f("fk_shift_counts_counted_by")),
        sa.ForeignKeyConstraint(["shift_id"], ["shifts.id"], name=op.f("fk_shift_counts_shift_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shift_counts")),
    )
    op.create_index(op.f("ix_shift_counts_shift_id"), "shift_counts", ["shift_id"])
    op.create_table(
        "receipts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("till_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("receipt_no", sa.String(length=40), nullable=False),
        sa.Column("shift_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('purchase', 'cheque', 'cheque_returned', 'refund', 'payment')", name=op.f("ck_receipts_kind")
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_receipts_number")),
        sa.ForeignKeyConstraint(["shift_id"], ["shifts.id"], name=op.f("fk_receipts_shift_id")),
        sa.ForeignKeyConstraint(["till_id"], ["tills.id"], name=op.f("fk_receipts_till_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
        sa.UniqueConstraint("receipt_no", name=op.f("uq_receipts_receipt_no")),
        sa.UniqueConstraint("till_id", "number", name=op.f("uq_receipts_till_id_number")),
    )
    op.create_index(op.f("ix_receipts_shift_id"), "receipts", ["shift_id"])
    op.create_table(
        "receipt_prints",
        sa.Column("receipt_id", sa.Uuid(), nullable=False),
        sa.Column("copy_no", sa.Integer(), nullable=False),
        sa.Column("printed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("printed_by", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["printed_by"], ["staff_members.id"], name=op.f("fk_receipt_prints_printed_by")),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name=op.f("fk_receipt_prints_receipt_id")),
        sa.PrimaryKeyConstraint("receipt_id", "copy_no", name=op.f("pk_receipt_prints")),
    )
    op.create_table(
        "tenders",
        sa.Column("receipt_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.String(length=60), nullable=False),
        sa.CheckConstraint("amount_fen <> 0", name=op.f("ck_tenders_amount")),
        sa.CheckConstraint("kind IN ('cash', 'transfer', 'cheque', 'card', 'online')", name=op.f("ck_tenders_kind")),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name=op.f("fk_tenders_receipt_id")),
        sa.PrimaryKeyConstraint("receipt_id", "line", name=op.f("pk_tenders")),
    )
