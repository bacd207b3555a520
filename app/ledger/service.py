"""Writes to the two books: opens accounts and posts whole transactions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import Step, new_id, together
from app.ledger.rules import CHART, AccountKind, Line, Overdrawn, Posting, check

# One statement for all that a sale posts: balances, transactions and entries, in one round trip.
_POST = text("""
    WITH moved AS (
        UPDATE ledger_accounts AS account
           SET balance = account.balance + change.amount, version = account.version + 1
          FROM unnest(CAST(:kept AS uuid[]), CAST(:changes AS bigint[])) AS change (id, amount)
         WHERE account.id = change.id
           AND (account.floor IS NULL OR account.balance + change.amount >= account.floor)
     RETURNING account.id, account.balance, account.version
    ), posted AS (
        INSERT INTO ledger_transactions
               (id, book, kind, business_key, effective_at, recorded_at, actor_id, reverses_id, shift_id)
        SELECT id, book, kind, business_key, :effective_at, :recorded_at, CAST(:actor_id AS uuid), reverses_id,
               shift_id
          FROM unnest(CAST(:ids AS uuid[]), CAST(:books AS text[]), CAST(:kinds AS text[]), CAST(:keys AS text[]),
                      CAST(:reverses AS uuid[]), CAST(:shifts AS uuid[]))
               AS t (id, book, kind, business_key, reverses_id, shift_id)
    ), entered AS (
        INSERT INTO ledger_entries (transaction_id, line, account_id, amount, balance_after, account_version)
        SELECT entry.transaction_id, entry.line, entry.account_id, entry.amount, moved.balance, moved.version
          FROM unnest(CAST(:transactions AS uuid[]), CAST(:lines AS smallint[]), CAST(:accounts AS uuid[]),
                      CAST(:amounts AS bigint[])) AS entry (transaction_id, line, account_id, amount)
          LEFT JOIN moved ON moved.id = entry.account_id
    )
    SELECT id FROM moved
""")

# Sent as arrays: a statement with a row of parameters for each account would be put together anew each time.
_OPEN = text("""
    INSERT INTO ledger_accounts (id, book, kind, supply_point_id, normal_side, floor, balance, version)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:books AS text[]), CAST(:kinds AS text[]),
                         CAST(:points AS uuid[]), CAST(:sides AS smallint[]), CAST(:floors AS bigint[]),
                         CAST(:balances AS bigint[]), CAST(:balances AS bigint[]))
        ON CONFLICT DO NOTHING
""")


def account_id(kind: AccountKind, supply_point_id: UUID | None) -> UUID:
    """Return the id of an account: it follows from the kind and, for a customer's, from the supply point."""
    owner = supply_point_id if CHART[kind].of_customer else NAMESPACE_OID
    if owner is None:
        raise ValueError(f"{kind} is a customer's account; name the supply point")
    return uuid5(owner, f"wattgate:{kind}")


def open_accounts(session: Session, supply_point_id: UUID) -> None:
    """Open the customer's accounts of a supply point, and the utility's own where they are not there yet."""
    opened = list(CHART.items())
    values = {
        "ids": [account_id(kind, supply_point_id) for kind, _ in opened],
        "books": [chart.book for _, chart in opened],
        "kinds": [kind for kind, _ in opened],
        "points": [supply_point_id if chart.of_customer else None for _, chart in opened],
        "sides": [chart.normal_side for _, chart in opened],
        "floors": [chart.floor for _, chart in opened],
        "balances": [0 if chart.of_customer else None for _, chart in opened],
    }
    session.execute(_OPEN, values)


def post(
    session: Session,
    supply_point_id: UUID | None,
    postings: Sequence[Posting],
    *,
    now: datetime,
    actor_id: UUID | None,
    effective_at: datetime | None = None,
) -> list[UUID]:
    """Post transactions for one supply point, whose lock the caller holds; returns their ids in order.

    Without a supply point they may touch the utility's own accounts only.

    Raises:
        Overdrawn: a line would take a kept account below its floor; the caller's transaction must not be committed.
        ValueError: a posting is not whole, or one account appears twice in the same call.
    """
    at = (effective_at or now, now)
    ids, step = to_post(supply_point_id, postings, effective_and_recorded_at=at, actor_id=actor_id)
    together(session, step)
    return ids


def to_post(
    supply_point_id: UUID | None,
    postings: Sequence[Posting],
    *,
    effective_and_recorded_at: tuple[datetime, datetime],
    actor_id: UUID | None,
) -> tuple[list[UUID], Step[None]]:
    """Return the ids that postings will have, and the step that posts them; raises as :func:`post`."""
    for posting in postings:
        check(posting)
    ids = [new_id() for _ in postings]
    kept = _kept_lines(supply_point_id, [line for posting in postings for line in posting.lines])
    values = {
        "kept": list(kept),
        "changes": [line.amount * CHART[line.kind].normal_side for line in kept.values()],
        "ids": ids,
        "books": [posting.book for posting in postings],
        "kinds": [posting.kind for posting in postings],
        "keys": [posting.business_key for posting in postings],
        "reverses": [posting.reverses_id for posting in postings],
        "shifts": [posting.shift_id for posting in postings],
        "effective_at": effective_and_recorded_at[0],
        "recorded_at": effective_and_recorded_at[1],
        "actor_id": actor_id,
        **_entries(supply_point_id, ids, postings),
    }

    def refuse_overdrawn(moved: list[Any]) -> None:
        for missing in kept.keys() - {row.id for row in moved}:
            raise Overdrawn(account=kept[missing].kind)

    return ids, Step(statement=_POST, values=values, read=refuse_overdrawn)


def _kept_lines(supply_point_id: UUID | None, lines: list[Line]) -> dict[UUID, Line]:
    """Return the lines of accounts that keep their balance, by account."""
    kept = {account_id(line.kind, supply_point_id): line for line in lines if CHART[line.kind].of_customer}
    if len(kept) != sum(CHART[line.kind].of_customer for line in lines):
        raise ValueError("one account appears twice; add its lines up before posting")
    return kept


def _entries(supply_point_id: UUID | None, ids: list[UUID], postings: Sequence[Posting]) -> dict[str, list[Any]]:
    rows = [
        (transaction_id, number, account_id(line.kind, supply_point_id), line.amount)
        for transaction_id, posting in zip(ids, postings, strict=True)
        for number, line in enumerate(posting.lines, start=1)
    ]
    names = ("transactions", "lines", "accounts", "amounts")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
