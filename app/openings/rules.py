"""What an opening balance grants and posts, and when it may be taken over at all."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.customers.rules import ContractClosed, ContractClosing
from app.errors import Conflict, Refused
from app.ledger.rules import AccountKind, Line
from app.quantities import NANOFEN_PER_FEN

#: Money kept is held in nano-fen, of which a BIGINT holds 92 million yuan.
LARGEST_KEPT_FEN = 10_000_000 * 100


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a supply point brings along: energy in Wh at a reading of the terminal's counter, money in fen.

    ``energy_paid_fen`` is what was paid for the energy that is left, ``kept_fen`` money that has bought nothing yet.
    """

    contract_no: str
    reading_wh: int
    remaining_wh: int
    energy_paid_fen: int
    debt_fen: int
    kept_fen: int

    @property
    def kept_nfen(self) -> int:
        return self.kept_fen * NANOFEN_PER_FEN


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What stands there already on which an opening is built; energies in Wh."""

    contract_id: UUID
    contract_no: str
    closed_at: datetime | None
    supply_point_id: UUID
    paid_until_wh: int
    terminal_id: str | None
    alarm_wh: int
    trip_wh: int
    purchased: bool
    #: Energy was given by whatever deed, emergency credit among them: control has begun.
    granted: bool
    opened_at: datetime | None
    closing_since: datetime | None = None


class NothingToOpen(Refused):
    title = "The opening balance is empty"

    def __init__(self, *, contract_no: str) -> None:
        super().__init__(
            f"Contract {contract_no} brings neither energy nor debt nor money.",
            remedy="Leave it out: a contract without an opening balance begins at zero.",
            contract_no=contract_no,
        )


class PaidForNoEnergy(Refused):
    title = "Money was paid for energy that is not there"

    def __init__(self, *, contract_no: str, energy_paid_fen: int) -> None:
        super().__init__(
            f"{energy_paid_fen} fen were paid for the remaining energy of contract {contract_no}, which is zero.",
            remedy="Give money that has bought nothing as money kept, or give the remaining energy.",
            contract_no=contract_no,
        )


class ReadingBelowPaid(Refused):
    title = "The reading is below the counter's beginning"

    def __init__(self, *, contract_no: str, reading_wh: int, paid_until_wh: int) -> None:
        super().__init__(
            f"A reading of {reading_wh} Wh is below {paid_until_wh} Wh, where the counter of contract {contract_no} "
            "began.",
            remedy="Read the terminal's counter again; check that both are in kWh.",
            contract_no=contract_no,
        )


class OpenedBefore(Conflict):
    title = "The supply point has its opening balance"

    def __init__(self, *, contract_no: str, opened_at: datetime) -> None:
        super().__init__(
            f"Contract {contract_no} was given its opening balance at {opened_at:%Y-%m-%d %H:%M} UTC.",
            remedy="Leave it out: a supply point opens once.",
            contract_no=contract_no,
        )


class PurchasedBefore(Conflict):
    title = "Energy was sold already"

    def __init__(self, *, contract_no: str) -> None:
        super().__init__(
            f"Energy was sold on contract {contract_no}, so its balance is in the books already.",
            remedy="Leave it out; what is missing is put right at the counter.",
            contract_no=contract_no,
        )


class GrantedBefore(Conflict):
    title = "Energy was given already"

    def __init__(self, *, contract_no: str) -> None:
        super().__init__(
            f"The supply point of contract {contract_no} was given energy already, as emergency credit is, so its "
            "balance is in the books.",
            remedy="Leave it out; what is missing is put right at the counter. Next time open the balance first.",
            contract_no=contract_no,
        )


class NoTerminalToOpen(Refused):
    title = "There is no terminal to take the energy"

    def __init__(self, *, contract_no: str) -> None:
        super().__init__(
            f"The supply point of contract {contract_no} has no terminal, so energy cannot reach it.",
            remedy="Register the terminal first.",
            contract_no=contract_no,
        )


def granted_wh(opening: Opening, ground: Ground) -> int:
    """Return the energy to grant in Wh, so that paid-until is the reading plus what is left.

    A counter that began at 1 000 000 Wh, read at 1 200 000 Wh with 5 000 000 Wh left: paid until 6 200 000 Wh, so
    5 200 000 Wh are granted; 200 000 of them have been used. With nothing left 200 000 Wh are granted, or the first
    purchase would pay for them again.

    Raises:
        ContractClosed, ContractClosing, OpenedBefore, PurchasedBefore, GrantedBefore: it comes too late.
        NothingToOpen, PaidForNoEnergy, ReadingBelowPaid: its figures cannot be.
        NoTerminalToOpen: there is energy, and nothing to count it.
    """
    contract_no = ground.contract_no
    if ground.closed_at is not None:
        raise ContractClosed(contract_no=contract_no, closed_at=ground.closed_at)
    if ground.closing_since is not None:
        raise ContractClosing(contract_no=contract_no, closing_since=ground.closing_since)
    if ground.opened_at is not None:
        raise OpenedBefore(contract_no=contract_no, opened_at=ground.opened_at)
    if ground.purchased:
        raise PurchasedBefore(contract_no=contract_no)
    if ground.granted:
        raise GrantedBefore(contract_no=contract_no)
    if opening.energy_paid_fen and not opening.remaining_wh:
        raise PaidForNoEnergy(contract_no=contract_no, energy_paid_fen=opening.energy_paid_fen)
    if opening.reading_wh < ground.paid_until_wh:
        raise ReadingBelowPaid(
            contract_no=contract_no, reading_wh=opening.reading_wh, paid_until_wh=ground.paid_until_wh
        )
    energy_wh = opening.reading_wh + opening.remaining_wh - ground.paid_until_wh
    if not energy_wh and not opening.debt_fen and not opening.kept_fen:
        raise NothingToOpen(contract_no=contract_no)
    if opening.remaining_wh and ground.terminal_id is None:
        raise NoTerminalToOpen(contract_no=contract_no)
    return energy_wh


def money_lines(opening: Opening) -> tuple[Line, ...]:
    """Return the lines in fen that take over money and debt; none where there is neither.

    4 000.00 yuan paid for energy, 12.00 kept, 1 200.00 owed: deposit -401 200, receivable +120 000, opening +281 200.
    """
    deposited = opening.energy_paid_fen + opening.kept_fen
    amounts = (
        (AccountKind.DEPOSIT, -deposited),
        (AccountKind.RECEIVABLE, opening.debt_fen),
        (AccountKind.OPENING_MONEY, deposited - opening.debt_fen),
    )
    return tuple(Line(kind=kind, amount=amount) for kind, amount in amounts if amount)
