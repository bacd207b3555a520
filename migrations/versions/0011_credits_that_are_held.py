"""Credits that would lower a terminal are held with a reason; refunds are listed by state."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("commands", sa.Column("held", postgresql.JSONB(), nullable=True))
    op.add_column("commands", sa.Column("held_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_refunds_state", "refunds", ["state", "id"])


def downgrade() -> None:
    op.drop_index("ix_refunds_state", "refunds")
    op.drop_column("commands", "held_since")
    op.drop_column("commands", "held")
