"""So many cuts an hour; what comes on top is held for a person."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_SCOPES = "scope IN ('all', 'office', 'feeder', 'operator')"
#: Cuts and W an hour, until somebody says otherwise.
_AT_FIRST = {
    "all": (20, 20_000_000),
    "office": (10, 10_000_000),
    "feeder": (4, 8_000_000),
    "operator": (5, 8_000_000),
}


def upgrade() -> None:
    _make_limits()
    _make_cuts_let_through()
    _make_pulls()
    op.execute("GRANT SELECT, INSERT ON brake_limits, cuts_let_through, brake_pulls TO wattgate_app")
    op.execute("GRANT UPDATE ON brake_limits, brake_pulls TO wattgate_app")


def downgrade() -> None:
    op.drop_table("brake_pulls")
    op.drop_table("cuts_let_through")
    op.drop_table("brake_limits")


def _make_limits() -> None:
    limits = op.create_table(
        "brake_limits",
        sa.Column("scope", sa.String(10), nullable=False),
        sa.Column("cuts_per_hour", sa.Integer(), nullable=False),
        sa.Column("power_w_per_hour", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.Uuid(), nullable=True),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_brake_limits")),
        _by("brake_limits", "set_by"),
        sa.CheckConstraint(_SCOPES, name=op.f("ck_brake_limits_scope")),
        sa.CheckConstraint("cuts_per_hour > 0 AND power_w_per_hour > 0", name=op.f("ck_brake_limits_positive")),
    )
    op.bulk_insert(
        limits,
        [
            {"scope": scope, "cuts_per_hour": cuts, "power_w_per_hour": power_w}
            for scope, (cuts, power_w) in _AT_FIRST.items()
        ],
    )


def _make_cuts_let_through() -> None:
    op.create_table(
        "cuts_let_through",
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("office", sa.Text(), nullable=False),
        sa.Column("feeder", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=True),
        sa.Column("power_w", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_cuts_let_through")),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_cuts_let_through_supply_point_id_supply_points")
        ),
    )
    op.create_index(op.f("ix_cuts_let_through_at"), "cuts_let_through", ["at"])


def _make_pulls() -> None:
    op.create_table(
        "brake_pulls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(10), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("pulled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pulled_by", sa.Uuid(), nullable=True),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.Uuid(), nullable=True),
        sa.Column("released_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brake_pulls")),
        _by("brake_pulls", "pulled_by"),
        _by("brake_pulls", "released_by"),
        sa.CheckConstraint(_SCOPES, name=op.f("ck_brake_pulls_scope")),
        sa.CheckConstraint("(scope = 'all') = (place = '')", name=op.f("ck_brake_pulls_place")),
        sa.CheckConstraint(
            "num_nonnulls(released_at, released_by, released_because) IN (0, 3)", name=op.f("ck_brake_pulls_released")
        ),
    )
    op.create_index(
        "uq_brake_pulls_on",
        "brake_pulls",
        ["scope", "place"],
        unique=True,
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_index("ix_brake_pulls_place", "brake_pulls", ["scope", "place", "released_at"])


def _by(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["staff_members.id"], name=op.f(f"fk_{table}_{column}_staff_members"))
