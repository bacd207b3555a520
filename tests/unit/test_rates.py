"""Buckets: so many at once, so many a second after that, and no more memory than was meant."""

import pytest

from app.clock import sleep
from app.database import new_id
from app.http.rates import Buckets, Rates
from app.http.refusals import TooManyRequests


def test_a_bucket_gives_its_burst_at_once_and_then_one_after_the_other() -> None:
    buckets = Buckets(per_s=2, burst=3)
    waits_s = [buckets.wait_s("li.na") for _ in range(5)]
    assert waits_s[:3] == [0, 0, 0]
    assert all(0 < wait_s <= 1 / 2 for wait_s in waits_s[3:])
    sleep(1 / 2)
    assert buckets.wait_s("li.na") == 0
    assert buckets.wait_s("li.na") > 0


def test_one_who_asks_too_often_does_not_hinder_another() -> None:
    buckets = Buckets(per_s=1, burst=1)
    assert (buckets.wait_s("a"), buckets.wait_s("b")) == (0, 0)
    assert (buckets.wait_s("a") > 0, buckets.wait_s("b") > 0) == (True, True)


def test_a_refused_request_does_not_make_the_wait_longer() -> None:
    buckets = Buckets(per_s=1, burst=1)
    waits_s = [buckets.wait_s("a") for _ in range(100)]
    assert max(waits_s) <= 1


def test_the_bucket_asked_least_recently_is_forgotten_first() -> None:
    buckets = Buckets(per_s=1, burst=1, most=2)
    for key in ("a", "b", "a", "c"):
        buckets.wait_s(key)
    assert buckets.wait_s("a") > 0
    assert buckets.wait_s("b") == 0


def test_people_and_addresses_have_limits_of_their_own() -> None:
    rates = Rates(person_per_s=1, address_per_s=1)
    somebody = new_id()
    for _ in range(2):
        rates.take_for_person(somebody)
        rates.take_for_address("10.0.0.1")
    rates.take_for_address("10.0.0.1", counted=True)
    with pytest.raises(TooManyRequests) as refusal:
        rates.take_for_person(somebody)
    assert refusal.value.more_headers == {"Retry-After": "1"}
    with pytest.raises(TooManyRequests):
        rates.take_for_address("10.0.0.1")
