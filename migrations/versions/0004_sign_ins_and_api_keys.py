"""Sign-ins that end, attempts to sign in, clients that are programs and their API keys."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

#: What was written stays as it was written; only what comes later can be added to a row.
_RIGHTS = (
    "GRANT SELECT, INSERT ON sign_ins, sign_in_attempts, api_keys TO wattgate_app",
    "GRANT UPDATE (ended_at, ended_because) ON sign_ins TO wattgate_app",
    "GRANT UPDATE (outcome) ON sign_in_attempts TO wattgate_app",
    "GRANT UPDATE (revoked_at, revoked_by, last_used_at) ON api_keys TO wattgate_app",
)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("staff_member_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("networks", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.Uuid(), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(revoked_at IS NULL) = (revoked_by IS NULL)", name=op.f("ck_api_keys_revocation_is_whole")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["staff_members.id"], name=op.f("fk_api_keys_created_by")),
        sa.ForeignKeyConstraint(["revoked_by"], ["staff_members.id"], name=op.f("fk_api_keys_revoked_by")),
        sa.ForeignKeyConstraint(["staff_member_id"], ["staff_members.id"], name=op.f("fk_api_keys_staff_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_staff_member_id", "api_keys", ["staff_member_id"], unique=False)
    op.create_table(
        "sign_in_attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("staff_member_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.CheckConstraint("outcome IN ('unfinished', 'refused', 'right')", name=op.f("ck_sign_in_attempts_outcome")),
        sa.ForeignKeyConstraint(
            ["staff_member_id"], ["staff_members.id"], name=op.f("fk_sign_in_attempts_staff_member_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_attempts")),
    )
    op.create_index("ix_sign_in_attempts_address", "sign_in_attempts", ["address", "at"], unique=False)
    op.create_index("ix_sign_in_attempts_name", "sign_in_attempts", ["name", "at"], unique=False)
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("staff_member_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_because", sa.String(length=20), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=200), nullable=False),
        sa.CheckConstraint(
            "ended_because IN ('signed_out', 'by_administrator', 'password_changed', 'roles_changed', 'left')",
            name=op.f("ck_sign_ins_ended_because"),
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_because IS NULL)", name=op.f("ck_sign_ins_end_is_whole")),
        sa.ForeignKeyConstraint(["staff_member_id"], ["staff_members.id"], name=op.f("fk_sign_ins_staff_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
    )
    op.create_index(
        "ix_sign_ins_ended",
        "sign_ins",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index("ix_sign_ins_staff_member_id", "sign_ins", ["staff_member_id", "expires_at"], unique=False)
    op.add_column("staff_members", sa.Column("kind", sa.String(length=10), server_default="person", nullable=False))
    op.alter_column("staff_members", "kind", server_default=None)
    op.alter_column("staff_members", "password_hash", existing_type=sa.String(), nullable=True)
    op.create_check_constraint(op.f("ck_staff_members_kind"), "staff_members", "kind IN ('person', 'client')")
    op.create_check_constraint(
        op.f("ck_staff_members_people_have_passwords"),
        "staff_members",
        "(kind = 'person') = (password_hash IS NOT NULL)",
    )
    for statement in _RIGHTS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_constraint(op.f("ck_staff_members_people_have_passwords"), "staff_members")
    op.drop_constraint(op.f("ck_staff_members_kind"), "staff_members")
    # Older versions know people only. What clients have written names them, so they stay, as people who have left.
    op.execute("UPDATE staff_members SET password_hash = '', active = false WHERE kind = 'client'")
    op.alter_column("staff_members", "password_hash", existing_type=sa.String(), nullable=False)
    op.drop_column("staff_members", "kind")
    op.drop_index("ix_sign_ins_staff_member_id", table_name="sign_ins")
    op.drop_index("ix_sign_ins_ended", table_name="sign_ins", postgresql_where=sa.text("ended_at IS NOT NULL"))
    op.drop_table("sign_ins")
    op.drop_index("ix_sign_in_attempts_name", table_name="sign_in_attempts")
    op.drop_index("ix_sign_in_attempts_address", table_name="sign_in_attempts")
    op.drop_table("sign_in_attempts")
    op.drop_index("ix_api_keys_staff_member_id", table_name="api_keys")
    op.drop_table("api_keys")
