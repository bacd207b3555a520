"""What a supply contract promises, in pure form: thresholds, and whether it can be sold to now."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.errors import Refused
from app.quantities import SECONDS_PER_HOUR


class Industry(StrEnum):
    """Trades of large customers, as the master record writes them."""

    METALLURGY = "metallurgy"
    MACHINERY = "machinery"
    CHEMICALS = "chemicals"
    TEXTILES = "textiles"
    ELECTRONICS = "electronics"
    FOOD = "food"
    CEMENT = "cement"
    COMMERCE = "commerce"
    HOSPITAL = "hospital"
    EDUCATION = "education"
    WATER = "water"
    LOGISTICS = "logistics"


class ControlMode(StrEnum):
    """Who decides a cut: the terminal alone from what it holds, or the service."""

    LOCAL = "local"
    REMOTE = "remote"


class ImportantUser(StrEnum):
    """Grade of a customer whose loss of supply risks life, pollution, great loss or order (GB/T 29328)."""

    NONE = "none"
    TEMPORARY = "temporary"
    SECOND = "second"
    FIRST = "first"
    SPECIAL = "special"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A level of the remaining allowance, in Wh or in hours of supply at the recent load; exactly one is set."""

    energy_wh: int | None = None
    supply_hours: int | None = None

    def __post_init__(self) -> None:
        if (self.energy_wh is None) == (self.supply_hours is None):
            raise ValueError("a threshold is either an energy in Wh or hours of supply, not both and not none")

    def level_wh(self, *, recent_load_w: int) -> int:
        """Return the threshold in Wh at a recent mean load in W.

        72 h of supply at 458 333 W are 72 x 458 333 = 32 999 976 Wh; an energy stands whatever the load.
        Source: alarm threshold suggestion, three days of the month's mean use.
        """
        if self.energy_wh is not None:
            return self.energy_wh
        return (self.supply_hours or 0) * max(recent_load_w, 0)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Remaining allowance at which each stage begins; at or below the level, the stage is due."""

    notice: Threshold
    warning: Threshold
    limited: Threshold
    trip: Threshold


class ContractClosed(Refused):
    title = "The contract is closed"

    def __init__(self, *, contract_no: str, closed_at: datetime) -> None:
        super().__init__(
            f"Contract {contract_no} was closed at {closed_at:%Y-%m-%d %H:%M} UTC, so nothing can be sold on it.",
            remedy="Sell on the customer's open contract, or sign a new one first.",
            contract_no=contract_no,
        )


class ContractClosing(Refused):
    title = "The account is being closed"

    def __init__(self, *, contract_no: str, closing_since: datetime) -> None:
        super().__init__(
            f"The account of contract {contract_no} is being closed since {closing_since:%Y-%m-%d %H:%M} UTC, so "
            "nothing is sold or lent on it.",
            remedy="Finish the closing, or withdraw it where the customer stays.",
            contract_no=contract_no,
        )


class NoPriceInForce(Refused):
    title = "No purchase price is in force"

    def __init__(self, *, contract_no: str, at: datetime, expired_at: datetime | None) -> None:
        ended = f"; the last one expired at {expired_at:%Y-%m-%d %H:%M} UTC" if expired_at else ""
        super().__init__(
            f"Contract {contract_no} has no purchase price in force at {at:%Y-%m-%d %H:%M} UTC{ended}.",
            remedy="Ask a tariff keeper to set the purchase price for this period, then quote again.",
            contract_no=contract_no,
        )


class LimitAboveCapacity(Refused):
    title = "The limit is above the capacity"

    def __init__(self, *, limit_w: int, capacity_kva: int) -> None:
        super().__init__(
            f"A limit of {limit_w:,} W is above the capacity of {capacity_kva:,} kVA, so it would limit nothing.",
            remedy=f"Choose a limit of at most {capacity_w(capacity_kva):,} W.",
            limit_w=limit_w,
            capacity_kva=capacity_kva,
        )


class PriceEndsBeforeItBegins(Refused):
    title = "The price ends before it begins"

    def __init__(self, *, valid_from: datetime, valid_until: datetime) -> None:
        super().__init__(
            f"A price from {valid_from.isoformat()} until {valid_until.isoformat()} is never in force.",
            remedy="Choose an end after the beginning, or no end at all.",
            valid_from=valid_from.isoformat(),
            valid_until=valid_until.isoformat(),
        )


def capacity_w(capacity_kva: int) -> int:
    """Return a capacity as power in W, 1 kVA taken as 1 kW: 1 000 kVA are 1 000 000 W."""
    return capacity_kva * 1000


def check_limit(*, limit_w: int, capacity_kva: int) -> None:
    """Refuse a contract limit above the capacity: 300 000 W at 1 000 kVA pass, 1 200 000 W do not.

    Raises:
        LimitAboveCapacity: the limit in W is above the capacity.
    """
    if limit_w > capacity_w(capacity_kva):
        raise LimitAboveCapacity(limit_w=limit_w, capacity_kva=capacity_kva)


@dataclass(frozen=True, kw_only=True)
class NoticePeriods:
    """How long before a cut the customer is told, by the contract's jurisdiction.

    Written notice 3 to 7 days before and a second one 30 minutes before are usual for large customers.
    """

    written_s: int = 3 * 24 * SECONDS_PER_HOUR
    second_s: int = 1800
