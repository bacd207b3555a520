"""The first tables: people, customers, terminals, two books, control, reports; and the application's rights."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


_PARTITIONS = (
    "CREATE SEQUENCE purchase_numbers",
    "CREATE TABLE terminal_reports_other PARTITION OF terminal_reports DEFAULT",
    # Rows that came before their month's partition stay where they are; the month then stays in the default one.
    """
    CREATE FUNCTION make_report_partition(month date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
    DECLARE
        first_day date := date_trunc('month', month);
        name text := 'terminal_reports_' || to_char(first_day, 'YYYY_MM');
    BEGIN
        IF to_regclass(name) IS NOT NULL THEN
            RETURN false;
        END IF;
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF terminal_reports FOR VALUES FROM (%L) TO (%L)',
            name, first_day::timestamp AT TIME ZONE 'UTC', (first_day + interval '1 month')::timestamp AT TIME ZONE 'UTC'
        );
        RETURN true;
    EXCEPTION WHEN check_violation OR duplicate_table THEN
        RETURN false;
    END $$
    """,
)

_BALANCED = (
    """
    CREATE FUNCTION entries_are_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        wrong record;
    BEGIN
        SELECT transaction_id, sum(amount) AS total INTO wrong
          FROM added GROUP BY transaction_id HAVING sum(amount) <> 0 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transaction % is not balanced: its lines sum to %', wrong.transaction_id, wrong.total
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER entries_are_balanced AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION entries_are_balanced()
    """,
)

#: What the application may change; everything else it may only read and add to. It deletes nothing.
_CHANGEABLE = (
    "allowances, commands, control_states, customers, contacts, idempotency_keys, ledger_accounts, notices, "
    "staff_members, supply_contracts, supply_points, terminal_live, terminal_rounds, terminal_spools, terminals"
)

_RIGHTS = (
    """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'wattgate_app') THEN
            CREATE ROLE wattgate_app LOGIN;
        END IF;
    END $$
    """,
    "GRANT USAGE ON SCHEMA public TO wattgate_app",
    "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO wattgate_app",
    f"GRANT UPDATE ON {_CHANGEABLE} TO wattgate_app",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO wattgate_app",
    "REVOKE INSERT ON alembic_version FROM wattgate_app",
    "REVOKE ALL ON FUNCTION make_report_partition(date) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION make_report_partition(date) TO wattgate_app",
)


def upgrade() -> None:
    op.create_table(
        "offices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offices")),
        sa.UniqueConstraint("code", name=op.f("uq_offices_code")),
    )
    op.create_table(
        "quarantined_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined_messages")),
    )
    op.create_index(
        op.f("ix_quarantined_messages_received_at"), "quarantined_messages", ["received_at"], unique=False
    )
    op.create_table(
        "terminal_events",
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("spool_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "spool_id", "seq", name=op.f("pk_terminal_events")),
    )
    op.create_index("ix_terminal_events_at", "terminal_events", ["terminal_id", "at"], unique=False)
    op.create_table(
        "terminal_reports",
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("spool_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backfilled", sa.Boolean(), nullable=False),
        sa.Column("supplied_wh", sa.BigInteger(), nullable=False),
        sa.Column("active_power_w", sa.BigInteger(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "spool_id", "seq", "at", name=op.f("pk_terminal_reports")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_terminal_reports_at", "terminal_reports", ["terminal_id", "at"], unique=False)
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_no", sa.String(length=20), nullable=False),
        sa.Column("office_id", sa.Uuid(), nullable=False),
        sa.Column("name_zh", sa.String(length=200), nullable=False),
        sa.Column("name_en", sa.String(length=200), nullable=False),
        sa.Column("industry", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "industry IN ('metallurgy', 'machinery', 'chemicals', 'textiles', 'electronics', 'food', 'cement', 'commerce', 'hospital', 'education', 'water', 'logistics')",
            name=op.f("ck_customers_industry"),
        ),
        sa.ForeignKeyConstraint(["office_id"], ["offices.id"], name=op.f("fk_customers_office_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customers")),
        sa.UniqueConstraint("customer_no", name=op.f("uq_customers_customer_no")),
    )
    op.create_table(
        "staff_members",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sign_in_name", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.Column("office_id", sa.Uuid(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "roles <@ ARRAY['cashier', 'operator', 'approver', 'account_manager', 'tariff_keeper', 'auditor', 'administrator']::text[]",
            name=op.f("ck_staff_members_roles_are_known"),
        ),
        sa.CheckConstraint(
            "sign_in_name = lower(sign_in_name)", name=op.f("ck_staff_members_sign_in_name_is_lower_case")
        ),
        sa.ForeignKeyConstraint(["office_id"], ["offices.id"], name=op.f("fk_staff_members_office_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_members")),
        sa.UniqueConstraint("sign_in_name", name=op.f("uq_staff_members_sign_in_name")),
    )
    op.create_index(op.f("ix_staff_members_office_id"), "staff_members", ["office_id"], unique=False)
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("duty", sa.String(length=100), nullable=False),
        sa.Column("phone", sa.String(length=40), nullable=False),
        sa.Column("email", sa.String(length=200), nullable=True),
        sa.Column("language", sa.String(length=2), nullable=False),
        sa.CheckConstraint("language IN ('zh', 'en')", name=op.f("ck_contacts_language")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_contacts_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
    )
    op.create_index(op.f("ix_contacts_customer_id"), "contacts", ["customer_id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status IS NULL) = (body IS NULL)", name=op.f("ck_idempotency_keys_answer_is_whole")),
        sa.ForeignKeyConstraint(["created_by"], ["staff_members.id"], name=op.f("fk_idempotency_keys_created_by")),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "ledger_transactions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("book", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("business_key", sa.String(length=120), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("reverses_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("book IN ('money', 'energy')", name=op.f("ck_ledger_transactions_book")),
        sa.ForeignKeyConstraint(["actor_id"], ["staff_members.id"], name=op.f("fk_ledger_transactions_actor_id")),
        sa.ForeignKeyConstraint(
            ["reverses_id"], ["ledger_transactions.id"], name=op.f("fk_ledger_transactions_reverses_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_transactions")),
        sa.UniqueConstraint("business_key", name=op.f("uq_ledger_transactions_business_key")),
        sa.UniqueConstraint("reverses_id", name=op.f("uq_ledger_transactions_reverses_id")),
    )
    op.create_table(
        "supply_points",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("point_no", sa.String(length=20), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("name_zh", sa.String(length=200), nullable=False),
        sa.Column("name_en", sa.String(length=200), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("feeder", sa.String(length=60), nullable=False),
        sa.Column("voltage_v", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_supply_points_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supply_points")),
        sa.UniqueConstraint("point_no", name=op.f("uq_supply_points_point_no")),
    )
    op.create_index(op.f("ix_supply_points_customer_id"), "supply_points", ["customer_id"], unique=False)
    op.create_table(
        "allowance_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(length=30), nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_allowance_grants_supply_point_id")
        ),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["ledger_transactions.id"], name=op.f("fk_allowance_grants_transaction_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allowance_grants")),
        sa.UniqueConstraint("transaction_id", name=op.f("uq_allowance_grants_transaction_id")),
    )
    op.create_index(
        op.f("ix_allowance_grants_supply_point_id"), "allowance_grants", ["supply_point_id"], unique=False
    )
    op.create_table(
        "allowances",
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("opening_supplied_wh", sa.BigInteger(), nullable=False),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=False),
        sa.Column("posted_supplied_wh", sa.BigInteger(), nullable=False),
        sa.Column("kept_nfen", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kept_nfen >= 0", name=op.f("ck_allowances_kept")),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_allowances_supply_point_id")
        ),
        sa.PrimaryKeyConstraint("supply_point_id", name=op.f("pk_allowances")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "control_states",
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.String(length=10), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=False),
        sa.Column("because", postgresql.JSONB(), nullable=False),
        sa.Column("held", postgresql.JSONB(), nullable=False),
        sa.Column("decision_id", sa.Uuid(), nullable=True),
        sa.Column("look_again_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("look_again_at_wh", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "stage IN ('normal', 'notice', 'warning', 'limited', 'tripped')", name=op.f("ck_control_states_stage")
        ),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_control_states_supply_point_id")
        ),
        sa.PrimaryKeyConstraint("supply_point_id", name=op.f("pk_control_states")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(op.f("ix_control_states_look_again_at"), "control_states", ["look_again_at"], unique=False)
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("book", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=True),
        sa.Column("normal_side", sa.SmallInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=True),
        sa.Column("balance", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("book IN ('money', 'energy')", name=op.f("ck_ledger_accounts_book")),
        sa.CheckConstraint(
            "kind IN ('till', 'deposit', 'receivable', 'revenue', 'allowance', 'energy_sold', 'energy_supplied')",
            name=op.f("ck_ledger_accounts_kind"),
        ),
        sa.CheckConstraint("(balance IS NULL) = (version IS NULL)", name=op.f("ck_ledger_accounts_kept_version")),
        sa.CheckConstraint(
            "(supply_point_id IS NULL) = (balance IS NULL)", name=op.f("ck_ledger_accounts_kept_balance")
        ),
        sa.CheckConstraint("floor IS NULL OR balance >= floor", name=op.f("ck_ledger_accounts_floor")),
        sa.CheckConstraint("normal_side IN (1, -1)", name=op.f("ck_ledger_accounts_normal_side")),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_ledger_accounts_supply_point_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_accounts")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "uq_ledger_accounts_kind",
        "ledger_accounts",
        ["supply_point_id", "kind"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("text_zh", sa.Text(), nullable=False),
        sa.Column("text_en", sa.Text(), nullable=False),
        sa.Column("cut_not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_by", sa.Uuid(), nullable=True),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("served_how", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_because", sa.String(length=200), nullable=True),
        sa.CheckConstraint(
            "kind IN ('reminder', 'written', 'warning', 'limited', 'second', 'tripped', 'restored')",
            name=op.f("ck_notices_kind"),
        ),
        sa.ForeignKeyConstraint(["issued_by"], ["staff_members.id"], name=op.f("fk_notices_issued_by")),
        sa.ForeignKeyConstraint(["supply_point_id"], ["supply_points.id"], name=op.f("fk_notices_supply_point_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index("ix_notices_command_id", "notices", ["command_id"], unique=False)
    op.create_index("ix_notices_supply_point_id", "notices", ["supply_point_id", "issued_at"], unique=False)
    op.create_table(
        "stage_decisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trigger", sa.String(length=30), nullable=False),
        sa.Column("stage_before", sa.String(length=10), nullable=False),
        sa.Column("stage", sa.String(length=10), nullable=False),
        sa.Column("because", postgresql.JSONB(), nullable=False),
        sa.Column("held", postgresql.JSONB(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_stage_decisions_supply_point_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stage_decisions")),
    )
    op.create_index(
        "ix_stage_decisions_supply_point_id", "stage_decisions", ["supply_point_id", "decided_at"], unique=False
    )
    op.create_table(
        "supply_contracts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contract_no", sa.String(length=30), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("capacity_kva", sa.Integer(), nullable=False),
        sa.Column("control_mode", sa.String(length=10), nullable=False),
        sa.Column("important_user", sa.String(length=10), nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("limit_w", sa.BigInteger(), nullable=False),
        sa.Column("notice_wh", sa.BigInteger(), nullable=True),
        sa.Column("notice_hours", sa.Integer(), nullable=True),
        sa.Column("warning_wh", sa.BigInteger(), nullable=True),
        sa.Column("warning_hours", sa.Integer(), nullable=True),
        sa.Column("limited_wh", sa.BigInteger(), nullable=True),
        sa.Column("limited_hours", sa.Integer(), nullable=True),
        sa.Column("trip_wh", sa.BigInteger(), nullable=False),
        sa.Column("written_notice_s", sa.Integer(), nullable=False),
        sa.Column("second_notice_s", sa.Integer(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("control_mode IN ('local', 'remote')", name=op.f("ck_supply_contracts_control_mode")),
        sa.CheckConstraint(
            "important_user IN ('none', 'temporary', 'second', 'first', 'special')",
            name=op.f("ck_supply_contracts_important_user"),
        ),
        sa.CheckConstraint("capacity_kva > 0 AND limit_w > 0", name=op.f("ck_supply_contracts_positive")),
        sa.CheckConstraint(
            "num_nonnulls(limited_wh, limited_hours) = 1", name=op.f("ck_supply_contracts_one_limited")
        ),
        sa.CheckConstraint("num_nonnulls(notice_wh, notice_hours) = 1", name=op.f("ck_supply_contracts_one_notice")),
        sa.CheckConstraint(
            "num_nonnulls(warning_wh, warning_hours) = 1", name=op.f("ck_supply_contracts_one_warning")
        ),
        sa.CheckConstraint(
            "written_notice_s >= 0 AND second_notice_s >= 0", name=op.f("ck_supply_contracts_notice_periods")
        ),
        sa.ForeignKeyConstraint(
            ["supply_point_id"], ["supply_points.id"], name=op.f("fk_supply_contracts_supply_point_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supply_contracts")),
        sa.UniqueConstraint("contract_no", name=op.f("uq_supply_contracts_contract_no")),
    )
    op.create_index(
        "uq_supply_contracts_open",
        "supply_contracts",
        ["supply_point_id"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "terminals",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("meter_no", sa.String(length=64), nullable=False),
        sa.Column("safe_load_w", sa.BigInteger(), nullable=False),
        sa.Column("credential_hash", sa.String(length=100), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.Column("last_order_no", sa.BigInteger(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("id ~ '^[A-Z0-9-]{4,32}$'", name=op.f("ck_terminals_id_form")),
        sa.CheckConstraint("last_order_no BETWEEN 0 AND 4294967295", name=op.f("ck_terminals_order_no_uint32")),
        sa.ForeignKeyConstraint(["supply_point_id"], ["supply_points.id"], name=op.f("fk_terminals_supply_point_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_terminals")),
        sa.UniqueConstraint("supply_point_id", name=op.f("uq_terminals_supply_point_id")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "commands",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("op", sa.String(length=12), nullable=False),
        sa.Column("args", postgresql.JSONB(), nullable=False),
        sa.Column("slot", sa.String(length=32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("command_class", sa.String(length=8), nullable=False),
        sa.Column("stage", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Uuid(), nullable=True),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("session", sa.String(length=32), nullable=True),
        sa.Column("nonce", sa.String(length=64), nullable=True),
        sa.Column("armed_power_w", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("armed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("operate_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delaying_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(command_class = 'cut') = (expires_at IS NOT NULL)", name=op.f("ck_commands_cuts_expire")
        ),
        sa.CheckConstraint("command_class IN ('cut', 'restore', 'other')", name=op.f("ck_commands_command_class")),
        sa.CheckConstraint(
            "op IN ('credit', 'control', 'warn', 'limit', 'trip', 'close', 'guarantee', 'configure')",
            name=op.f("ck_commands_op"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'received', 'armed', 'operating', 'delaying', 'executed', 'verified', 'refused', 'expired', 'cancelled', 'superseded', 'unknown', 'failed')",
            name=op.f("ck_commands_state"),
        ),
        sa.ForeignKeyConstraint(["requested_by"], ["staff_members.id"], name=op.f("fk_commands_requested_by")),
        sa.ForeignKeyConstraint(["supply_point_id"], ["supply_points.id"], name=op.f("fk_commands_supply_point_id")),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.id"], name=op.f("fk_commands_terminal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commands")),
        sa.UniqueConstraint("terminal_id", "version", name=op.f("uq_commands_terminal_id_version")),
    )
    op.create_index(
        "ix_commands_due_at",
        "commands",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('armed', 'delaying', 'operating', 'received', 'sent', 'waiting')"),
    )
    op.create_index("ix_commands_slot", "commands", ["terminal_id", "slot", "version"], unique=False)
    op.create_index(
        "ix_commands_trips",
        "commands",
        ["supply_point_id", "executed_at"],
        unique=False,
        postgresql_where=sa.text("op = 'trip'"),
    )
    op.create_index("ix_commands_supply_point_id", "commands", ["supply_point_id", "issued_at"], unique=False)
    op.create_index(
        "ix_commands_unproved",
        "commands",
        ["terminal_id"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "uq_commands_open",
        "commands",
        ["terminal_id", "slot"],
        unique=True,
        postgresql_where=sa.text("state IN ('armed', 'delaying', 'operating', 'received', 'sent', 'waiting')"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("transaction_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.SmallInteger(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=True),
        sa.Column("account_version", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(balance_after IS NULL) = (account_version IS NULL)", name=op.f("ck_ledger_entries_kept_balance")
        ),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_ledger_entries_amount")),
        sa.ForeignKeyConstraint(["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_entries_account_id")),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["ledger_transactions.id"], name=op.f("fk_ledger_entries_transaction_id")
        ),
        sa.PrimaryKeyConstraint("transaction_id", "line", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint(
            "account_id", "account_version", name=op.f("uq_ledger_entries_account_id_account_version")
        ),
    )
    op.create_table(
        "purchase_prices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        sa.Column("yuan_per_kwh", sa.Numeric(precision=18, scale=8), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("set_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "valid_until IS NULL OR valid_until > valid_from", name=op.f("ck_purchase_prices_validity")
        ),
        sa.CheckConstraint("yuan_per_kwh > 0", name=op.f("ck_purchase_prices_positive")),
        sa.ForeignKeyConstraint(
            ["contract_id"], ["supply_contracts.id"], name=op.f("fk_purchase_prices_contract_id")
        ),
        sa.ForeignKeyConstraint(["set_by"], ["staff_members.id"], name=op.f("fk_purchase_prices_set_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchase_prices")),
        sa.UniqueConstraint("contract_id", "valid_from", name=op.f("uq_purchase_prices_contract_id_valid_from")),
    )
    op.create_table(
        "purchases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purchase_no", sa.String(length=20), nullable=False),
        sa.Column("supply_point_id", sa.Uuid(), nullable=False),
        sa.Column("contract_id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("cashier_id", sa.Uuid(), nullable=False),
        sa.Column("paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("debt_paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("kept_before_nfen", sa.BigInteger(), nullable=False),
        sa.Column("kept_after_nfen", sa.BigInteger(), nullable=False),
        sa.Column("yuan_per_kwh", sa.Numeric(precision=18, scale=8), nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.Column("paid_until_wh", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.BigInteger(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("money_transaction_id", sa.Uuid(), nullable=False),
        sa.Column("energy_transaction_id", sa.Uuid(), nullable=True),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(energy_wh = 0) = (energy_transaction_id IS NULL)", name=op.f("ck_purchases_energy_booked")
        ),
        sa.CheckConstraint("energy_wh >= 0", name=op.f("ck_purchases_energy")),
        sa.CheckConstraint("paid_fen > 0 AND debt_paid_fen BETWEEN 0 AND paid_fen", name=op.f("ck_purchases_paid")),
        sa.ForeignKeyConstraint(["cashier_id"], ["staff_members.id"], name=op.f("fk_purchases_cashier_id")),
        sa.ForeignKeyConstraint(["contract_id"], ["supply_contracts.id"], name=op.f("fk_purchases_contract_id")),
        sa.ForeignKeyConstraint(
            ["energy_transaction_id"], ["ledger_transactions.id"], name=op.f("fk_purchases_energy_transaction_id")
        ),
        sa.ForeignKeyConstraint(
            ["money_transaction_id"], ["ledger_transactions.id"], name=op.f("fk_purchases_money_transaction_id")
        ),
        sa.ForeignKeyConstraint(["supply_point_id"], ["supply_points.id"], name=op.f("fk_purchases_supply_point_id")),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.id"], name=op.f("fk_purchases_terminal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchases")),
        sa.UniqueConstraint("energy_transaction_id", name=op.f("uq_purchases_energy_transaction_id")),
        sa.UniqueConstraint("money_transaction_id", name=op.f("uq_purchases_money_transaction_id")),
        sa.UniqueConstraint("purchase_no", name=op.f("uq_purchases_purchase_no")),
        sa.UniqueConstraint("terminal_id", "order_no", name=op.f("uq_purchases_terminal_id_order_no")),
    )
    op.create_index("ix_purchases_supply_point_id", "purchases", ["supply_point_id", "booked_at"], unique=False)
    op.create_table(
        "terminal_live",
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("session", sa.String(length=32), nullable=True),
        sa.Column("boot", sa.BigInteger(), nullable=True),
        sa.Column("firmware", sa.String(length=64), nullable=True),
        sa.Column("clock", sa.String(length=10), nullable=True),
        sa.Column("challenge", sa.String(length=64), nullable=True),
        sa.Column("commandable", sa.Boolean(), nullable=False),
        sa.Column("uptime_s", sa.BigInteger(), nullable=True),
        sa.Column("uptime_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("spool_id", sa.Uuid(), nullable=True),
        sa.Column("supplied_wh", sa.BigInteger(), nullable=True),
        sa.Column("supplied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("supplied_received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recent_load_w", sa.BigInteger(), nullable=False),
        sa.Column("active_power_w", sa.BigInteger(), nullable=True),
        sa.Column("power_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", postgresql.JSONB(), nullable=True),
        sa.Column("state_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.id"], name=op.f("fk_terminal_live_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", name=op.f("pk_terminal_live")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "terminal_rounds",
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("feeds_zh", sa.String(length=100), nullable=False),
        sa.Column("feeds_en", sa.String(length=100), nullable=False),
        sa.Column("importance", sa.Integer(), nullable=False),
        sa.Column("load_w", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("load_w >= 0", name=op.f("ck_terminal_rounds_load")),
        sa.CheckConstraint("round BETWEEN 1 AND 8", name=op.f("ck_terminal_rounds_round")),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.id"], name=op.f("fk_terminal_rounds_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", "round", name=op.f("pk_terminal_rounds")),
    )
    op.create_table(
        "terminal_spools",
        sa.Column("terminal_id", sa.String(length=32), nullable=False),
        sa.Column("spool_id", sa.Uuid(), nullable=False),
        sa.Column("stored", postgresql.INT8MULTIRANGE(), nullable=False),
        sa.Column("lost_before", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.id"], name=op.f("fk_terminal_spools_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", "spool_id", name=op.f("pk_terminal_spools")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "command_steps",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.String(length=20), nullable=False),
        sa.Column("code", sa.String(length=30), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("terminal_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["command_id"], ["commands.id"], name=op.f("fk_command_steps_command_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_command_steps")),
    )
    op.create_index(op.f("ix_command_steps_command_id"), "command_steps", ["command_id"], unique=False)
    for statement in (*_PARTITIONS, *_BALANCED, *_RIGHTS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION make_report_partition(date)")
    op.execute("DROP FUNCTION entries_are_balanced CASCADE")
    op.drop_index(op.f("ix_command_steps_command_id"), table_name="command_steps")
    op.drop_table("command_steps")
    op.drop_table("terminal_spools")
    op.drop_table("terminal_rounds")
    op.drop_table("terminal_live")
    op.drop_index("ix_purchases_supply_point_id", table_name="purchases")
    op.drop_table("purchases")
    op.drop_table("purchase_prices")
    op.drop_table("ledger_entries")
    op.drop_index(
        "uq_commands_open",
        table_name="commands",
        postgresql_where=sa.text("state IN ('armed', 'delaying', 'operating', 'received', 'sent', 'waiting')"),
    )
    op.drop_index(
        "ix_commands_unproved",
        table_name="commands",
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_index("ix_commands_supply_point_id", table_name="commands")
    op.drop_index("ix_commands_trips", table_name="commands", postgresql_where=sa.text("op = 'trip'"))
    op.drop_index("ix_commands_slot", table_name="commands")
    op.drop_index(
        "ix_commands_due_at",
        table_name="commands",
        postgresql_where=sa.text("state IN ('armed', 'delaying', 'operating', 'received', 'sent', 'waiting')"),
    )
    op.drop_table("commands")
    op.drop_table("terminals")
    op.drop_index(
        "uq_supply_contracts_open", table_name="supply_contracts", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.drop_table("supply_contracts")
    op.drop_index("ix_stage_decisions_supply_point_id", table_name="stage_decisions")
    op.drop_table("stage_decisions")
    op.drop_index("ix_notices_supply_point_id", table_name="notices")
    op.drop_index("ix_notices_command_id", table_name="notices")
    op.drop_table("notices")
    op.drop_index("uq_ledger_accounts_kind", table_name="ledger_accounts", postgresql_nulls_not_distinct=True)
    op.drop_table("ledger_accounts")
    op.drop_index(op.f("ix_control_states_look_again_at"), table_name="control_states")
    op.drop_table("control_states")
    op.drop_table("allowances")
    op.drop_index(op.f("ix_allowance_grants_supply_point_id"), table_name="allowance_grants")
    op.drop_table("allowance_grants")
    op.drop_index(op.f("ix_supply_points_customer_id"), table_name="supply_points")
    op.drop_table("supply_points")
    op.drop_table("ledger_transactions")
    op.drop_table("idempotency_keys")
    op.drop_index(op.f("ix_contacts_customer_id"), table_name="contacts")
    op.drop_table("contacts")
    op.drop_index(op.f("ix_staff_members_office_id"), table_name="staff_members")
    op.drop_table("staff_members")
    op.drop_table("customers")
    op.drop_index("ix_terminal_reports_at", table_name="terminal_reports")
    op.drop_table("terminal_reports")
    op.drop_index("ix_terminal_events_at", table_name="terminal_events")
    op.drop_table("terminal_events")
    op.drop_index(op.f("ix_quarantined_messages_received_at"), table_name="quarantined_messages")
    op.drop_table("quarantined_messages")
    op.drop_table("offices")
    op.execute("DROP SEQUENCE purchase_numbers")
