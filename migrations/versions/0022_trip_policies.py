"""Versions of the trip policy that two people have approved."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_CHECKS = {
    "written_notice": "written_notice_s BETWEEN 259200 AND 2592000",
    "second_notice": "second_notice_s BETWEEN 1800 AND 86400",
    "trips_need_limits": "automatic_limits OR NOT automatic_trips",
    "two_people": "proposed_by <> approved_by",
    "not_in_the_past": "valid_from >= approved_at",
}
_PARENTS = {"office_id": "offices", "proposed_by": "staff_members", "approved_by": "staff_members"}


def upgrade() -> None:
    op.create_table(
        "trip_policies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("office_id", sa.Uuid(), nullable=True),
        sa.Column("jurisdiction", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("automatic_limits", sa.Boolean(), nullable=False),
        sa.Column("automatic_trips", sa.Boolean(), nullable=False),
        sa.Column("written_notice_s", sa.Integer(), nullable=False),
        sa.Column("second_notice_s", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("proposed_by", sa.Uuid(), nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trip_policies")),
        sa.UniqueConstraint("version", name=op.f("uq_trip_policies_version")),
        *(
            sa.ForeignKeyConstraint([column], [f"{table}.id"], name=op.f(f"fk_trip_policies_{column}_{table}"))
            for column, table in _PARENTS.items()
        ),
        *(sa.CheckConstraint(check, name=op.f(f"ck_trip_policies_{name}")) for name, check in _CHECKS.items()),
    )
    op.execute("GRANT SELECT, INSERT ON trip_policies TO wattgate_app")


def downgrade() -> None:
    op.drop_table("trip_policies")
