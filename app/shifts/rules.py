"""What money comes in as, where in the books it lies, and how a receipt is numbered."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.errors import Refused
from app.ledger.rules import AccountKind, Line


class TenderKind(StrEnum):
    """In what form money changes hands."""

    CASH = "cash"
    TRANSFER = "transfer"
    CHEQUE = "cheque"
    CARD = "card"
    ONLINE = "online"


class ShiftState(StrEnum):
    """Open: sells. Counted: sells no more. Recount: to be counted once more. Closed: a supervisor has sealed it."""

    OPEN = "open"
    COUNTED = "counted"
    RECOUNT = "recount"
    CLOSED = "closed"


class ReceiptKind(StrEnum):
    """What a receipt is for."""

    PURCHASE = "purchase"
    CHEQUE = "cheque"
    CHEQUE_RETURNED = "cheque_returned"
    REFUND = "refund"
    PAYMENT = "payment"


@dataclass(frozen=True, kw_only=True)
class Tender:
    """Money in one form: above zero comes in, below zero goes out, in fen; ``reference`` names its slip."""

    kind: TenderKind
    amount_fen: int
    reference: str = ""


class TendersUnequal(Refused):
    title = "The tenders do not make the amount"

    def __init__(self, *, tendered_fen: int, amount_fen: int) -> None:
        super().__init__(
            f"The tenders make {tendered_fen} fen, and the amount is {amount_fen} fen.",
            remedy="Give tenders whose sum is the amount.",
            tendered_fen=tendered_fen,
            amount_fen=amount_fen,
        )


class TenderUnusable(Refused):
    title = "A tender cannot be taken"

    def __init__(self, detail: str, *, remedy: str, kind: TenderKind) -> None:
        super().__init__(detail, remedy=remedy, kind=kind.value)


class TillLacksCash(Refused):
    """The books would hold a till below nothing; how much it holds is not told, since its count is blind."""

    title = "The till does not hold that much cash"

    def __init__(self, *, wanted_fen: int, as_it_came: bool) -> None:
        otherwise = "pay by transfer"
        if as_it_came:
            otherwise = "withdraw the reversal and ask for a refund, which may go by transfer"
        super().__init__(
            f"{wanted_fen} fen in cash are to go out, and the shift has not taken in that much with its float.",
            remedy=f"Have the shift closed and open one with more float, or {otherwise}.",
            wanted_fen=wanted_fen,
        )


def cash_of(tenders: Sequence[Tender]) -> int:
    """Return the cash among tenders in fen: 300.00 in cash and 200.00 by card → 30 000."""
    return sum(tender.amount_fen for tender in tenders if tender.kind is TenderKind.CASH)


def check_cash(tenders: Sequence[Tender], *, held_fen: int, as_it_came: bool = False) -> None:
    """Hold cash that goes out to what the till must hold: 300.00 out of 250.00 are refused, by transfer they pass.

    ``as_it_came``: it is a reversal, whose money cannot go back another way.

    Raises:
        TillLacksCash: more would go out.
    """
    change_fen = cash_of(tenders)
    if change_fen < 0 and held_fen + change_fen < 0:
        raise TillLacksCash(wanted_fen=-change_fen, as_it_came=as_it_came)


def check_tenders(tenders: Sequence[Tender], *, amount_fen: int, cheque_cleared: bool = False) -> None:
    """Hold the tenders of a payment to its amount: 500.00 yuan are 300.00 in cash and 200.00 by card "4711".

    A cheque is no money before it has cleared, so it does not pay for energy at once; ``cheque_cleared`` says that
    the bank has.

    Raises:
        TenderUnusable: a cheque that has not cleared; an amount that is not above zero; no reference where money
            leaves a slip elsewhere.
        TendersUnequal: the sum is another.
    """
    for tender in tenders:
        if tender.kind is TenderKind.CHEQUE and not cheque_cleared:
            raise TenderUnusable(
                "A cheque is no money before the bank has cleared it.",
                remedy="Take it in as a cheque; it buys energy when it is cleared.",
                kind=tender.kind,
            )
        if tender.amount_fen <= 0:
            raise TenderUnusable("A tender is above zero.", remedy="Leave out what was not paid.", kind=tender.kind)
        if tender.kind is not TenderKind.CASH and not tender.reference.strip():
            raise TenderUnusable(
                f"A {tender.kind} needs the number of its slip, or nobody could find it again.",
                remedy="Give the bank's, the card's or the channel's number as `reference`.",
                kind=tender.kind,
            )
    tendered_fen = sum(tender.amount_fen for tender in tenders)
    if tendered_fen != amount_fen:
        raise TendersUnequal(tendered_fen=tendered_fen, amount_fen=amount_fen)


def money_lines(tenders: Sequence[Tender]) -> tuple[Line, ...]:
    """Return where tenders lie in the money book: cash in the till, all else at the bank, one line an account.

    300.00 in cash and 200.00 by card → till +30 000, bank +20 000.
    """
    cash_fen = cash_of(tenders)
    bank_fen = sum(tender.amount_fen for tender in tenders if tender.kind is not TenderKind.CASH)
    lines = (Line(kind=AccountKind.TILL, amount=cash_fen), Line(kind=AccountKind.BANK, amount=bank_fen))
    return tuple(line for line in lines if line.amount)


def receipt_no(till_no: str, number: int) -> str:
    """Write a receipt's number: the 12th of till ``PD-1`` is ``PD-1-0000012``."""
    return f"{till_no}-{number:07d}"
