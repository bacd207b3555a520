"""A second hash of each terminal's credential, in the form that Mosquitto reads."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    # A hash cannot be made from the other one, so terminals that are there already have none.
    op.add_column("terminals", sa.Column("mosquitto_hash", sa.String(120), nullable=True))


def downgrade() -> None:
    op.drop_column("terminals", "mosquitto_hash")
