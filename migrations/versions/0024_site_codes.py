"""Site codes that were given out, and which terminals have a key for them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("terminals", sa.Column("site_key_id", sa.String(length=16), nullable=True))
    op.create_table(
        "site_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("order_no", sa.BigInteger(), nullable=False),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=False),
        sa.Column("release_rounds", sa.Boolean(), nullable=False),
        sa.Column("lift_limit", sa.Boolean(), nullable=False),
        sa.Column("site_key_id", sa.String(length=16), nullable=False),
        sa.Column("issued_by", sa.Uuid(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("order_no BETWEEN 1 AND 4294967295", name=op.f("ck_site_codes_order_no_uint32")),
        sa.ForeignKeyConstraint(["command_id"], ["commands.id"], name=op.f("fk_site_codes_command_id_commands")),
        sa.ForeignKeyConstraint(
            ["issued_by"], ["staff_members.id"], name=op.f("fk_site_codes_issued_by_staff_members")
        ),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_site_codes_supply_point_id_supply_points")
        ),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.id"], name=op.f("fk_site_codes_terminal_id_terminals")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_codes")),
        sa.UniqueConstraint("command_id", name=op.f("uq_site_codes_command_id")),
    )
    op.create_index("ix_site_codes_supply_point_id", "site_codes", ["supply_point_id", "id"])
    op.create_index("uq_site_codes_order_no", "site_codes", ["terminal_id", "order_no"], unique=True)
    op.execute("GRANT SELECT, INSERT ON site_codes TO wattgate_app")


def downgrade() -> None:
    op.drop_table("site_codes")
    op.drop_column("terminals", "site_key_id")
