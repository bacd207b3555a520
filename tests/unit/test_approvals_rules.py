"""What an approval is bound to, and what counts as a change."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.approvals.rules import Kind, digest_of, standing_of, what_changed
from app.brake.rules import Limit, Scope, raises
from app.customers.rules import Threshold, Thresholds
from app.load_control.facts import Facts, NoticeGiven, Round, Stage
from app.notices.rules import NoticeKind
from app.orders.rules import Action, kept_as_json, read_from_json

MOMENT = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)
THRESHOLDS = Thresholds(
    notice=Threshold(energy_wh=50_000_000),
    warning=Threshold(energy_wh=30_000_000),
    limited=Threshold(energy_wh=10_000_000),
    trip=Threshold(energy_wh=0),
)
WRITTEN = NoticeGiven(kind=NoticeKind.WRITTEN, cut_not_before=MOMENT, served_at=MOMENT)
FACTS = Facts(
    paid_until_wh=20_000_000,
    supplied_wh=1_000_000,
    supplied_at=MOMENT,
    thresholds=THRESHOLDS,
    rounds=(Round(round=1, importance=1, load_w=120_000, relay="1"),),
    written_notice=WRITTEN,
)
WANTED: dict[str, Any] = {"orders": [{"action": "trip", "arguments": {"round": 1}}]}
STANDING = {"SP0001": standing_of(FACTS, terminal_id="SH-0001")}


def digest(wanted: dict[str, Any] = WANTED, standing: dict[str, Any] = STANDING, kind: Kind = Kind.ORDERS) -> str:
    return digest_of(kind, wanted=wanted, standing=standing)


def test_a_digest_is_of_the_canonical_text() -> None:
    turned = {"orders": [{"arguments": {"round": 1}, "action": "trip"}]}
    assert digest() == digest(turned)
    assert len(digest()) == 64


@pytest.mark.parametrize(
    "other",
    [
        {"wanted": {"orders": [{"action": "trip", "arguments": {"round": 2}}]}},
        {"standing": {"SP0002": STANDING["SP0001"]}},
        {"kind": Kind.REFUND},
    ],
)
def test_another_round_another_place_or_another_kind_has_another_digest(other: dict[str, Any]) -> None:
    assert digest(**other) != digest()


@pytest.mark.parametrize(
    ("fact", "part"),
    [
        ({"paid_until_wh": 21_000_000}, "paid_until_wh"),
        ({"stage": Stage.LIMITED}, "stage"),
        ({"guaranteed": True}, "guaranteed"),
        ({"limit_w": 300_000}, "limit_w"),
        ({"rounds": (Round(round=1, importance=1, load_w=120_000, relay="0"),)}, "rounds"),
        ({"rounds": (replace(FACTS.rounds[0], trip_in_flight=True),)}, "rounds"),
        ({"written_notice": None}, "written_notice"),
        ({"written_notice": replace(WRITTEN, served_at=None)}, "written_notice"),
        ({"second_notice": replace(WRITTEN, kind=NoticeKind.SECOND)}, "second_notice"),
    ],
)
def test_what_a_cut_would_meet_is_compared_part_by_part(fact: dict[str, Any], part: str) -> None:
    now = {"SP0001": standing_of(replace(FACTS, **fact), terminal_id="SH-0001")}
    assert what_changed(STANDING, now) == [f"SP0001 {part}"]


@pytest.mark.parametrize("fact", [{"supplied_wh": 2_000_000}, {"active_power_w": 480_000}, {"recent_load_w": 1}])
def test_what_every_report_changes_is_not_compared(fact: dict[str, Any]) -> None:
    now = {"SP0001": standing_of(replace(FACTS, **fact), terminal_id="SH-0001")}
    assert what_changed(STANDING, now) == []


def test_a_thing_that_is_gone_or_new_has_changed_in_every_part() -> None:
    assert len(what_changed(STANDING, {})) == len([part for part in STANDING["SP0001"].values() if part is not None])


@pytest.mark.parametrize(
    ("cuts", "power_w", "is_more"),
    [(10, 5_000_000, False), (9, 4_000_000, False), (11, 4_000_000, True), (9, 5_000_001, True)],
)
def test_more_cuts_or_more_power_raise_a_limit(cuts: int, power_w: int, *, is_more: bool) -> None:
    before = Limit(scope=Scope.FEEDER, cuts=10, power_w=5_000_000)
    assert raises(Limit(scope=Scope.FEEDER, cuts=cuts, power_w=power_w), above=before) is is_more


def test_the_arguments_of_an_order_are_read_as_they_were_kept() -> None:
    given = {"power_w": 300_000, "until": MOMENT}
    kept = kept_as_json(given)
    assert kept == {"power_w": 300_000, "until": "2026-03-04T02:00:00+00:00"}
    assert read_from_json(kept) == given


def test_an_action_is_said_in_words() -> None:
    assert Action.END_GUARANTEE.words == "end guarantee"
