"""Writes to the two books: opens accounts and posts whole transactions."""

from collections.abc import Sequence
from datetime import datetime
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.database import new_id
from app.ledger.models import LedgerAccount
from app.ledger.rules import CHART, AccountKind, Line, Overdrawn, Posting, check

_MOVE = text("""
    UPDATE ledger_accounts AS account
       SET balance = account.balance + moved.change, version = account.version + 1
      FROM unnest(CAST(:ids AS uuid[]), CAST(:changes AS bigint[])) AS moved (id, change)
     WHERE account.id = moved.id
       AND (account.floor IS NULL OR account.balance + moved.change >= account.floor)
    RETURNING account.id, account.balance, account.version
""")

_ADD_TRANSACTIONS = text("""
    INSERT INTO ledger_transactions (id, book, kind, business_key, effective_at, recorded_at, actor_id, reverses_id)
    SELECT id, book, kind, business_key, :effective_at, :recorded_at, CAST(:actor_id AS uuid), reverses_id
      FROM unnest(CAST(:ids AS uuid[]), CAST(:books AS text[]), CAST(:kinds AS text[]), CAST(:keys AS text[]),
                  CAST(:reverses AS uuid[])) AS t (id, book, kind, business_key, reverses_id)
""")

_ADD_ENTRIES = text("""
    INSERT INTO ledger_entries (transaction_id, line, account_id, amount, balance_after, account_version)
    SELECT * FROM unnest(CAST(:transactions AS uuid[]), CAST(:lines AS smallint[]), CAST(:accounts AS uuid[]),
                         CAST(:amounts AS bigint[]), CAST(:balances AS bigint[]), CAST(:versions AS bigint[]))
""")


def account_id(kind: AccountKind, supply_point_id: UUID) -> UUID:
    """Return the id of an account: it follows from the kind and, for a customer's, from the supply point."""
    owner = supply_point_id if CHART[kind].of_customer else NAMESPACE_OID
    return uuid5(owner, f"wattgate:{kind}")


def open_accounts(session: Session, supply_point_id: UUID) -> None:
    """Open the customer's accounts of a supply point, and the utility's own where they are not there yet."""
    rows = [
        {
            "id": account_id(kind, supply_point_id),
            "book": chart.book,
            "kind": kind,
            "supply_point_id": supply_point_id if chart.of_customer else None,
            "normal_side": chart.normal_side,
            "floor": chart.floor,
            "balance": 0 if chart.of_customer else None,
            "version": 0 if chart.of_customer else None,
        }
        for kind, chart in CHART.items()
    ]
    session.execute(insert(LedgerAccount).values(rows).on_conflict_do_nothing())


def post(
    session: Session,
    supply_point_id: UUID,
    postings: Sequence[Posting],
    *,
    now: datetime,
    actor_id: UUID | None,
    effective_at: datetime | None = None,
) -> list[UUID]:
    """Post transactions for one supply point, whose lock the caller holds; returns their ids in order.

    Raises:
        Overdrawn: a line would take a kept account below its floor; nothing is written.
        ValueError: a posting is not whole, or one account appears twice in the same call.
    """
    for posting in postings:
        check(posting)
    moved = _move_balances(session, supply_point_id, [line for posting in postings for line in posting.lines])
    ids = [new_id() for _ in postings]
    session.execute(
        _ADD_TRANSACTIONS,
        {
            "ids": ids,
            "books": [posting.book for posting in postings],
            "kinds": [posting.kind for posting in postings],
            "keys": [posting.business_key for posting in postings],
            "reverses": [posting.reverses_id for posting in postings],
            "effective_at": effective_at or now,
            "recorded_at": now,
            "actor_id": actor_id,
        },
    )
    _add_entries(session, supply_point_id, list(zip(ids, postings, strict=True)), moved)
    return ids


def _move_balances(session: Session, supply_point_id: UUID, lines: list[Line]) -> dict[UUID, tuple[int, int]]:
    kept = {account_id(line.kind, supply_point_id): line for line in lines if CHART[line.kind].of_customer}
    if len(kept) != sum(CHART[line.kind].of_customer for line in lines):
        raise ValueError("one account appears twice; add its lines up before posting")
    rows = session.execute(
        _MOVE,
        {
            "ids": list(kept),
            "changes": [line.amount * CHART[line.kind].normal_side for line in kept.values()],
        },
    ).all()
    moved = {row.id: (row.balance, row.version) for row in rows}
    for identity, line in kept.items():
        if identity not in moved:
            raise Overdrawn(account=line.kind)
    return moved


def _add_entries(
    session: Session,
    supply_point_id: UUID,
    transactions: list[tuple[UUID, Posting]],
    moved: dict[UUID, tuple[int, int]],
) -> None:
    rows = [
        (transaction_id, number, identity, line.amount, *moved.get(identity, (None, None)))
        for transaction_id, posting in transactions
        for number, line in enumerate(posting.lines, start=1)
        for identity in (account_id(line.kind, supply_point_id),)
    ]
    names = ("transactions", "lines", "accounts", "amounts", "balances", "versions")
    columns = zip(*rows, strict=True)
    session.execute(_ADD_ENTRIES, {name: list(column) for name, column in zip(names, columns, strict=True)})
