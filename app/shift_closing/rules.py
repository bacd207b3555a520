"""What must be in a till, what was found in it, and what becomes of the difference."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from app.errors import Conflict, Forbidden, Refused
from app.ledger.rules import AccountKind, Line
from app.shifts.rules import ReceiptKind, ShiftState, TenderKind

#: Notes and coins in circulation, in fen: 100, 50, 20, 10, 5 and 1 yuan; 5 and 1 jiao; 5, 2 and 1 fen.
DENOMINATIONS_FEN = (10_000, 5_000, 2_000, 1_000, 500, 100, 50, 10, 5, 2, 1)

SLIP_TENDERS = tuple(kind for kind in TenderKind if kind is not TenderKind.CASH)


class CountUnequal(Refused):
    title = "Notes and coins do not make the sum"

    def __init__(self, *, told_fen: int, cash_fen: int) -> None:
        super().__init__(
            f"The notes and coins make {told_fen} fen, and the sum given is {cash_fen} fen.",
            remedy="Count again; give the sum that the notes and coins make, or the sum alone.",
            told_fen=told_fen,
            cash_fen=cash_fen,
        )


class NotYourShift(Forbidden):
    """A cashier counts the till that they answer for, and no other."""

    title = "The shift is another cashier's"

    def __init__(self) -> None:
        super().__init__(
            "This shift is another cashier's.", remedy="GET /api/v1/shifts lists yours; a supervisor sees all."
        )


class OwnShift(Forbidden):
    """Four eyes: who took the money does not say that it is all there."""

    title = "Nobody supervises their own shift"

    def __init__(self) -> None:
        super().__init__(
            "This is your own shift; it is compared, sent back and closed by another person.",
            remedy="Ask another approver.",
        )


class NotToBeCounted(Conflict):
    title = "The shift is not to be counted now"

    def __init__(self, *, state: str) -> None:
        super().__init__(
            f"The shift is {state}, so it takes no count.",
            remedy="A supervisor may ask for another count before it is closed.",
            state=state,
        )


class NotCounted(Conflict):
    """Nobody looks before the cashier has counted, or the count would not be blind."""

    title = "The shift is not counted"

    def __init__(self, *, state: str) -> None:
        super().__init__(
            f"The shift is {state}, so there is no count to judge.",
            remedy="Have the cashier count it: POST /api/v1/shifts/{shift_id}/count; a closed shift stays closed.",
            state=state,
        )


class CountedAnew(Conflict):
    """A supervisor closes what they have seen."""

    title = "The shift was counted anew"

    def __init__(self) -> None:
        super().__init__(
            "The count that you name is not the last one of this shift.",
            remedy="Look at the comparison again, and close with its `count_id`.",
        )


class ReasonNeeded(Refused):
    title = "A difference needs a reason"

    def __init__(self, *, differences_fen: Mapping[str, int]) -> None:
        told = ", ".join(f"{tender} {difference:+d} fen" for tender, difference in differences_fen.items())
        super().__init__(
            f"What was counted is not what the books say: {told}.",
            remedy="Give the `reason`, or ask for another count.",
            differences_fen=dict(differences_fen),
        )


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What receipts of one kind brought in and gave out in one form: how many receipts, and fen each way."""

    kind: ReceiptKind
    tender: TenderKind
    number: int
    in_fen: int
    out_fen: int


@dataclass(frozen=True, kw_only=True)
class Count:
    """What the cashier found: cash, and the sums of slips, all in fen."""

    cash_fen: int
    slips_fen: Mapping[TenderKind, int]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One tender: what the books expect, and what was counted, in fen."""

    tender: TenderKind
    expected_fen: int
    counted_fen: int

    @property
    def difference_fen(self) -> int:
        """Return what is over, or short where it is below zero."""
        return self.counted_fen - self.expected_fen


def check_denominations(denominations: Mapping[int, int], *, cash_fen: int) -> None:
    """Hold notes and coins to the sum given: 3 x 10 000 and 2 x 50 fen make 30 100 fen.

    Raises:
        CountUnequal: they make another sum.
    """
    told_fen = sum(value_fen * number for value_fen, number in denominations.items())
    if told_fen != cash_fen:
        raise CountUnequal(told_fen=told_fen, cash_fen=cash_fen)


def expected(float_fen: int, flows: Iterable[Flow]) -> dict[TenderKind, int]:
    """Return what must be there of each tender, in fen: cash with the float, of all else the slips of this shift.

    A float of 500.00, sales of 300.00 in cash and 200.00 by card, 50.00 refunded in cash: cash 75 000, card 20 000.
    A cheque is a slip where it was taken in; where it clears or comes back it lies at the bank.
    """
    sums = dict.fromkeys(TenderKind, 0)
    sums[TenderKind.CASH] = float_fen
    for flow in flows:
        if flow.tender is not TenderKind.CHEQUE or flow.kind is ReceiptKind.CHEQUE:
            sums[flow.tender] += flow.in_fen - flow.out_fen
    return sums


def compare(expected_fen: Mapping[TenderKind, int], count: Count) -> tuple[Compared, ...]:
    """Put what was counted beside what is expected, tender by tender; what was not told counts as none.

    Cash expected 75 000, counted 74 950: difference −50 fen, short.
    """
    counted = {TenderKind.CASH: count.cash_fen, **count.slips_fen}
    return tuple(
        Compared(tender=tender, expected_fen=expected_fen[tender], counted_fen=counted.get(tender, 0))
        for tender in TenderKind
    )


def check_reason(compared: Iterable[Compared], reason: str | None) -> None:
    """Hold a close with a difference, in cash or in slips, to a reason: 50 fen short and none → refused.

    Raises:
        ReasonNeeded: something differs, and no reason was given.
    """
    differences = {each.tender.value: each.difference_fen for each in compared if each.difference_fen}
    if differences and not reason:
        raise ReasonNeeded(differences_fen=differences)


def closing_lines(cash: Compared) -> tuple[Line, ...]:
    """Return how the cash leaves the till: what was counted to the safe, the difference to over and short.

    Expected 75 000, counted 74 950: safe +74 950, over-short +50, till −75 000. Nothing expected, nothing counted: no
    lines. Slips move no money: theirs lies at the bank, whose statement tells whether it came.
    """
    lines = (
        Line(kind=AccountKind.SAFE, amount=cash.counted_fen),
        Line(kind=AccountKind.OVER_SHORT, amount=-cash.difference_fen),
        Line(kind=AccountKind.TILL, amount=-cash.expected_fen),
    )
    return tuple(line for line in lines if line.amount)


def check_supervisor(person_id: UUID, *, cashier_id: UUID) -> None:
    """Hold a supervisor to other people's shifts, whatever roles they have.

    Raises:
        OwnShift: the cashier and the supervisor are one person.
    """
    if person_id == cashier_id:
        raise OwnShift


def check_countable(state: str) -> None:
    """Let an open shift be counted, and one that was sent back; no other.

    Raises:
        NotToBeCounted: it was counted, or is closed.
    """
    if state not in (ShiftState.OPEN, ShiftState.RECOUNT):
        raise NotToBeCounted(state=state)


def check_counted(state: str) -> None:
    """Let a counted shift be judged; no other.

    Raises:
        NotCounted: it is open, sent back or closed.
    """
    if state != ShiftState.COUNTED:
        raise NotCounted(state=state)


def seal_of(sealed: str) -> bytes:
    """Return the seal of totals: SHA-256 of their canonical text in UTF-8, 32 bytes."""
    return hashlib.sha256(sealed.encode()).digest()
