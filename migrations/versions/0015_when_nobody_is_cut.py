"""Rules that bar cuts at certain times."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_CHECKS = {
    "bar": "bar IN ('hours', 'weekends', 'holidays', 'holiday_eves', 'day')",
    "hours": "(bar = 'hours') = (num_nonnulls(from_minute, until_minute) = 2)",
    "minutes": "from_minute BETWEEN 0 AND 1439 AND until_minute BETWEEN 0 AND 1440 AND from_minute <> until_minute",
    "day": "(bar = 'day') = (day IS NOT NULL)",
    "validity": "valid_until >= valid_from",
    "ended": "num_nonnulls(ended_by, ended_at) IN (0, 2)",
}
_PARENTS = {"office_id": "offices", "set_by": "staff_members", "ended_by": "staff_members"}


def upgrade() -> None:
    op.create_table(
        "no_cut_rules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("office_id", sa.Uuid(), nullable=True),
        sa.Column("bar", sa.String(12), nullable=False),
        sa.Column("zone", sa.String(60), nullable=False),
        sa.Column("country", sa.String(2), nullable=False),
        sa.Column("from_minute", sa.Integer(), nullable=True),
        sa.Column("until_minute", sa.Integer(), nullable=True),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Uuid(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_by", sa.Uuid(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_no_cut_rules")),
        *(
            sa.ForeignKeyConstraint([column], [f"{table}.id"], name=op.f(f"fk_no_cut_rules_{column}_{table}"))
            for column, table in _PARENTS.items()
        ),
        *(sa.CheckConstraint(check, name=op.f(f"ck_no_cut_rules_{name}")) for name, check in _CHECKS.items()),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON no_cut_rules TO wattgate_app")


def downgrade() -> None:
    op.drop_table("no_cut_rules")
