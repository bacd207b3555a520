"""The judge of a storm finds what is wrong in a history: each figure has a bad one planted, and a good one passes."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.chaos.history import Bought, Did, History, Ordered, Sample, made_at, witnessed
from app.chaos.judge_cuts import FIGURES
from app.chaos.witness import Facts, Witness
from app.clock import Clock

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
#: A clock that runs as fast as life, so that both kinds of time read the same.
CLOCK = Clock()
FK, OTHER = "FK-0001", "FK-0002"
SPOOL = UUID(int=7)
TRIP, CLOSE, CREDIT, LIMIT, LIFT = (UUID(int=number) for number in range(1, 6))
ARGS: dict[UUID, dict[str, Any]] = {
    TRIP: {"round": 1, "alarm_delay_min": 0},
    CLOSE: {"round": 1, "manner": "allow"},
    CREDIT: {"order_no": 2, "paid_until_wh": 9_000},
    LIMIT: {"power_w": 300_000},
    LIFT: {"power_w": None},
}
OPS = {TRIP: "trip", CLOSE: "close", CREDIT: "credit", LIMIT: "limit", LIFT: "limit"}

Plant = Callable[[History], object]


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def did(what: str, seconds: float, **more: Any) -> Did:
    at = after(seconds)
    usual = {"terminal_id": FK, "boot": 1, "session": "s1", "rounds": "11------", "order_no": 1}
    return Did(**{"what": what, "machine_at": at, "at": at, "remaining_wh": -5, "trip_wh": 0, **usual, **more})


def executed(command: UUID, seconds: float, *, claimed_s: float | None = None, **more: Any) -> Did:
    claimed_at = after(seconds - 1 if claimed_s is None else claimed_s)
    cut = command in (TRIP, LIMIT)
    claims = {
        "id": str(command),
        "op": OPS[command],
        "args": {name: value for name, value in ARGS[command].items() if value is not None},
        "version": command.int,
        "step": "operate" if cut else "do",
        "issued_at": claimed_at.isoformat(),
        "expires_at": (claimed_at + timedelta(seconds=10)).isoformat(),
        **({"session": "s1", "max_uptime_s": 600} if cut else {}),
    }
    return did("executed", seconds, claims=claims, **more)


def bought(order_no: int, booked_s: float, *, verified_s: float | None) -> Bought:
    verified_at = None if verified_s is None else after(verified_s)
    return Bought(
        purchase_no=f"P{order_no}",
        terminal_id=FK,
        order_no=order_no,
        booked_at=after(booked_s),
        verified_at=verified_at,
    )


def good() -> History:
    """A point runs out and is limited and tripped; a purchase gives supply back."""
    return History(
        clock=CLOCK,
        did=[
            did("boot", 0),
            executed(LIMIT, 50),
            did("opened", 100, cause="order", rounds="01------"),
            executed(TRIP, 100, rounds="01------"),
            executed(CREDIT, 201, rounds="01------", order_no=2, remaining_wh=9_000),
            did("closed", 203, cause="order", order_no=2),
            executed(CLOSE, 203, order_no=2),
            executed(LIFT, 204, order_no=2),
        ],
        commands={
            command: Ordered(terminal_id=FK, op=OPS[command], args=ARGS[command], version=command.int)
            for command in OPS
        },
        bought=[bought(1, -100, verified_s=-99), bought(2, 200, verified_s=202)],
        made={(FK, SPOOL): 3},
        stored={(FK, SPOOL): (3, 3)},
    )


def changed(history: History, command: UUID, **more: Any) -> None:
    """Change what the terminal did with a command."""
    (place,) = [at for at, one in enumerate(history.did) if one.claims.get("id") == str(command)]
    history.did[place] = replace(history.did[place], **more)


def claimed(history: History, command: UUID, **more: Any) -> None:
    (one,) = [one for one in history.did if one.claims.get("id") == str(command)]
    changed(history, command, claims=one.claims | more)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_good_history_has_nothing_against_it(figure: str) -> None:
    assert FIGURES[figure](good()) == []


def never_closed(history: History) -> None:
    history.did = [replace(one, rounds="01------") if one.at > after(202) else one for one in history.did]


PLANTED: list[tuple[str, str, Plant]] = [
    ("outside_their_validity", "of another session", lambda past: changed(past, TRIP, session="s2")),
    ("outside_their_validity", "after its boot", lambda past: claimed(past, TRIP, max_uptime_s=90)),
    ("outside_their_validity", "after its end", lambda past: changed(past, TRIP, at=after(120))),
    ("more_than_one_effect", "2 times", lambda past: past.did.append(executed(CREDIT, 210, order_no=2))),
    ("more_than_one_effect", "2 times", lambda past: past.did.append(executed(CREDIT, 210, terminal_id=OTHER))),
    # The purchase was committed at 200 s; the cut is claimed at 205 s by somebody who did not look.
    (
        "after_a_booked",
        "claimed after P2",
        lambda past: past.did.insert(4, executed(TRIP, 206, rounds="01------")),
    ),
    ("after_a_booked", "9000 Wh were left", lambda past: changed(past, TRIP, remaining_wh=9_000)),
    ("after_a_booked", "no restore after it", never_closed),
    ("after_a_booked", "no restore after it", lambda past: past.did.__delitem__(slice(7, 8))),
    (
        "neither_verified",
        "verified after 0:02:30, and no alarm",
        lambda past: past.bought.append(bought(3, 300, verified_s=450)),
    ),
    ("neither_verified", "never verified", lambda past: past.bought.append(bought(3, 300, verified_s=None))),
    ("went_backwards", "order 1 after 2", lambda past: past.did.append(did("boot", 300, boot=2))),
    ("not_rows_stored", "3 made, 2 rows", lambda past: past.stored.update({(FK, SPOOL): (2, 2)})),
    ("not_rows_stored", "4 rows of 3 numbers", lambda past: past.stored.update({(FK, SPOOL): (4, 3)})),
    ("not_rows_stored", "0 made, 1 rows", lambda past: past.stored.update({(OTHER, SPOOL): (1, 1)})),
    ("foreign", "has not ordered that", lambda past: past.commands.pop(CREDIT)),
    ("foreign", "has not ordered that", lambda past: claimed(past, TRIP, version=99)),
    ("foreign", "has not ordered that", lambda past: changed(past, CREDIT, terminal_id=OTHER)),
    (
        "foreign",
        "2 relays opened by order, 1 trips",
        lambda past: past.did.append(did("opened", 250, cause="order")),
    ),
]


@pytest.mark.parametrize(("figure", "said", "plant"), PLANTED)
def test_each_figure_finds_what_was_planted_for_it(figure: str, said: str, plant: Plant) -> None:
    past = good()
    plant(past)
    (name,) = [name for name in FIGURES if figure in name]
    assert said in " ".join(FIGURES[name](past))


def test_a_late_purchase_that_an_alarm_told_of_is_no_fault() -> None:
    past = good()
    past.bought.append(bought(3, 300, verified_s=500))
    past.samples = [Sample(at=after(430), longest_s=130.0)]
    assert FIGURES["purchases_neither_verified_nor_alarmed_in_time"](past) == []


def test_a_cut_by_hand_needs_no_threshold_but_sees_purchases() -> None:
    past = good()
    changed(past, TRIP, remaining_wh=9_000)
    past.commands[TRIP] = replace(past.commands[TRIP], by_hand=True)
    assert FIGURES["cuts_after_a_booked_purchase"](past) == []
    claimed(past, TRIP, issued_at=after(205).isoformat())
    assert "claimed after P2" in FIGURES["cuts_after_a_booked_purchase"](past)[0]


def test_while_a_workers_clock_was_wrong_an_hour_is_in_doubt() -> None:
    past = good()
    claimed(past, TRIP, issued_at=after(205).isoformat())
    past.wrong_clocks = [(after(95), after(105))]
    assert FIGURES["cuts_after_a_booked_purchase"](past) == []


def test_a_command_that_goes_back_is_seen() -> None:
    witness = Witness(None)  # type: ignore[arg-type] - what it has seen is told to it
    blank = Facts(*[None] * 5, state="sent")
    for state in ("sent", "waiting", "armed", "unknown", "executed", "verified"):
        witness.compare({TRIP: blank._replace(state=state)})
    assert witness.went_back == []
    witness.compare({TRIP: blank._replace(state="armed")})
    assert witness.went_back == [f"command {TRIP}: was verified, is armed"]


def test_what_a_kill_tore_is_left_out_and_the_rest_is_read(tmp_path: Path) -> None:
    line = {
        "machine_at": BEGAN.isoformat(),
        "what": "boot",
        "boot": 1,
        "session": None,
        "at": BEGAN.isoformat(),
        "rounds": "11------",
        "order_no": 0,
        "remaining_wh": 0,
        "trip_wh": 0,
    }
    whole = json.dumps(line)
    (tmp_path / f"{FK}.witnessed").write_text(f"{whole}\n{whole[:40]}{whole}\n{whole[:25]}")
    assert [(one.terminal_id, one.what) for one in witnessed(tmp_path)] == [(FK, "boot"), (FK, "boot")]


def test_an_id_tells_when_it_was_made() -> None:
    assert made_at(UUID("01920000-0000-7000-8000-000000000001")).year == 2024
