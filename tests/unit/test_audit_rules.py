"""The one form in which a deed is hashed, and how hashes follow each other."""

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.audit.rules import FIRST_HASH, canonical, changed, next_hash
from app.roles import Role


def test_a_payload_has_one_form() -> None:
    payload = {
        "role": Role.CASHIER,
        "price": Decimal("0.80"),
        "at": datetime(2026, 3, 1, tzinfo=UTC),
        "day": date(2026, 3, 1),
        "id": UUID(int=1),
        "plain": Enum("Plain", {"ONE": 1}).ONE,
        "set": {"b", "a"},
        "zh": "中",
    }
    assert canonical(payload) == (
        '{"at":"2026-03-01T00:00:00+00:00","day":"2026-03-01","id":"00000000-0000-0000-0000-000000000001",'
        '"plain":1,"price":"0.80","role":"cashier","set":["a","b"],"zh":"中"}'
    )


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_the_order_of_members_does_not_matter(payload: dict[str, int | str | None]) -> None:
    turned = dict(reversed(list(payload.items())))
    assert canonical(payload) == canonical(turned)


def test_a_hash_covers_the_one_before_the_number_and_the_payload() -> None:
    first = next_hash(FIRST_HASH, seq=1, payload="{}")
    assert first == hashlib.sha256(bytes(32) + b"1\n{}").digest()
    others = {
        next_hash(first, seq=1, payload="{}"),
        next_hash(FIRST_HASH, seq=2, payload="{}"),
        next_hash(FIRST_HASH, seq=1, payload="{ }"),
    }
    assert first not in others
    assert len(others) == 3


def test_only_what_differs_is_told() -> None:
    assert changed({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "d": 4}) == ({"b": 2, "c": 3}, {"b": 3, "d": 4})
