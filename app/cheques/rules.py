"""What a cheque is before, while and after it clears."""

from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum

from app.errors import Conflict, Refused
from app.ledger.rules import AccountKind, Line

#: The Negotiable Instruments Law of China, article 91: a cheque is presented within ten days of its date.
PRESENTED_WITHIN_DAYS = 10


class ChequeState(StrEnum):
    """In clearing: no money yet. Cleared: it has bought energy. Returned: it is worth nothing."""

    IN_CLEARING = "in_clearing"
    CLEARED = "cleared"
    RETURNED = "returned"


class ChequeUnusable(Refused):
    """A bank would not pay this cheque, so it is not taken in."""

    title = "The cheque cannot be taken"

    def __init__(self, detail: str, *, remedy: str, drawn_on: date) -> None:
        super().__init__(detail, remedy=remedy, drawn_on=drawn_on.isoformat())


class ChequeEnded(Conflict):
    """A cheque clears once or is returned once."""

    title = "The cheque is in clearing no more"

    def __init__(self, *, cheque_no: str, state: str) -> None:
        super().__init__(
            f"Cheque {cheque_no} was {state} already.",
            remedy="GET /api/v1/cheques/{cheque_id} tells when, by whom, and what became of it.",
            cheque_no=cheque_no,
            state=state,
        )


def check_date(drawn_on: date, *, today: date) -> None:
    """Hold a cheque's date to what a bank pays: not ahead, and not more than ten days back.

    Drawn on the 1st it can be taken from the 1st to the 11th.

    Raises:
        ChequeUnusable: the bank would refuse it.
    """
    if drawn_on > today:
        raise ChequeUnusable(
            f"The cheque is dated {drawn_on}, and today is {today}.",
            remedy="Take it in on that day, or ask for one of today.",
            drawn_on=drawn_on,
        )
    if drawn_on + timedelta(days=PRESENTED_WITHIN_DAYS) < today:
        raise ChequeUnusable(
            f"The cheque is dated {drawn_on}; a bank pays within {PRESENTED_WITHIN_DAYS} days of that.",
            remedy="Ask the customer for a new cheque.",
            drawn_on=drawn_on,
        )


def day_at(moment: datetime, zone: tzinfo) -> date:
    """Return the day that a moment falls on in an office: 2026-03-01 20:00 UTC is 2 March in Shanghai."""
    return moment.astimezone(zone).date()


def days_in_clearing(taken_at: datetime, *, until: datetime) -> int:
    """Return for how many whole days a cheque has been, or was, in clearing: 49 hours are 2 days."""
    return (until - taken_at).days


def taken_lines(amount_fen: int) -> tuple[Line, ...]:
    """Return how a cheque of so many fen lies in the money book: 500.00 yuan → cheques +50 000, owed −50 000.

    Neither side is the customer's: nothing was paid yet, and nothing is owed but the paper.
    """
    return (
        Line(kind=AccountKind.CHEQUES, amount=amount_fen),
        Line(kind=AccountKind.CHEQUES_OWED, amount=-amount_fen),
    )


def ended_lines(amount_fen: int) -> tuple[Line, ...]:
    """Return what takes a cheque out again when it has cleared or come back: the lines of its start, turned round."""
    return tuple(Line(kind=line.kind, amount=-line.amount) for line in taken_lines(amount_fen))
