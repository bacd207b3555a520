"""What two persons stand behind; a cut by hand without an approval cannot be written any more."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_JSONB = postgresql.JSONB(astext_type=sa.Text())

# A check would also hold for cuts of before, which had no approval; those still open are stopped by the interlock.
_NO_CUT_BY_ONE = (
    """
    CREATE FUNCTION what_was_ordered_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
    BEGIN
        RAISE EXCEPTION 'what command % orders, and who stands behind it, stays as it was', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE FUNCTION no_cut_by_one() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
    BEGIN
        RAISE EXCEPTION 'command % is a cut by hand, and no approval stands behind it', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER what_was_ordered_stays BEFORE UPDATE OF approval_id, requested_by, op, args, command_class, terminal_id,
           supply_point_id ON commands FOR EACH ROW
      WHEN ((OLD.approval_id, OLD.requested_by, OLD.op, OLD.args, OLD.command_class, OLD.terminal_id, OLD.supply_point_id)
            IS DISTINCT FROM
            (NEW.approval_id, NEW.requested_by, NEW.op, NEW.args, NEW.command_class, NEW.terminal_id, NEW.supply_point_id))
   EXECUTE FUNCTION what_was_ordered_stays()
    """,
    """
    CREATE TRIGGER no_cut_by_one BEFORE INSERT ON commands FOR EACH ROW
      WHEN (NEW.command_class = 'cut' AND NEW.requested_by IS NOT NULL AND NEW.approval_id IS NULL)
   EXECUTE FUNCTION no_cut_by_one()
    """,
)


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("wanted", _JSONB, nullable=False),
        sa.Column("standing", _JSONB, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lapses_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_because", sa.Text(), nullable=True),
        sa.Column("review_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reviewed_by", sa.Uuid(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finding", sa.Text(), nullable=True),
        sa.Column("result", _JSONB, nullable=True),
        sa.CheckConstraint(
            "kind IN ('orders', 'refund', 'brake_limit', 'no_cut_rule_end', 'trip_policy', 'campaign')",
            name=op.f("ck_approvals_kind"),
        ),
        sa.CheckConstraint(
            "state IN ('asked', 'approved', 'refused', 'withdrawn', 'lapsed', 'alone')",
            name=op.f("ck_approvals_state"),
        ),
        sa.CheckConstraint(
            "state <> 'approved' OR decided_by <> requested_by", name=op.f("ck_approvals_two_persons")
        ),
        sa.CheckConstraint(
            "state NOT IN ('approved', 'refused') OR decided_by IS NOT NULL", name=op.f("ck_approvals_decided")
        ),
        sa.CheckConstraint("(state = 'alone') = (review_due_at IS NOT NULL)", name=op.f("ck_approvals_alone")),
        sa.CheckConstraint(
            "num_nonnulls(reviewed_by, reviewed_at, finding) IN (0, 3)", name=op.f("ck_approvals_reviewed")
        ),
        sa.CheckConstraint(
            "reviewed_by IS NULL OR reviewed_by <> requested_by", name=op.f("ck_approvals_reviewed_by_another")
        ),
        sa.CheckConstraint(
            "(state IN ('approved', 'alone')) = (result IS NOT NULL)", name=op.f("ck_approvals_result")
        ),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["staff_members.id"], name=op.f("fk_approvals_requested_by_staff_members")
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["staff_members.id"], name=op.f("fk_approvals_decided_by_staff_members")
        ),
        sa.ForeignKeyConstraint(
            ["reviewed_by"], ["staff_members.id"], name=op.f("fk_approvals_reviewed_by_staff_members")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_asked", "approvals", ["lapses_at"], postgresql_where=sa.text("state = 'asked'"))
    op.create_index(
        "ix_approvals_unreviewed",
        "approvals",
        ["requested_by", "review_due_at"],
        postgresql_where=sa.text("state = 'alone' AND reviewed_at IS NULL"),
    )
    # What was asked for, and by whom, stays as it was; only what became of it is written.
    op.execute("GRANT SELECT, INSERT ON approvals TO wattgate_app")
    op.execute(
        "GRANT UPDATE (state, decided_by, decided_at, decided_because, review_due_at, reviewed_by, reviewed_at,"
        " finding, result) ON approvals TO wattgate_app"
    )
    op.add_column("commands", sa.Column("approval_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_commands_approval_id_approvals"), "commands", "approvals", ["approval_id"], ["id"])
    op.create_index(
        "ix_commands_approved",
        "commands",
        ["approval_id", "supply_point_id"],
        postgresql_where=sa.text("approval_id IS NOT NULL"),
    )
    op.create_check_constraint(op.f("ck_commands_trips_cut"), "commands", "op <> 'trip' OR command_class = 'cut'")
    for statement in _NO_CUT_BY_ONE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER what_was_ordered_stays ON commands")
    op.execute("DROP FUNCTION what_was_ordered_stays()")
    op.execute("DROP TRIGGER no_cut_by_one ON commands")
    op.execute("DROP FUNCTION no_cut_by_one()")
    op.drop_constraint(op.f("ck_commands_trips_cut"), "commands", type_="check")
    op.drop_index("ix_commands_approved", table_name="commands")
    op.drop_constraint(op.f("fk_commands_approval_id_approvals"), "commands", type_="foreignkey")
    op.drop_column("commands", "approval_id")
    op.drop_table("approvals")
