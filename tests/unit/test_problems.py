"""Facts of a refusal are written so that nothing is lost on the way."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.errors import Conflict, DomainError, Forbidden, NotFound, Refused
from app.http.problems import render, status_of
from app.roles import Role


@pytest.mark.parametrize(
    ("fact", "written"),
    [
        (Decimal("0.8130"), "0.8130"),
        (Decimal("1E+3"), "1000"),
        (2**62, 2**62),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00+00:00"),
        (date(2026, 3, 1), "2026-03-01"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Role.CASHIER, "cashier"),
        (frozenset({"b", "a"}), ["a", "b"]),
        ("电", "电"),
        (None, None),
    ],
)
def test_a_fact_keeps_its_value(fact: Any, written: Any) -> None:
    answer = render(Refused("no", remedy="yes", fact=fact), path="/x")
    assert json.loads(answer.body)["fact"] == written


@pytest.mark.parametrize(
    ("kind", "status"), [(NotFound, 404), (Conflict, 409), (Forbidden, 403), (Refused, 409), (DomainError, 400)]
)
def test_the_kind_decides_the_status(kind: type[DomainError], status: int) -> None:
    below = type("Below", (kind,), {})
    assert status_of(below) == status
    assert render(below("no", remedy="yes"), path="/x").status_code == status


def test_no_fact_takes_the_place_of_a_standard_member() -> None:
    answer = render(Refused("no", remedy="yes", status=200, instance="elsewhere"), path="/x")
    document = json.loads(answer.body)
    assert (document["status"], document["instance"]) == (409, "/x")
