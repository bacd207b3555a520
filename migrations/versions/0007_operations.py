"""Up to when reports were let go: one that comes again from before then is no new evidence."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "reports_let_go",
        sa.Column("before", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("before", name=op.f("pk_reports_let_go")),
    )
    # Only the owner lets reports go.
    op.execute("GRANT SELECT ON reports_let_go TO wattgate_app")


def downgrade() -> None:
    op.drop_table("reports_let_go")
