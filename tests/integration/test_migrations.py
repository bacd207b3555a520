"""The migrations and the models describe the same database, up and down."""

import subprocess

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import Database
from factories import a_contract, a_live_terminal, a_notice, a_purchase, a_state, a_terminal
from sqlalchemy import create_engine, text

from app import migrations
from app.clock import Clock
from app.commands.books import note_sent
from app.database import new_id, transaction
from app.embedded.postgres import EmbeddedPostgres
from app.load_control.service import Pace, reassess
from app.models import METADATA
from app.notices.rules import NoticeKind
from app.terminal_reports.rules import Batch, EventRow, ReportRow, Unreadable
from app.terminal_reports.service import record
from app.terminal_reports.sweep import make_partitions

PACE = Pace(clock=Clock(), report_interval_s=900)
#: What `fill` must reach; a table that a later migration adds joins when its feature has a factory.
TABLES_OF_A_DAY = {
    "allowance_grants", "allowances", "command_steps", "commands", "contacts", "control_states", "customers",
    "idempotency_keys", "ledger_accounts", "ledger_entries", "ledger_transactions", "notices", "offices",
    "purchase_prices", "purchases", "quarantined_messages", "stage_decisions", "staff_members", "supply_contracts",
    "supply_points", "terminal_events", "terminal_live", "terminal_reports", "terminal_rounds", "terminal_spools",
    "terminals",
}  # fmt: skip


def ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and name.startswith("terminal_reports_"))


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    owner = create_engine(database.owner_url)
    with owner.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours})
        assert compare_metadata(context, METADATA) == []
    owner.dispose()


def shape(server: EmbeddedPostgres, name: str) -> list[str]:
    """Return what pg_dump says of tables, constraints, functions, triggers and rights."""
    pg_dump = [server.bin_folder / "pg_dump", "--schema-only", f"--dbname={server.backup_url()} dbname={name}"]
    dumped = subprocess.run(pg_dump, capture_output=True, text=True, check=True).stdout.splitlines()
    # A word made by chance guards each dump against what stands in it.
    return [line for line in dumped if not line.startswith(("\\restrict", "\\unrestrict"))]


def fill(database: Database) -> set[str]:
    """Put rows into every table that a working day fills; returns the tables that stay empty."""
    with transaction(database.engine) as session:
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id, terminal_id="SH-0001")
        now = Clock().now()
        sold = a_purchase(session, contract=contract, now=now)
        a_live_terminal(session, terminal_id="SH-0001", now=now)
        assert sold.command_id is not None
        note_sent(session, [sold.command_id], step="do", now=now)
        a_notice(
            session,
            supply_point_id=contract.supply_point_id,
            kind=NoticeKind.WRITTEN,
            issued_at=now,
            cut_not_before=now,
            served_at=now,
        )
        reassess(session, [contract.supply_point_id], trigger="time", pace=PACE, now=now)
        told = ("SH-0001", new_id(), 1, now)
        event = EventRow(*told, "relay", "{}")
        report = ReportRow(*told, False, "synced", 1_000, 0, a_state(), "{}")
        unreadable = Unreadable("lm/v1/SH-0001/up/report", b"{", "not JSON")
        record(session, Batch(reports=[report], events=[event], unreadable=[unreadable]), pace=PACE, now=now)
        session.execute(
            text("""
                INSERT INTO idempotency_keys (scope, key, request_hash, status, body, created_by)
                SELECT 'POST /x', 'key', '', 201, '', id FROM staff_members LIMIT 1
            """)
        )
        tables = {name for name in METADATA.tables if session.scalar(text(f"SELECT count(*) FROM {name}")) == 0}  # noqa: S608
    make_partitions(database.engine, now=Clock().now())
    return tables


def test_down_to_nothing_and_up_again_with_a_day_of_data(
    postgres: EmbeddedPostgres, template_database: str, database: Database
) -> None:
    empty = fill(database)
    assert not empty & TABLES_OF_A_DAY
    database.engine.dispose()
    migrations.downgrade(database.owner_url, revision="base")
    owner = create_engine(database.owner_url)
    with owner.connect() as connection:
        left = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert left.scalars().all() == ["alembic_version"]
        functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = CAST('public' AS regnamespace)"
        assert connection.scalar(text(functions)) == 0
    migrations.upgrade(database.owner_url)
    with owner.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == migrations.head()
    owner.dispose()
    assert shape(postgres, database.name) == shape(postgres, template_database)
