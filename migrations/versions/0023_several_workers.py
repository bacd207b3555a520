"""Several workers share the terminals: who lives, and who holds which share."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("hears", sa.Boolean(), nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("ended_why", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("uq_workers_name", "workers", ["name"], unique=True, postgresql_where=sa.text("ended_at IS NULL"))
    op.create_table(
        "worker_shares",
        sa.Column("share", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("taken_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_worker_shares_worker_id_workers")),
        sa.PrimaryKeyConstraint("share", name=op.f("pk_worker_shares")),
    )
    op.execute("INSERT INTO worker_shares (share) SELECT generate_series(0, 63)")
    op.execute("GRANT SELECT, INSERT, UPDATE ON workers TO wattgate_app")
    op.execute("GRANT SELECT, UPDATE ON worker_shares TO wattgate_app")


def downgrade() -> None:
    op.drop_table("worker_shares")
    op.drop_table("workers")
