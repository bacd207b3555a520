"""The migrations and the models describe the same database, up and down."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import Database
from sqlalchemy import create_engine, text

from app import migrations
from app.models import METADATA


def ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and name.startswith("terminal_reports_"))


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    owner = create_engine(database.owner_url)
    with owner.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours})
        assert compare_metadata(context, METADATA) == []
    owner.dispose()


def test_down_to_nothing_and_up_again(database: Database) -> None:
    database.engine.dispose()
    migrations.downgrade(database.owner_url, revision="base")
    owner = create_engine(database.owner_url)
    with owner.connect() as connection:
        left = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert left.scalars().all() == ["alembic_version"]
    migrations.upgrade(database.owner_url)
    with owner.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == migrations.head()
    owner.dispose()
