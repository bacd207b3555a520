"""Terminals take each other's place, one in service at a supply point; and the place of refunds among purchases."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.drop_constraint(op.f("uq_terminals_supply_point_id"), "terminals")
    op.create_index(
        "uq_terminals_supply_point_id",
        "terminals",
        ["supply_point_id"],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    op.create_index("ix_terminals_supply_point_id", "terminals", ["supply_point_id"])
    op.create_table(
        "terminal_exchanges",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("old_terminal_id", sa.String(length=32), nullable=False),
        sa.Column("new_terminal_id", sa.String(length=32), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in (
                "old_final_wh",
                "new_start_wh",
                "supplied_wh",
                "paid_until_before_wh",
                "paid_until_after_wh",
                "order_no",
            )
        ),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("exchanged_by", sa.Uuid(), nullable=False),
        sa.Column("exchanged_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(order_no = 0) = (command_id IS NULL)", name=op.f("ck_terminal_exchanges_credit")),
        sa.CheckConstraint(
            "old_final_wh >= 0 AND new_start_wh >= 0 AND supplied_wh >= 0",
            name=op.f("ck_terminal_exchanges_readings"),
        ),
        sa.CheckConstraint(
            "paid_until_after_wh - paid_until_before_wh = new_start_wh - old_final_wh",
            name=op.f("ck_terminal_exchanges_nothing_lost"),
        ),
        *(
            sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_terminal_exchanges_{column}"))
            for column, target in (
                ("supply_point_id", "supply_points.id"),
                ("old_terminal_id", "terminals.id"),
                ("new_terminal_id", "terminals.id"),
                ("exchanged_by", "staff_members.id"),
            )
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_terminal_exchanges")),
        sa.UniqueConstraint("old_terminal_id", name=op.f("uq_terminal_exchanges_old_terminal_id")),
        sa.UniqueConstraint("new_terminal_id", name=op.f("uq_terminal_exchanges_new_terminal_id")),
    )
    op.create_index("ix_terminal_exchanges_supply_point_id", "terminal_exchanges", ["supply_point_id", "order_no"])
    op.execute("GRANT SELECT, INSERT ON terminal_exchanges TO wattgate_app")
    op.add_column("refunds", sa.Column("deal_no", sa.BigInteger(), nullable=True))
    # Where nothing was sent, the number is gone; only the newest purchase could be reversed, so its own one is next to it.
    op.execute(
        "UPDATE refunds SET deal_no = CASE WHEN refunds.order_no > 0 THEN refunds.order_no ELSE purchases.order_no END"
        " FROM purchases WHERE purchases.id = refunds.purchase_id"
    )
    op.alter_column("refunds", "deal_no", nullable=False)


def downgrade() -> None:
    op.drop_column("refunds", "deal_no")
    # Fails where a terminal was exchanged: the schema of before has room for one terminal a supply point only.
    op.drop_table("terminal_exchanges")
    op.drop_index("ix_terminals_supply_point_id", table_name="terminals")
    op.drop_index("uq_terminals_supply_point_id", table_name="terminals")
    op.create_unique_constraint(op.f("uq_terminals_supply_point_id"), "terminals", ["supply_point_id"])
