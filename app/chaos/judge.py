"""The verdict: each question that must have a good answer once everything has healed, and what speaks against it."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import Engine, text

from app.chaos.journal import Asked
from app.chaos.terminals import Held
from app.chaos.tills import ROUTE, send
from app.database import transaction

_TIMEOUT_S = 30.0
_VERIFY_WITHIN_S = 120.0
_SHOWN_AT_MOST = 5

#: Before the tills begin there are purchases of the seed; those of the tills have a key of this route.
_KEYS = text("SELECT key, body FROM idempotency_keys WHERE scope LIKE :scope")
_PURCHASES = text("""
    SELECT purchase.purchase_no, purchase.paid_fen, contract.contract_no
      FROM purchases AS purchase JOIN supply_contracts AS contract ON contract.id = purchase.contract_id
     WHERE purchase.purchase_no <> ALL(:before)
""")
_NUMBERS = text("SELECT purchase_no FROM purchases")
_STORED = text("""
    SELECT terminal_id, spool_id, seq FROM terminal_reports UNION ALL
    SELECT terminal_id, spool_id, seq FROM terminal_events
""")
_BOOKS = text("""
    SELECT terminal.id AS terminal_id, terminal.last_order_no, allowance.paid_until_wh
      FROM terminals AS terminal JOIN allowances AS allowance USING (supply_point_id)
""")
_DISORDER = text("""
    SELECT concat_ws(' ', op, id, 'sent', sent_at, 'received', received_at, 'executed', executed_at) FROM commands
     WHERE (received_at IS NOT NULL AND sent_at IS NULL) OR (executed_at IS NOT NULL AND received_at IS NULL)
        OR (verified_at IS NOT NULL AND executed_at IS NULL)
""")
#: Everybody has paid far ahead, so that whatever cuts somebody is wrong.
_CUTS = text("""
    SELECT 'command ' || id AS cut FROM commands WHERE op IN ('trip', 'limit') UNION ALL
    SELECT 'event of ' || terminal_id FROM terminal_events WHERE type = 'trip' UNION ALL
    SELECT 'open round of ' || terminal_id FROM terminal_live WHERE state->>'rounds' LIKE '%0%'
""")
_QUARANTINE = text("SELECT topic, reason FROM quarantined_messages")


@dataclass(kw_only=True)
class Verdict:
    """What was asked and found, as figures; and every fault by the question that it answers badly."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not any(self.faults.values())

    def ask(self, question: str, against: list[str]) -> None:
        more = len(against) - _SHOWN_AT_MOST
        self.faults[question] = against[:_SHOWN_AT_MOST] + ([f"… and {more} more"] if more > 0 else [])


def numbers_before(engine: Engine) -> list[str]:
    """Return the purchases that were there before the tills began."""
    with transaction(engine) as session:
        return list(session.scalars(_NUMBERS))


def judge_sales(verdict: Verdict, asked: list[Asked], *, engine: Engine, before: list[str]) -> None:
    """Hold what the tills wrote down against the database."""
    acknowledged = {one.key: one for one in asked if one.acknowledged}
    with transaction(engine) as session:
        booked = session.execute(_PURCHASES, {"before": before}).all()
        kept = {row.key: bytes(row.body) for row in session.execute(_KEYS, {"scope": f"POST {ROUTE} %"})}
    told = {key: _answer_of(one) for key, one in acknowledged.items()}
    numbers = Counter(answer["purchase_no"] for answer in told.values())
    in_books = Counter(row.purchase_no for row in booked)
    verdict.figures |= {
        "sales_asked": len(asked),
        "sales_acknowledged": len(acknowledged),
        "purchases_in_the_books": len(booked),
        "retries": sum(one.tries - 1 for one in asked),
        "answers_that_were_replays": sum(one.replayed for one in asked),
    }
    verdict.ask("every key has its answer", [one.key for one in asked if one.status is None])
    refused = [f"{one.key}: {one.status} {one.answer}" for one in asked if one.status and not one.acknowledged]
    verdict.ask("nothing that could be sold was refused", refused)
    verdict.ask("no acknowledged purchase is lost", sorted(numbers.keys() - in_books.keys()))
    twice = [number for number, count in (numbers + in_books).items() if count != 2]  # noqa: PLR2004 - once in each
    verdict.ask("none is doubled, and none is there that nobody was told of", twice)
    other = [key for key, one in acknowledged.items() if kept.get(key) != (one.answer or "").encode()]
    verdict.ask("the stored answers are the acknowledged bytes", other + sorted(kept.keys() - acknowledged.keys()))
    paid = _sums((row.contract_no, row.paid_fen) for row in booked)
    said = _sums((answer["contract_no"], answer["paid_fen"]) for answer in told.values())
    verdict.ask(
        "each customer paid what the tills took", [name for name in paid | said if paid.get(name) != said.get(name)]
    )


def judge_replays(
    verdict: Verdict, by_till: Mapping[str, list[Asked]], *, url: str, tokens: Mapping[str, str]
) -> None:
    """Send every acknowledged sale once more: equal bytes, and the header that says so."""

    def again(name: str) -> list[str]:
        sold = [one for one in by_till[name] if one.acknowledged]
        headers = {"Authorization": f"Bearer {tokens[name]}"}
        with httpx.Client(base_url=url, timeout=_TIMEOUT_S, headers=headers) as http:
            return [one.key for one in sold if not _is_replay(send(http, one), one)]

    with ThreadPoolExecutor(len(by_till)) as clients:
        wrong = [key for found in clients.map(again, by_till) for key in found]
    verdict.ask("the same key gives the same bytes again", wrong)


def judge_reports(verdict: Verdict, terminals: list[Held], *, engine: Engine) -> None:
    """Hold what the terminals have receipts for against what is stored."""
    stored: dict[tuple[str, UUID], list[int]] = defaultdict(list)
    with transaction(engine) as session:
        for row in session.execute(_STORED):
            stored[row.terminal_id, row.spool_id].append(row.seq)
    lost, gone = [], []
    for one in terminals:
        for spool_id, numbers in one.receipted.items():
            missing = numbers - set(stored[one.terminal_id, spool_id])
            lost += [f"{one.terminal_id} {spool_id} {number}" for number in sorted(missing)]
        kept = len(one.receipted.get(one.spool_id, ())) + one.without_receipt
        if kept != one.made:
            gone.append(f"{one.terminal_id}: {one.made} made, {kept} receipted or kept")
    doubled = [str(where) for where, numbers in stored.items() if len(numbers) != len(set(numbers))]
    verdict.figures |= {
        "reports_and_events_made": sum(one.made for one in terminals),
        "reports_and_events_receipted": sum(len(each) for one in terminals for each in one.receipted.values()),
        "reports_and_events_stored": sum(map(len, stored.values())),
        "reports_and_events_still_in_spools": sum(one.without_receipt for one in terminals),
    }
    verdict.ask("every report with a receipt is in the database", lost)
    verdict.ask("no report is stored twice", doubled)
    verdict.ask("no terminal has forgotten a report without a receipt", gone)


def judge_terminals(verdict: Verdict, terminals: list[Held], *, engine: Engine, uncut: bool = True) -> None:
    """Hold what the terminals may still deliver against the books, and look for wrong cuts and lost messages.

    ``uncut`` False is for a run in which people are cut rightly, and an attacker has terminals answer nonsense.
    """
    with transaction(engine) as session:
        books = {row.terminal_id: (row.last_order_no, row.paid_until_wh) for row in session.execute(_BOOKS)}
        verdict.ask("facts of commands are complete", list(session.scalars(_DISORDER)))
        if uncut:
            verdict.ask("nobody was cut", [str(row.cut) for row in session.execute(_CUTS)])
            stray = [f"{row.topic}: {row.reason}" for row in session.execute(_QUARANTINE)]
            verdict.ask("nothing went to quarantine", stray)
    differ = [
        f"{one.terminal_id} holds {(one.kept.order_no, one.kept.paid_until_wh)}, the books {books[one.terminal_id]}"
        for one in terminals
        if (one.kept.order_no, one.kept.paid_until_wh) != books[one.terminal_id]
    ]
    verdict.ask("each terminal's order and paid-until are those of the books", differ)


def judge_books(verdict: Verdict, *, environment: Mapping[str, str]) -> None:
    """Run ``wattgate verify`` as its user does."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "verify"],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=_VERIFY_WITHIN_S,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("holds")]
    verdict.ask("wattgate verify is clean", said if done.returncode else [])


def _answer_of(one: Asked) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(one.answer or "{}")
    return answer


def _is_replay(answer: httpx.Response, one: Asked) -> bool:
    return answer.text == one.answer and answer.headers.get("idempotent-replayed") == "true"


def _sums(pairs: Any) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, amount in pairs:
        sums[name] += amount
    return dict(sums)
