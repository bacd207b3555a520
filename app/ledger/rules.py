"""The chart of accounts and what makes a posting whole."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.errors import Refused


class Book(StrEnum):
    MONEY = "money"
    ENERGY = "energy"


DEBIT = 1
CREDIT = -1


class AccountKind(StrEnum):
    """Accounts of both books; those of a customer are kept for each supply point."""

    TILL = "till"
    BANK = "bank"
    SAFE = "safe"
    CHEQUES = "cheques"
    CHEQUES_OWED = "cheques_owed"
    OVER_SHORT = "over_short"
    DEPOSIT = "deposit"
    RECEIVABLE = "receivable"
    REVENUE = "revenue"
    OPENING_MONEY = "opening_money"
    ALLOWANCE = "allowance"
    EMERGENCY = "emergency"
    ENERGY_SOLD = "energy_sold"
    ENERGY_SUPPLIED = "energy_supplied"
    OPENING_ENERGY = "opening_energy"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """How an account of one kind behaves."""

    book: Book
    normal_side: int
    of_customer: bool
    floor: int | None = None


#: Money: what customers paid in advance is owed to them (deposit); what they owe is receivable. Cash lies in tills,
#: and in the safe between shifts; a cheque lies beside what it would pay until the bank has cleared it.
#: Energy: what was sold and not yet supplied is owed to the customer (allowance), below zero in overdraft. Emergency
#: credit was lent, and the next purchase gives it back first.
CHART: dict[AccountKind, Chart] = {
    AccountKind.TILL: Chart(book=Book.MONEY, normal_side=DEBIT, of_customer=False),
    AccountKind.BANK: Chart(book=Book.MONEY, normal_side=DEBIT, of_customer=False),
    AccountKind.SAFE: Chart(book=Book.MONEY, normal_side=DEBIT, of_customer=False),
    AccountKind.CHEQUES: Chart(book=Book.MONEY, normal_side=DEBIT, of_customer=False),
    AccountKind.CHEQUES_OWED: Chart(book=Book.MONEY, normal_side=CREDIT, of_customer=False),
    AccountKind.OVER_SHORT: Chart(book=Book.MONEY, normal_side=DEBIT, of_customer=False),
    AccountKind.DEPOSIT: Chart(book=Book.MONEY, normal_side=CREDIT, of_customer=True, floor=0),
    AccountKind.RECEIVABLE: Chart(book=Book.MONEY, normal_side=DEBIT, of_customer=True, floor=0),
    AccountKind.REVENUE: Chart(book=Book.MONEY, normal_side=CREDIT, of_customer=False),
    AccountKind.OPENING_MONEY: Chart(book=Book.MONEY, normal_side=CREDIT, of_customer=False),
    AccountKind.ALLOWANCE: Chart(book=Book.ENERGY, normal_side=CREDIT, of_customer=True),
    AccountKind.EMERGENCY: Chart(book=Book.ENERGY, normal_side=DEBIT, of_customer=True, floor=0),
    AccountKind.ENERGY_SOLD: Chart(book=Book.ENERGY, normal_side=DEBIT, of_customer=False),
    AccountKind.ENERGY_SUPPLIED: Chart(book=Book.ENERGY, normal_side=CREDIT, of_customer=False),
    AccountKind.OPENING_ENERGY: Chart(book=Book.ENERGY, normal_side=DEBIT, of_customer=False),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line to be posted: debit above zero, credit below, in fen or Wh by the account's book."""

    kind: AccountKind
    amount: int


@dataclass(frozen=True, kw_only=True)
class Posting:
    """One transaction to be posted in one book for one supply point; ``shift_id`` is of the till that it touches."""

    kind: str
    business_key: str
    lines: tuple[Line, ...]
    reverses_id: UUID | None = None
    shift_id: UUID | None = None

    @property
    def book(self) -> Book:
        return CHART[self.lines[0].kind].book


class Overdrawn(Refused):
    title = "The account does not hold that much"

    def __init__(self, *, account: str) -> None:
        super().__init__(
            f"The entry would take account {account} below its floor.",
            remedy="Post at most what the account holds.",
            account=account,
        )


def check(posting: Posting) -> None:
    """Hold a posting to double entry: at least two lines, one book, none zero, sum zero.

    Paying 50 000.00 yuan in advance: till +5_000_000, deposit -5_000_000, sum 0.

    Raises:
        ValueError: the caller built a posting that is not whole; a bug, not a refusal.
    """
    if len(posting.lines) < 2:  # noqa: PLR2004 - double entry means two
        raise ValueError(f"{posting.business_key}: double entry needs two lines or more")
    if any(line.amount == 0 for line in posting.lines):
        raise ValueError(f"{posting.business_key}: a line of zero says nothing")
    if len({CHART[line.kind].book for line in posting.lines}) != 1:
        raise ValueError(f"{posting.business_key}: money and energy are separate books")
    if sum(line.amount for line in posting.lines) != 0:
        raise ValueError(
            f"{posting.business_key}: the lines sum to {sum(line.amount for line in posting.lines)}, not 0"
        )
