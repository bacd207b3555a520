"""How much energy may still be lent."""

from app.errors import Refused


class EmergencyCreditRefused(Refused):
    """Emergency credit is agreed by contract, up to a limit, and for who is about to run out of energy."""

    title = "No emergency credit"

    def __init__(self, because: str, *, detail: str, remedy: str, most_wh: int) -> None:
        super().__init__(detail, remedy=remedy, because=because, most_wh=most_wh)


def check_lending(*, wanted_wh: int, limit_wh: int, lent_wh: int, remaining_wh: int | None, notice_wh: int) -> None:
    """Refuse what was not agreed, or is not needed.

    With a limit of 5 000 000 Wh and 2 000 000 Wh lent, 3 000 000 Wh may be lent; none while more energy remains than
    the level of the first notice.

    Raises:
        EmergencyCreditRefused: names why, and how much could be lent.
    """
    most_wh = max(limit_wh - lent_wh, 0)
    if limit_wh == 0:
        raise EmergencyCreditRefused(
            "not_agreed",
            detail="The contract does not agree on emergency credit.",
            remedy="Sell energy, or agree on emergency credit in the contract.",
            most_wh=0,
        )
    if remaining_wh is None or remaining_wh > notice_wh:
        raise EmergencyCreditRefused(
            "not_needed",
            detail="More energy remains than the level at which the customer is first told that it runs out.",
            remedy="Ask again when that level is reached.",
            most_wh=most_wh,
        )
    if wanted_wh > most_wh:
        raise EmergencyCreditRefused(
            "above_the_limit",
            detail=f"{lent_wh:,} of {limit_wh:,} Wh are lent already, so {most_wh:,} Wh may still be lent.",
            remedy="Lend at most that, or sell energy.",
            most_wh=most_wh,
        )
