"""The books in the database: what it refuses, and what the application may not do to them."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from databases import Database
from factories import a_contract, a_purchase, a_terminal
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.database import transaction
from app.ledger import service as ledger
from app.ledger.rules import AccountKind, Line, Overdrawn, Posting

NOW = datetime(2026, 3, 2, tzinfo=UTC)

BOOKS = ("ledger_entries", "ledger_transactions", "allowance_grants", "purchases", "stage_decisions", "command_steps")


def a_bought_point(database: Database) -> UUID:
    with transaction(database.engine) as session:
        contract = a_contract(session)
        a_terminal(session, supply_point_id=contract.supply_point_id)
        a_purchase(session, contract=contract, now=NOW)
        return contract.supply_point_id


@pytest.mark.parametrize("table", BOOKS)
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET id = id", "TRUNCATE {}"])
def test_the_application_role_may_only_add_to_the_books(database: Database, table: str, change: str) -> None:
    column = "transaction_id" if table == "ledger_entries" else "id"
    statement = change.format(table).replace("SET id = id", f"SET {column} = {column}")
    with pytest.raises(DBAPIError, match="permission denied"), transaction(database.engine) as session:
        session.execute(text(statement))


def test_an_unbalanced_transaction_is_refused_by_the_database(database: Database) -> None:
    point = a_bought_point(database)
    with pytest.raises(IntegrityError, match="is not balanced"), transaction(database.engine) as session:
        session.execute(
            text("""
                INSERT INTO ledger_entries (transaction_id, line, account_id, amount)
                SELECT transaction_id, 9, account_id, 1 FROM ledger_entries
                 WHERE balance_after IS NULL LIMIT 1
            """)
        )
    assert point


def test_a_business_key_is_posted_once(database: Database) -> None:
    point = a_bought_point(database)
    lines = (Line(kind=AccountKind.TILL, amount=5), Line(kind=AccountKind.DEPOSIT, amount=-5))
    posting = Posting(kind="test", business_key="once", lines=lines)
    with transaction(database.engine) as session:
        ledger.post(session, point, [posting], now=NOW, actor_id=None)
    with pytest.raises(IntegrityError), transaction(database.engine) as session:
        ledger.post(session, point, [posting], now=NOW, actor_id=None)


def test_an_entry_below_the_floor_is_refused_with_nothing_written(database: Database) -> None:
    point = a_bought_point(database)
    lines = (Line(kind=AccountKind.DEPOSIT, amount=1_680_001), Line(kind=AccountKind.REVENUE, amount=-1_680_001))
    posting = Posting(kind="test", business_key="too much", lines=lines)
    with pytest.raises(Overdrawn), transaction(database.engine) as session:
        ledger.post(session, point, [posting], now=NOW, actor_id=None)
    with transaction(database.engine) as session:
        found = session.execute(text("SELECT count(*) FROM ledger_transactions WHERE business_key = 'too much'"))
        assert found.scalar_one() == 0


def test_the_floor_itself_may_be_reached(database: Database) -> None:
    point = a_bought_point(database)
    lines = (Line(kind=AccountKind.DEPOSIT, amount=1_680_000), Line(kind=AccountKind.REVENUE, amount=-1_680_000))
    with transaction(database.engine) as session:
        ids = ledger.post(
            session, point, [Posting(kind="test", business_key="all", lines=lines)], now=NOW, actor_id=None
        )
    assert len(ids) == 1


def test_one_account_may_not_appear_twice_in_a_call(database: Database) -> None:
    point = a_bought_point(database)
    lines = (Line(kind=AccountKind.TILL, amount=5), Line(kind=AccountKind.DEPOSIT, amount=-5))
    twice = [Posting(kind="test", business_key=key, lines=lines) for key in ("a", "b")]
    with pytest.raises(ValueError, match="appears twice"), transaction(database.engine) as session:
        ledger.post(session, point, twice, now=NOW, actor_id=None)
