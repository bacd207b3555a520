"""Which readings an exchange can have, and by how much everything that counts in readings moves."""

from dataclasses import dataclass
from datetime import timedelta

from app.errors import Conflict, Refused
from app.quantities import SECONDS_PER_HOUR

#: A site that draws twice its capacity has blown its fuses; what is above that is a slip of the pen.
_TIMES_CAPACITY = 2
_W_PER_KW = 1000


class FinalReadingTooLow(Refused):
    """A counter never runs back, so a lower reading is of another counter, or was misread."""

    title = "The final reading is below what was reported"

    def __init__(self, *, old_final_wh: int, reported_wh: int) -> None:
        super().__init__(
            f"The old counter was reported at {reported_wh:,} Wh, and {old_final_wh:,} Wh is below that.",
            remedy="Read the old counter again; check that the reading is of this terminal, and in Wh.",
            old_final_wh=old_final_wh,
            reported_wh=reported_wh,
        )


class FinalReadingTooHigh(Refused):
    """What nobody can have used would be taken from the customer's energy."""

    title = "The final reading is above what can have been used"

    def __init__(self, *, old_final_wh: int, most_wh: int) -> None:
        super().__init__(
            f"The old counter can have reached {most_wh:,} Wh at most since its last report, not {old_final_wh:,}.",
            remedy="Read the old counter again; check the number of digits, and that the reading is in Wh.",
            old_final_wh=old_final_wh,
            most_wh=most_wh,
        )


class RefundUnproved(Conflict):
    """The new terminal would be told of so little that it could trip a customer who was never warned."""

    title = "A refund that is not taken back leaves too little"

    def __init__(self, *, refunding_wh: int) -> None:
        super().__init__(
            f"Refunds took back {refunding_wh:,} Wh that the old terminal has not shown to have given up, and by its "
            "final reading too little stays without them.",
            remedy="Withdraw the refund, exchange the terminal, and ask for the refund again.",
            refunding_wh=refunding_wh,
        )


@dataclass(frozen=True, kw_only=True)
class Rebased:
    """Readings of the allowance in Wh, moved from the old counter to the new one; no energy comes or goes."""

    shift_wh: int
    opening_supplied_wh: int
    posted_supplied_wh: int
    paid_until_wh: int


def check_final_reading(
    old_final_wh: int, *, reported_wh: int, capacity_kva: int, silent_for: timedelta, report_valid_for: timedelta
) -> None:
    """Hold the old counter's last reading, as a person read it, to what the terminal itself has told.

    Reported at 1 000 000 Wh an hour ago at a capacity of 1 000 kVA, reports good for half an hour: from 1 000 000 Wh
    to 4 000 000 Wh, which is twice the capacity for an hour and a half.

    Raises:
        FinalReadingTooLow: the counter would have run back.
        FinalReadingTooHigh: the site cannot have used that much since.
    """
    if old_final_wh < reported_wh:
        raise FinalReadingTooLow(old_final_wh=old_final_wh, reported_wh=reported_wh)
    seconds = int((max(silent_for, timedelta()) + report_valid_for).total_seconds())
    most_wh = reported_wh + _TIMES_CAPACITY * capacity_kva * _W_PER_KW * seconds // SECONDS_PER_HOUR
    if old_final_wh > most_wh:
        raise FinalReadingTooHigh(old_final_wh=old_final_wh, most_wh=most_wh)


def rebase(
    *, opening_supplied_wh: int, posted_supplied_wh: int, paid_until_wh: int, old_final_wh: int, new_start_wh: int
) -> Rebased:
    """Move an allowance, posted up to the old counter's last reading, to the new counter.

    Opened at 0, supplied 12 000 000, paid until 20 000 000, old counter at 12 000 000, new one at 500: shifted by
    -11 999 500: paid until 8 000 500, so 8 000 000 Wh remain as before.
    """
    shift_wh = new_start_wh - old_final_wh
    return Rebased(
        shift_wh=shift_wh,
        opening_supplied_wh=opening_supplied_wh + shift_wh,
        posted_supplied_wh=posted_supplied_wh + shift_wh,
        paid_until_wh=paid_until_wh + shift_wh,
    )
