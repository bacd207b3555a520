"""Refusals carry what was wrong, what would be right, and the facts; nothing of HTTP."""

import pytest

from app.errors import Conflict, DomainError, Forbidden, NotFound, Refused


class PriceExpired(Refused):
    title = "The price has expired"

    def __init__(self, *, price_no: int) -> None:
        super().__init__(f"Price {price_no} has expired.", remedy="Quote again.", price_no=price_no)


def test_a_refusal_says_what_was_wrong_and_what_would_be_right() -> None:
    refusal = PriceExpired(price_no=7)
    assert str(refusal) == refusal.detail == "Price 7 has expired."
    assert refusal.remedy == "Quote again."
    assert refusal.facts == {"price_no": 7}
    assert refusal.title == "The price has expired"


@pytest.mark.parametrize(
    ("kind", "slug"),
    [
        (PriceExpired, "price-expired"),
        (DomainError, "domain-error"),
        (NotFound, "not-found"),
        (Refused, "refused"),
    ],
)
def test_a_refusal_is_named_by_its_class(kind: type[DomainError], slug: str) -> None:
    assert kind.slug() == slug


@pytest.mark.parametrize("kind", [NotFound, Conflict, Forbidden, Refused])
def test_every_kind_has_a_title_of_its_own(kind: type[DomainError]) -> None:
    assert issubclass(kind, DomainError)
    assert kind.title != DomainError.title
