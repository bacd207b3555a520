"""Campaigns: one step for many supply points, with the list that was frozen and what became of each target."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_JSONB = postgresql.JSONB(astext_type=sa.Text())
_MOMENT = sa.DateTime(timezone=True)
_ONLY_A_DRAFT = (
    """
    CREATE FUNCTION only_a_draft_gets_targets() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
    BEGIN
        IF EXISTS (SELECT FROM added JOIN campaigns AS campaign ON campaign.id = added.campaign_id
                    WHERE campaign.state <> 'draft') THEN
            RAISE EXCEPTION 'a campaign that was started gets no more targets'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER only_a_draft_gets_targets AFTER INSERT ON campaign_targets
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION only_a_draft_gets_targets()
    """,
)


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("arguments", _JSONB, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("targets", sa.Integer(), nullable=False),
        sa.Column("list_digest", sa.String(length=64), nullable=False),
        sa.Column("gives_back", sa.Uuid(), nullable=True),
        sa.Column("made_by", sa.Uuid(), nullable=False),
        sa.Column("made_at", _MOMENT, nullable=False),
        sa.Column("approval_id", sa.Uuid(), nullable=True),
        sa.Column("started_at", _MOMENT, nullable=True),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("wave_began_at", _MOMENT, nullable=True),
        sa.Column("stopped_by", sa.Uuid(), nullable=True),
        sa.Column("stopped_because", sa.Text(), nullable=True),
        sa.Column("looked_at", _JSONB, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.CheckConstraint(
            "state IN ('draft', 'running', 'stopped', 'finished', 'withdrawn')", name=op.f("ck_campaigns_state")
        ),
        sa.CheckConstraint(
            "action NOT IN ('limit', 'trip') OR state IN ('draft', 'withdrawn') OR approval_id IS NOT NULL",
            name=op.f("ck_campaigns_cuts_approved"),
        ),
        sa.ForeignKeyConstraint(["gives_back"], ["campaigns.id"], name=op.f("fk_campaigns_gives_back_campaigns")),
        sa.ForeignKeyConstraint(["made_by"], ["staff_members.id"], name=op.f("fk_campaigns_made_by_staff_members")),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name=op.f("fk_campaigns_approval_id_approvals")),
        sa.ForeignKeyConstraint(
            ["stopped_by"], ["staff_members.id"], name=op.f("fk_campaigns_stopped_by_staff_members")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_index("ix_campaigns_running", "campaigns", ["id"], postgresql_where=sa.text("state = 'running'"))
    op.create_table(
        "campaign_targets",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("feeder", sa.Text(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=True),
        sa.Column("arguments", _JSONB, nullable=False),
        sa.Column("terminal_id", sa.Text(), nullable=True),
        sa.Column("op", sa.String(length=12), nullable=True),
        sa.Column("args", _JSONB, nullable=True),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=True),
        sa.Column("power_w", sa.BigInteger(), nullable=True),
        sa.Column("after_s", sa.Integer(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("left_out", _JSONB, nullable=True),
        sa.CheckConstraint("(wave IS NULL) = (op IS NULL)", name=op.f("ck_campaign_targets_wave")),
        sa.CheckConstraint("wave IS NOT NULL OR left_out IS NOT NULL", name=op.f("ck_campaign_targets_left_out")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_campaign_targets_campaign_id_campaigns")
        ),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_campaign_targets_supply_point_id_supply_points")
        ),
        sa.ForeignKeyConstraint(
            ["command_id"], ["commands.id"], name=op.f("fk_campaign_targets_command_id_commands")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "position", name=op.f("pk_campaign_targets")),
    )
    op.create_index("uq_campaign_targets_point", "campaign_targets", ["campaign_id", "supply_point_id"], unique=True)
    op.create_index(
        "ix_campaign_targets_due",
        "campaign_targets",
        ["campaign_id", "wave", "after_s"],
        postgresql_where=sa.text("command_id IS NULL AND left_out IS NULL"),
    )
    op.create_index(
        "ix_campaign_targets_command_id",
        "campaign_targets",
        ["command_id"],
        postgresql_where=sa.text("command_id IS NOT NULL"),
    )
    op.execute("GRANT SELECT, INSERT ON campaigns, campaign_targets TO wattgate_app")
    op.execute(
        "GRANT UPDATE (state, approval_id, started_at, wave, wave_began_at, stopped_by, stopped_because, looked_at,"
        " ended_at) ON campaigns TO wattgate_app"
    )
    for statement in _ONLY_A_DRAFT:
        op.execute(statement)
    # What was approved stays as it was frozen; only what became of a target is written.
    op.execute("GRANT UPDATE (command_id, left_out) ON campaign_targets TO wattgate_app")


def downgrade() -> None:
    op.drop_table("campaign_targets")
    op.execute("DROP FUNCTION only_a_draft_gets_targets()")
    op.drop_table("campaigns")
