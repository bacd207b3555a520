"""The figures of a storm that must be zero, each from the history alone, so that a bad history can be planted."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.chaos.history import Bought, Did, History

#: A terminal tells its uptime in whole seconds, and writes down what it did after its memory is safe.
_SLACK = timedelta(seconds=2)
#: What a worker's clock may be wrong by where it still has anything sent.
_WRONG_BY = timedelta(hours=1)
_VERIFIED_WITHIN = timedelta(minutes=2)
_SAMPLED_EVERY = timedelta(seconds=30)
_ALARM_S = _VERIFIED_WITHIN.total_seconds()


def executed_outside_validity(history: History) -> list[str]:
    """Name the cuts that a terminal carried out in another session, after their uptime, or after their time.

    The session and the boot are the terminal's own, the uptime is counted by the machine's clock from that boot, and
    the time is the true one: a command that expires at 12:00:10 is not carried out at 12:00:13, whatever the
    terminal's own clock said.
    """
    against = []
    slack = history.clock.lived(_SLACK.total_seconds())
    for terminal_id, done in _by_terminal(history.did):
        booted = {one.boot: one.machine_at for one in done if one.what == "boot"}
        for one in (each for each in done if each.is_cut):
            lived = one.machine_at - booted.get(one.boot, one.machine_at)
            late = one.at - datetime.fromisoformat(one.claims["expires_at"])
            bound = timedelta(seconds=one.claims.get("max_uptime_s", 0))
            if one.claims.get("session") != one.session:
                against.append(f"{terminal_id} {_what(one)}: of another session")
            elif lived > bound + _SLACK:
                against.append(f"{terminal_id} {_what(one)}: {lived} after its boot, {bound} were allowed")
            elif late > slack:
                against.append(f"{terminal_id} {_what(one)}: {late} of contract time after its end")
    return against


def carried_out_twice(history: History) -> list[str]:
    """Name the commands that had more than one effect, at one terminal or at several."""
    times = Counter(one.claims["id"] for one in history.did if one.claims)
    return [f"command {command_id}: {count} times" for command_id, count in times.items() if count > 1]


def cuts_after_purchases(history: History) -> list[str]:
    """Name the trips and limits that went against a purchase.

    A cut is claimed (its ``operate`` is signed) under the supply point's lock, which a purchase holds until it is
    committed. So of each cut that a terminal carried out:

    1. No purchase was committed before it was claimed that the terminal did not hold when it acted.
    2. Nobody was tripped automatically who had more left than the trip threshold: what was paid was delivered.
    3. Where a purchase was committed after the claim, the cut was in the air already; then the round is closed, or
       the limit lifted, afterwards.
    """
    bought: dict[str, list[Bought]] = defaultdict(list)
    for purchase in history.bought:
        bought[purchase.terminal_id].append(purchase)
    against: list[str] = []
    for terminal_id, done in _by_terminal(history.did):
        for place, one in enumerate(done):
            if one.is_cut and one.claims["op"] in ("trip", "limit"):
                against += _against_cut(history, one, bought[terminal_id], afterwards=done[place + 1 :])
    return against


def _against_cut(history: History, one: Did, bought: list[Bought], *, afterwards: list[Did]) -> Iterator[str]:
    claimed_at = _claimed_at(history, one)
    before = [each for each in bought if history.clock.at(each.booked_at) < claimed_at]
    unheld = [each.purchase_no for each in before if each.order_no > one.order_no]
    if unheld:
        yield f"{one.terminal_id} {_what(one)}: claimed after {', '.join(unheld)}, which it did not hold"
    ordered = history.commands.get(UUID(one.claims["id"]))
    by_itself = ordered is not None and not ordered.by_hand
    if by_itself and one.claims["op"] == "trip" and one.remaining_wh > one.trip_wh:
        yield f"{one.terminal_id} {_what(one)}: {one.remaining_wh} Wh were left"
    if len(before) < len(bought) and not _was_undone(one, afterwards):
        yield f"{one.terminal_id} {_what(one)}: a purchase came while it was in the air, and no restore after it"


def _claimed_at(history: History, one: Did) -> datetime:
    """Return a moment at which the cut was not claimed yet, even where the worker's clock was ahead."""
    claimed_at = datetime.fromisoformat(one.claims["issued_at"])
    unsure = any(begun - _SLACK <= one.machine_at <= ended + _SLACK for begun, ended in history.wrong_clocks)
    return claimed_at - _WRONG_BY if unsure else claimed_at


def _was_undone(one: Did, afterwards: list[Did]) -> bool:
    args = one.claims["args"]
    if one.claims["op"] == "trip":
        return any(each.rounds[args["round"] - 1] == "1" for each in afterwards)
    limits = [each.claims["args"] for each in afterwards if each.claims.get("op") == "limit"]
    return any(each.get("power_w") is None or each["power_w"] > args["power_w"] for each in limits)


def neither_verified_nor_alarmed(history: History) -> list[str]:
    """Name the purchases that the terminal was not proved to hold within two minutes, and that no alarm told of."""
    against = []
    for one in history.bought:
        proved_at = one.verified_at
        if proved_at is not None and proved_at - one.booked_at <= _VERIFIED_WITHIN:
            continue
        until = (
            proved_at + _SAMPLED_EVERY if proved_at is not None else datetime.max.replace(tzinfo=one.booked_at.tzinfo)
        )
        told = any(one.booked_at < each.at < until and each.longest_s > _ALARM_S for each in history.samples)
        if not told:
            took = f"verified after {proved_at - one.booked_at}" if proved_at else "never verified"
            against.append(f"{one.purchase_no} at {one.terminal_id}: {took}, and no alarm")
    return against


def orders_that_fell(history: History) -> list[str]:
    """Name the terminals whose order number was lower than it had been."""
    against = []
    for terminal_id, done in _by_terminal(history.did):
        highest = 0
        for one in done:
            if one.order_no < highest:
                against.append(f"{terminal_id}: order {one.order_no} after {highest}, at {one.machine_at}")
            highest = max(highest, one.order_no)
    return against


def generated_but_not_stored(history: History) -> list[str]:
    """Name the spools of which not every number is stored exactly once."""
    return [
        f"{terminal_id} {spool_id}: {history.made.get((terminal_id, spool_id), 0)} made, "
        f"{rows} rows of {numbers} numbers stored"
        for (terminal_id, spool_id) in sorted(history.made.keys() | history.stored.keys(), key=str)
        for rows, numbers in [history.stored.get((terminal_id, spool_id), (0, 0))]
        if not history.made.get((terminal_id, spool_id), 0) == rows == numbers
    ]


def foreign_commands(history: History) -> list[str]:
    """Name what terminals carried out that the service has not ordered just so, and relays that no order opened."""
    against = []
    for one in history.did:
        if one.what == "executed":
            ordered = history.commands.get(UUID(one.claims["id"]))
            said = (one.terminal_id, one.claims["op"], _said(one.claims["args"]), one.claims["version"])
            if ordered is None or said != (ordered.terminal_id, ordered.op, _said(ordered.args), ordered.version):
                against.append(f"{one.terminal_id} {_what(one)}: the service has not ordered that")
    for terminal_id, done in _by_terminal(history.did):
        trips = sum(one.is_cut and one.claims["op"] == "trip" for one in done)
        opened = sum(one.what == "opened" and one.cause == "order" for one in done)
        if opened > trips:
            against.append(f"{terminal_id}: {opened} relays opened by order, {trips} trips carried out")
    return against


def _by_terminal(did: Iterable[Did]) -> Iterator[tuple[str, list[Did]]]:
    found: dict[str, list[Did]] = defaultdict(list)
    for one in did:
        found[one.terminal_id].append(one)
    yield from found.items()


def _said(args: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in args.items() if value is not None}


def _what(one: Did) -> str:
    return f"{one.claims['op']} {one.claims['id']}"


#: Each figure by its name; the target of every one is zero.
FIGURES = {
    "cuts_executed_outside_their_validity": executed_outside_validity,
    "commands_with_more_than_one_effect": carried_out_twice,
    "cuts_after_a_booked_purchase": cuts_after_purchases,
    "purchases_neither_verified_nor_alarmed_in_time": neither_verified_nor_alarmed,
    "order_numbers_that_went_backwards": orders_that_fell,
    "reports_generated_that_are_not_rows_stored": generated_but_not_stored,
    "unsigned_or_foreign_commands_executed": foreign_commands,
}
