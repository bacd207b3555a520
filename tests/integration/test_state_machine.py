"""A utility driven at random beside a plain one that keeps its books on paper: after every step both agree.

After each step the whole state is compared and every invariant holds. `--steps 20000` takes more of them,
`--steps-seed 7` others; the same numbers give the same steps again, and the life that failed is printed.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from bookkeeper import Bookkeeper, Bought, Device, Refusal, Site, TakenBack, Terms
from factories import SIGNED_AT
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from real_utility import BEGAN_AT, Answer, RealUtility, hire_everybody, reason_of
from running import settings_for

from app.database import connect
from app.embedded.postgres import EmbeddedPostgres
from app.errors import DomainError

STEPS_IN_A_LIFE = 100
LIVES_AT_ONCE = 4
LONGEST_S = 3_600

_PRICES = ("0.8137", "0.8130", "1", "0.61728395", "0.07", "1234.5", "0.99999999")
#: Contract, opening reading of its terminal, load in W, first price. The load of "loaded" never ends.
_SIGNED = (
    ("plain", Terms(), 0, 0, "0.8137"),
    (
        "lent",
        Terms(debt_share_percent=30, emergency_limit_wh=200_000, overdraft_wh=20_000, trip_wh=5_000),
        7_777_777,
        0,
        "0.61728395",
    ),
    ("loaded", Terms(debt_share_percent=1, emergency_limit_wh=50_000, notice_wh=90_000), 1, 40_000, "1234.5"),
    ("local", Terms(emergency_limit_wh=10_000, told_before_s=1_860, local=True), 0, 0, "0.07"),
)

sites = st.sampled_from([0, 0, 1, 1, 1, 2, 2, 3])
#: From 0.01 yuan up: often very little, often enough for thousands of kWh, seldom too much.
fen = st.one_of(st.integers(1, 200), st.integers(1, 500_000), st.integers(10_000, 50_000_000))
energies = st.one_of(st.integers(1, 100), st.integers(1, 60_000), st.integers(1, 400_000))
forms = st.sampled_from(["cash", "card", "transfer", "online"])
indexes = st.integers(0, 200)
#: Whether the terminal tells what it has, just before; or nearly nothing under way would ever come to its end.
often = st.sampled_from([True, True, True, False])


class Made(NamedTuple):
    """A deed that was refused or not, in the words of both."""

    expected: Any
    answer: Any


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where copies of a database with people and a till come from."""

    postgres: EmbeddedPostgres
    template: str
    numbers: Iterator[int]


class Deed(NamedTuple):
    """One thing that can be done: its name, how often it is chosen, when it can be, and of what it is made."""

    name: str
    weight: int
    when: Callable[["Machine"], bool]
    made_of: st.SearchStrategy[dict[str, Any]]

    def __repr__(self) -> str:
        return self.name


DEEDS: list[Deed] = []


def _has_closings(machine: "Machine") -> bool:
    return any(site.closings for site in machine.plain.sites)


def _is_closing(machine: "Machine") -> bool:
    return any(site.is_closing for site in machine.plain.sites)


def deed(
    weight: int, *, when: Callable[[Any], bool] = lambda _: True, **made_of: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a method a deed. As rules of their own, Hypothesis would leave many of them out of each life."""

    def add(method: Callable[..., None]) -> Callable[..., None]:
        DEEDS.append(Deed(method.__name__, weight, when, st.fixed_dictionaries(made_of)))
        return method

    return add


class Machine(RuleBasedStateMachine):
    """Each step does one deed in both; they must refuse the same, for the same reason."""

    ground: Ground
    ran: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.name = f"machine_{next(self.ground.numbers)}"
        self.ground.postgres.create_database(self.name, template=self.ground.template)
        url = self.ground.postgres.application_url(self.name)
        self.engine = connect(url, pool_size=2)
        self.runner = asyncio.Runner()
        self.real = RealUtility(engine=self.engine, settings=settings_for(url), runner=self.runner)
        self.plain = Bookkeeper(sites=[])
        self.answers: list[Answer] = []
        self.refund_ids: dict[int, UUID] = {}
        self.now = BEGAN_AT
        self.doing = ""
        self.devices = itertools.count(1)
        self.bought: list[tuple[Site, Bought]] = []
        self.exchanges = self.debts = 0
        self.slots = [self._sign(place, number=1) for place in range(len(_SIGNED))]

    def _sign(self, place: int, *, number: int) -> Site:
        """Sign a contract, or the next one where the one before it was closed."""
        kind, terms, opening_wh, power_w, price = _SIGNED[place]
        contract_no, name = f"{kind}-{number}", f"TERMINAL-{next(self.devices)}"
        self.real.sign(contract_no, terms, price=price, terminal_id=name, opening_wh=opening_wh)
        site = Site(
            contract_no=contract_no,
            terms=terms,
            price=_fen_a_wh(price),
            device=Device(
                name=name,
                rounds_w=120_000 + 250_000,
                paid_until_wh=opening_wh,
                fitted_s=int((SIGNED_AT - BEGAN_AT).total_seconds()),
            ),
            power_w=power_w,
            opening_wh=opening_wh,
            paid_until_wh=opening_wh,
        )
        self.plain.sites.append(site)
        self.plain.device_names.add(name)
        return site

    def teardown(self) -> None:
        self.runner.close()
        self.engine.dispose()
        self.ground.postgres.drop_database(self.name)

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        possible = [one for one in DEEDS if one.when(self) for _ in range(one.weight)]
        chosen: Deed = data.draw(st.sampled_from(possible), label="deed")
        getattr(self, chosen.name)(**data.draw(chosen.made_of, label=chosen.name))

    # What deeds are made of

    @property
    def now_s(self) -> int:
        return int((self.now - BEGAN_AT).total_seconds())

    def both(self, expected: Callable[[], Any], really: Callable[[], Any]) -> Made | None:
        """Do a deed in both; returns what both said, or None where both refused it."""
        refused = meant = None
        found = told = None
        try:
            found = expected()
        except Refusal as refusal:
            meant = refusal.why
        try:
            told = really()
        except DomainError as refusal:
            refused = reason_of(refusal)
        assert refused == meant, f"refused: {refused}; it should have been: {meant}"
        if isinstance(told, Answer):
            self.answers.append(told)
        self.ran[f"{self.doing}: {'refused' if meant else 'done'}"] += 1
        return None if meant else Made(found, told)

    def _begin(self, name: str, waited_s: int = 1) -> None:
        self.ran[name] += 1
        self.doing = name
        self.now += timedelta(seconds=waited_s)

    def _any_refund(self, index: int) -> tuple[Site, TakenBack, UUID]:
        made = [(site, taken) for site in self.plain.sites for taken in site.refunds]
        # Those under way are more interesting than those that are over.
        made.sort(key=lambda pair: pair[1].state == "taking_back")
        site, taken = made[-1 - index % len(made)]
        return site, taken, self.refund_ids[id(taken)]

    # Selling

    @deed(12, where=sites, amounts=st.dictionaries(forms, fen, min_size=1, max_size=3))
    def buy(self, where: int, amounts: dict[str, int]) -> None:
        self._begin("buy")
        site = self.slots[where]
        made = self.both(
            lambda: self.plain.buy(site, tenders=amounts, name=""),
            lambda: self.real.buy(site.contract_no, amounts, now=self.now),
        )
        if made is None:
            return
        self.bought.append((site, made.expected))
        bought, told = made.expected, made.answer.json()
        bought.name = told["purchase_no"]
        assert told["energy_wh"] == bought.energy_wh
        assert told["debt_paid_fen"] == bought.debt_paid_fen
        assert told["emergency_repaid_wh"] == bought.repaid_wh
        assert Fraction(told["kept_fen"]) == site.kept
        assert (told["order_no"], told["paid_until_wh"]) == (bought.order_no, site.paid_until_wh)
        assert int(told["receipt_no"].rpartition("-")[2]) == self.plain.drawer.number
        assert (told["command_id"] is None) == (bought.granted_wh == 0)

    @deed(1, where=sites, more=st.integers(1, 10**12))
    def buy_too_much(self, where: int, more: int) -> None:
        self._begin("buy too much")
        site = self.slots[where]
        amounts = {"cash": 100_000_000 * 100 + more % 10**11}
        self.both(
            lambda: self.plain.buy(site, tenders=amounts, name=""),
            lambda: self.real.buy(site.contract_no, amounts, now=self.now),
        )

    @deed(4, when=lambda self: bool(self.answers), which=indexes, other_body=st.booleans())
    def send_again(self, which: int, other_body: bool) -> None:  # noqa: FBT001 - drawn
        self._begin("send again")
        answer = self.answers[-1 - which % len(self.answers)]
        if other_body:
            with pytest.raises(DomainError) as refused:
                self.real.send_again(answer, other_body=True)
            assert reason_of(refused.value) == "idempotency-key-reused"
            return
        assert self.real.send_again(answer, other_body=False) == (answer.body, True)

    @deed(3, where=sites, amount=fen)
    def old_debt_appears(self, where: int, amount: int) -> None:
        self._begin("old debt appears")
        site = self.slots[where]
        if site.closed:
            return
        self.debts += 1
        self.plain.owe(site, amount)
        self.real.owe(site.contract_no, amount, number=self.debts, now=self.now)

    @deed(4, where=sites, price=st.sampled_from(_PRICES))
    def price_changes(self, where: int, price: str) -> None:
        self._begin("price changes")
        site = self.slots[where]
        if site.closed:
            with pytest.raises(DomainError):
                self.real.price(site.contract_no, price, now=self.now)
            return
        site.price = _fen_a_wh(price)
        self.real.price(site.contract_no, price, now=self.now)

    @deed(7, where=st.sampled_from([0, 1, 1, 1, 2, 2]), wh=energies)
    def lend(self, where: int, wh: int) -> None:
        self._begin("lend")
        site = self.slots[where]
        made = self.both(
            lambda: self.plain.lend(site, wh), lambda: self.real.lend(site.contract_no, wh, now=self.now)
        )
        if made is not None:
            told = made.answer.json()
            assert (told["order_no"], told["paid_until_wh"]) == (site.order_no, site.paid_until_wh)

    # Taking back

    @deed(
        12,
        when=lambda self: bool(self.bought),
        which=st.one_of(st.just(0), indexes),
        kind=st.sampled_from(["refund", "refund", "reversal", "reversal"]),
        wanted_wh=st.one_of(st.none(), energies),
        by=st.sampled_from(["cashier", "cashier", "approver"]),
        heard=often,
    )
    def ask_back(self, which: int, kind: str, wanted_wh: int | None, by: str, *, heard: bool) -> None:
        site, bought = self.bought[-1 - which % len(self.bought)]
        if heard:
            self._report(site, used_wh=1, takes_over=True, waited_s=1)
        self._begin("ask back")
        quoted = None
        with suppress(DomainError):
            quoted = self.real.quote_back(bought.name, kind=kind, wanted_wh=wanted_wh, now=self.now)
        made = self.both(
            lambda: self.plain.ask_back(
                site,
                bought,
                kind=kind,
                wanted_wh=wanted_wh,
                now_s=self.now_s,
                by_approver=by == "approver",
            ),
            lambda: self.real.ask_back(bought.name, kind=kind, wanted_wh=wanted_wh, by=by, now=self.now),
        )
        assert (quoted is None) == (made is None)
        if made is None or quoted is None:
            return
        taken, told = made.expected, made.answer.json()
        self.refund_ids[id(taken)] = UUID(told["id"])
        assert told["energy_wh"] == quoted.energy_wh == taken.energy_wh
        assert told["money_fen"] == quoted.money_fen == taken.deposit_fen + taken.debt_fen
        assert (told["order_no"], told["paid_until_wh"]) == (taken.order_no, taken.paid_until_wh)

    @deed(
        5,
        when=lambda self: bool(self.refund_ids),
        which=st.one_of(st.just(0), indexes),
        by=st.sampled_from(["approver", "second"]),
    )
    def release(self, which: int, by: str) -> None:
        self._begin("release")
        _, taken, refund_id = self._any_refund(which)
        own = by == "approver" and taken.asked_by_approver
        self.both(
            lambda: self.plain.release(taken, by_who_asked=own),
            lambda: self.real.release(refund_id, by=by, now=self.now),
        )

    @deed(
        9,
        when=lambda self: bool(self.refund_ids),
        which=st.one_of(st.just(0), indexes),
        form=st.sampled_from(["cash", "transfer"]),
        heard=often,
    )
    def pay_out(self, which: int, form: str, *, heard: bool) -> None:
        site, taken, refund_id = self._any_refund(which)
        if heard:
            self._report(site, used_wh=1, takes_over=True, waited_s=1)
        self._begin("pay out")
        made = self.both(
            lambda: self.plain.pay_out(site, taken, form=form),
            lambda: self.real.pay_out(refund_id, form=form, now=self.now),
        )
        if made is not None:
            number = made.answer.json()["receipt_no"].rpartition("-")[2]
            assert int(number) == self.plain.drawer.number

    @deed(5, when=lambda self: bool(self.refund_ids), which=st.one_of(st.just(0), indexes))
    def withdraw(self, which: int) -> None:
        self._begin("withdraw")
        site, taken, refund_id = self._any_refund(which)
        self.both(lambda: self.plain.withdraw(site, taken), lambda: self.real.withdraw(refund_id, now=self.now))

    # Terminals

    @deed(8, where=sites, used_wh=energies, takes_over=st.booleans(), waited_s=st.integers(1, LONGEST_S))
    def report(self, where: int, used_wh: int, takes_over: bool, waited_s: int) -> None:  # noqa: FBT001 - drawn
        site = self.slots[where]
        # Where an account is being closed the load has ended, or hardly ever not.
        still = site.is_closing and used_wh % 4
        self._report(site, used_wh=0 if still else used_wh, takes_over=takes_over, waited_s=waited_s)

    @deed(8, takes_over=st.booleans())
    def everybody_reports(self, takes_over: bool) -> None:  # noqa: FBT001 - drawn
        for site in self.plain.sites:
            self._report(site, used_wh=0 if site.is_closing else 1, takes_over=takes_over, waited_s=1)

    def _report(self, site: Site, *, used_wh: int, takes_over: bool, waited_s: int) -> None:
        self._begin("report", waited_s)
        self.plain.report(site, used_wh=used_wh, takes_over=takes_over, now_s=self.now_s)
        device = site.device
        told = {
            "order_no": device.order_no,
            "paid_until_wh": device.paid_until_wh,
            "supplied_wh": device.told_wh or 0,
        }
        # The mean load is an observation and no book: it is taken from the service as it is.
        site.load_w = self.real.report(site.contract_no, device.name, told=told, power_w=site.power_w, now=self.now)

    @deed(2, waited_s=st.integers(1, 12 * LONGEST_S))
    def silence(self, waited_s: int) -> None:
        self._begin("silence", waited_s)

    @deed(4)
    def post(self) -> None:
        self._begin("post what was supplied")
        before = -self.plain.own.get("energy_supplied", 0)
        self.plain.post()
        posted_wh = -self.plain.own.get("energy_supplied", 0) - before
        assert self.real.post(now=self.now) == posted_wh

    @deed(
        5,
        where=sites,
        used_wh=st.one_of(st.integers(-2, 2), energies, st.just(10**10)),
        start_wh=st.one_of(st.just(0), st.integers(0, 10**9)),
        again=st.sampled_from([False] * 7 + [True]),
    )
    def exchange(self, where: int, used_wh: int, start_wh: int, again: bool) -> None:  # noqa: FBT001 - drawn
        self._begin("exchange the terminal")
        site = self.slots[where]
        name = site.device.name if again else f"TERMINAL-{next(self.devices)}"
        final_wh = max(site.counter_wh + used_wh, 0)
        made = self.both(
            lambda: self.plain.exchange(site, final_wh=final_wh, start_wh=start_wh, name=name, now_s=self.now_s),
            lambda: self.real.exchange(
                site.contract_no, final_wh=final_wh, start_wh=start_wh, terminal_id=name, now=self.now
            ),
        )
        if made is not None:
            self.exchanges += 1
            told = made.answer.json()
            assert (told["order_no"], told["paid_until_after_wh"]) == (site.order_no, site.paid_until_wh)

    # The till's day

    @deed(3, cash=st.sampled_from([0, 0, -5_000, 3]), slips=st.sampled_from([0, 0, 7]))
    def count(self, cash: int, slips: int) -> None:
        self._begin("count the till")
        drawer = self.plain.drawer
        found = {kind: amount for kind, amount in drawer.taken.items() if kind != "cash"}
        found["card"] = found.get("card", 0) + slips
        cash_fen = max(drawer.cash_fen + cash, 0)
        self.both(
            lambda: self.plain.count(cash_fen=cash_fen, slips=found),
            lambda: self.real.count(cash_fen=cash_fen, slips=found, now=self.now),
        )

    @deed(4, when=lambda self: self.plain.drawer.state != "open")
    def ask_to_count_again(self) -> None:
        self._begin("ask to count again")
        self.both(self.plain.ask_to_count_again, lambda: self.real.ask_to_count_again(now=self.now))

    @deed(
        8,
        when=lambda self: self.plain.drawer.state != "open",
        reason=st.sampled_from([None, "miscounted", "miscounted"]),
    )
    def close_shift(self, reason: str | None) -> None:
        self._begin("close the shift")
        self.both(
            lambda: self.plain.close_shift(reason=reason),
            lambda: self.real.close_shift(reason=reason, now=self.now),
        )

    @deed(12, when=lambda self: self.plain.drawer.state == "closed", float_fen=st.sampled_from([0, 1, 50_000]))
    @deed(2, float_fen=st.sampled_from([0, 1, 50_000]))
    def open_shift(self, float_fen: int) -> None:
        self._begin("open a shift")
        self.both(lambda: self.plain.open_shift(float_fen), lambda: self.real.open_shift(float_fen, now=self.now))

    # Accounts and contracts

    @deed(
        7,
        when=lambda self: len(self.bought) > 3,
        where=sites,
        by=st.sampled_from(["cashier", "approver"]),
        heard=often,
    )
    def ask_closing(self, where: int, by: str, *, heard: bool) -> None:
        site = self.slots[where]
        if heard:
            self._report(site, used_wh=1, takes_over=True, waited_s=1)
        self._begin("ask for a closing")
        quoted = None
        with suppress(DomainError):
            quoted = self.real.quote_closing(site.contract_no, now=self.now)
        made = self.both(
            lambda: self.plain.ask_closing(site, now_s=self.now_s, by_approver=by == "approver"),
            lambda: self.real.ask_closing(site.contract_no, by=by, now=self.now),
        )
        assert (quoted is None) == (made is None)
        if made is None or quoted is None:
            return
        closing, told = made.expected, made.answer.json()
        assert told["money_fen"] == quoted.money_fen == closing.money_fen
        assert Fraction(told["fraction_fen"]) == closing.kept_after
        assert (told["reading_wh"], told["remaining_wh"]) == (closing.reading_wh, closing.remaining_wh)
        assert told["order_no"] == closing.order_no

    def _any_closing(self, index: int) -> Site:
        """Choose an account, sooner one that is being closed."""
        begun = sorted((site for site in self.plain.sites if site.closings), key=lambda site: site.is_closing)
        return begun[-1 - index % len(begun)]

    @deed(1, when=_has_closings, which=indexes, by=st.sampled_from(["approver", "second"]))
    def release_closing(self, which: int, by: str) -> None:
        self._begin("release a closing")
        site = self._any_closing(which)
        self.both(
            lambda: self.plain.release_closing(site, by_approver=by == "approver"),
            lambda: self.real.release_closing(site.contract_no, by=by, now=self.now),
        )

    @deed(14, when=_is_closing, which=st.just(0), form=st.sampled_from(["cash", "transfer"]), heard=often)
    @deed(1, when=_has_closings, which=indexes, form=st.sampled_from(["cash", "transfer"]), heard=st.just(False))
    def finish_closing(self, which: int, form: str, *, heard: bool) -> None:
        site = self._any_closing(which)
        if heard:
            self._report(site, used_wh=0, takes_over=True, waited_s=1)
        self._begin("finish a closing")
        money_fen = site.closings[-1].money_fen
        made = self.both(
            lambda: self.plain.finish_closing(site, form=form),
            lambda: self.real.finish_closing(site.contract_no, form=form, money_fen=money_fen, now=self.now),
        )
        if made is not None:
            self.ran["closed with " + ("a refund" if money_fen > 0 else "a payment" if money_fen else "nothing")] += 1
            receipt_no = made.answer.json()["receipt_no"]
            assert (receipt_no is not None) == bool(money_fen)
            if receipt_no is not None:
                assert int(receipt_no.rpartition("-")[2]) == self.plain.drawer.number

    @deed(4, when=_is_closing, which=st.just(0))
    @deed(1, when=_has_closings, which=indexes)
    def withdraw_closing(self, which: int) -> None:
        self._begin("withdraw a closing")
        site = self._any_closing(which)
        self.both(
            lambda: self.plain.withdraw_closing(site),
            lambda: self.real.withdraw_closing(site.contract_no, now=self.now),
        )

    @deed(1, where=sites)
    def close_unused(self, where: int) -> None:
        self._begin("close an unused contract")
        site = self.slots[where]
        self.both(
            lambda: self.plain.close_unused(site), lambda: self.real.close_unused(site.contract_no, now=self.now)
        )

    @deed(3, when=lambda self: any(site.closed for site in self.slots))
    def sign(self) -> None:
        self._begin("sign the next contract")
        for place, site in enumerate(self.slots):
            if site.closed:
                number = int(site.contract_no.rpartition("-")[2])
                self.slots[place] = self._sign(place, number=number + 1)

    # After every step

    @invariant()
    def both_agree(self) -> None:
        self.ran["steps"] += 1
        seen = self.real.look()
        assert seen.broken == {}
        for site in self.plain.sites:
            assert _of_row(seen.sites[site.contract_no]) == _of_site(site)
        assert seen.own == {kind: amount for kind, amount in self.plain.own.items() if amount}
        drawer, papers = self.plain.drawer, seen.papers
        assert (papers.receipts, papers.shift, papers.sells) == (drawer.number, drawer.state, drawer.state == "open")
        assert (papers.purchases, papers.exchanges) == (len(self.bought), self.exchanges)
        assert papers.answers == len(self.answers)
        states = Counter(taken.state for site in self.plain.sites for taken in site.refunds)
        assert (papers.refunds or {}) == dict(states)
        ends = Counter(closing.state for site in self.plain.sites for closing in site.closings)
        assert (papers.closings or {}) == dict(ends)


def _fen_a_wh(price: str) -> Fraction:
    return Fraction(price) * 100 / 1000


def _of_row(row: Any) -> dict[str, Any]:
    return {
        "debt_fen": row.balances["receivable"],
        "deposit_fen": row.balances["deposit"],
        "allowance_wh": row.balances["allowance"],
        "lent_wh": row.balances["emergency"],
        "kept_nfen": row.kept_nfen,
        "opening_wh": row.opening_wh,
        "posted_wh": row.posted_wh,
        "paid_until_wh": row.paid_until_wh,
        "terminal_id": row.terminal_id,
        "order_no": row.order_no,
    }


def _of_site(site: Site) -> dict[str, Any]:
    return {
        "debt_fen": site.debt_fen,
        "deposit_fen": site.deposit_fen,
        "allowance_wh": site.granted_wh - site.posted_wh,
        "lent_wh": site.lent_wh,
        "kept_nfen": site.kept * 10**9,
        "opening_wh": site.opening_wh,
        "posted_wh": site.posted_wh,
        "paid_until_wh": site.paid_until_wh,
        "terminal_id": site.device.name,
        "order_no": site.order_no,
    }


#: What must have come about by these names, and not only been tried.
DONE = {
    "buy: done", "buy: refused", "buy too much: refused", "send again", "old debt appears", "price changes",
    "lend: done", "lend: refused", "ask back: done", "ask back: refused", "release: done", "pay out: done",
    "pay out: refused", "withdraw: done", "report", "silence", "post what was supplied",
    "exchange the terminal: done", "exchange the terminal: refused", "count the till: done",
    "ask to count again: done", "close the shift: done", "open a shift: done", "ask for a closing: done",
    "ask for a closing: refused", "finish a closing: done", "withdraw a closing: done",
}  # fmt: skip


@pytest.fixture(scope="module")
def ground(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Ground]:
    name = "machine_template"
    postgres.create_database(name, template=template_database)
    owner = connect(postgres.owner_url(name), pool_size=1)
    hire_everybody(owner)
    owner.dispose()
    yield Ground(postgres=postgres, template=name, numbers=itertools.count(1))
    postgres.drop_database(name)


@pytest.mark.takes(seconds=120)
@pytest.mark.no_cover
def test_the_utility_and_its_books_on_paper_agree_after_every_step(
    ground: Ground, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    wanted: int = request.config.getoption("--steps")
    ran: Counter[str] = Counter()
    Machine.ground, Machine.ran = ground, ran
    lives = settings(
        max_examples=LIVES_AT_ONCE,
        stateful_step_count=STEPS_IN_A_LIFE,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        for number in itertools.count(request.config.getoption("--steps-seed")):
            run_state_machine_as_test(seed(number)(type("Lives", (Machine,), {})), settings=lives)
            if ran["steps"] >= wanted:
                break
    finally:
        record_property("steps", dict(ran))
    assert {name for name in DONE if ran[name] < wanted // 1000} == set()
