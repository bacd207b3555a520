"""A utility in plain Python, beside the real one: what money, energy and papers are after a deed.

Written from the agreements and not from the product, of which it imports nothing. Money is whole fen, or a fraction
of a fen where it is kept; a price is a fraction of fen for a watt-hour; moments are seconds. Each deed checks first
and changes afterwards, so that a refused one leaves everything as it was.
"""

from dataclasses import dataclass, field
from fractions import Fraction

REPORT_GOOD_FOR_S = 2 * 900 + 10
LARGEST_SALE_FEN = 100_000_000 * 100


class Refusal(Exception):
    """A deed that the utility must refuse, under the name that the product gives the reason."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def require(holds: bool, why: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise Refusal(why)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a contract agrees on."""

    debt_share_percent: int = 100
    emergency_limit_wh: int = 0
    overdraft_wh: int = 0
    notice_wh: int = 50_000
    warning_wh: int = 30_000
    limited_wh: int = 10_000
    trip_wh: int = 0
    told_before_s: int = 2 * 3600
    capacity_kva: int = 1_000
    local: bool = False


@dataclass(kw_only=True, eq=False)
class Bought:
    """A purchase as it was made."""

    name: str
    order_no: int
    paid_fen: int
    debt_paid_fen: int
    kept_before: Fraction
    price: Fraction
    energy_wh: int
    repaid_wh: int
    tenders: dict[str, int]
    paid_for_wh: int
    taken_back: "TakenBack | None" = None

    @property
    def granted_wh(self) -> int:
        return self.energy_wh - self.repaid_wh


@dataclass(kw_only=True, eq=False)
class TakenBack:
    """A refund or a reversal, from the asking to its end."""

    purchase: Bought
    kind: str
    energy_wh: int
    deposit_fen: int
    debt_fen: int
    order_no: int
    paid_until_wh: int
    state: str = "taking_back"
    asked_by_approver: bool = False
    released: bool = False


@dataclass(kw_only=True, eq=False)
class Closing:
    """An account that is being closed, from the asking to its end."""

    reading_wh: int
    remaining_wh: int
    lent_wh: int
    debt_fen: int
    money_fen: int
    kept_after: Fraction
    order_no: int
    asked_s: int
    state: str = "closing"
    asked_by_approver: bool = False
    released: bool = False


@dataclass(kw_only=True, eq=False)
class Device:
    """The terminal: what it has told, and the credits that it could take over."""

    name: str
    fitted_s: int
    rounds_w: int
    first_order_no: int = 0
    told_wh: int | None = None
    told_s: int | None = None
    order_no: int = 0
    paid_until_wh: int = 0
    newest: tuple[int, int] | None = None

    def shows(self, order_no: int, paid_until_wh: int) -> bool:
        """Whether it has told of an order or a later one; one of where it served before proves nothing."""
        shown = self.order_no if self.order_no >= self.first_order_no else 0
        return shown > order_no or (shown == order_no and self.paid_until_wh == paid_until_wh)


@dataclass(kw_only=True, eq=False)
class Site:
    """A contract with its supply point: money, energy and terminal."""

    contract_no: str
    terms: Terms
    price: Fraction
    device: Device
    closed: bool = False
    debt_fen: int = 0
    deposit_fen: int = 0
    kept: Fraction = Fraction(0)
    lent_wh: int = 0
    granted_wh: int = 0
    posted_wh: int = 0
    opening_wh: int = 0
    paid_until_wh: int = 0
    order_no: int = 0
    load_w: int = 0
    power_w: int = 0
    grants: list[tuple[object, int]] = field(default_factory=list)
    purchases: list[Bought] = field(default_factory=list)
    refunds: list[TakenBack] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    deals: list["Bought | TakenBack"] = field(default_factory=list)

    @property
    def remaining_wh(self) -> int:
        return self.paid_until_wh - (self.device.told_wh or 0)

    @property
    def counter_wh(self) -> int:
        """Where the counter stands, as far as anybody knows: what was told, or what was posted."""
        return max(self.device.told_wh or 0, self.opening_wh + self.posted_wh)

    def heard_lately(self, now_s: int) -> bool:
        return self.device.told_s is not None and now_s - self.device.told_s <= REPORT_GOOD_FOR_S

    @property
    def is_closing(self) -> bool:
        return bool(self.closings) and self.closings[-1].state == "closing"

    def level_wh(self, stage: str, *, load_w: int | None = None) -> int:
        """Return the level of a stage: each at least as high as the next harsher one, and the notice in time."""
        load_w = self.load_w if load_w is None else load_w
        terms = self.terms
        trip = terms.trip_wh - terms.overdraft_wh
        limited = max(trip, terms.limited_wh)
        warning = max(limited, terms.warning_wh)
        in_time = trip + load_w * terms.told_before_s // 3600
        return {"trip": trip, "warning": warning, "notice": max(warning, in_time, terms.notice_wh)}[stage]

    def move_energy(self, source: object, wh: int) -> None:
        self.granted_wh += wh
        self.paid_until_wh += wh
        if wh:
            self.grants.append((source, wh))
            self.send_credit()

    def send_credit(self) -> None:
        self.device.newest = (self.order_no, self.paid_until_wh)

    def unused_of(self, purchase: Bought) -> int:
        """Return what is left of a purchase when what was given first has burnt first."""
        net: dict[int, int] = {}
        for source, wh in self.grants:
            net[id(source)] = net.get(id(source), 0) + wh
        left_wh = max(self.remaining_wh, 0)
        for source_id in reversed(list(net)):
            mine = min(max(net[source_id], 0), left_wh)
            if source_id == id(purchase):
                return mine
            left_wh -= mine
        return 0

    def is_newest(self, purchase: Bought) -> bool:
        """Whether nothing came after a purchase but what was reversed and paid out, as if it had not been."""
        for later in reversed(self.deals):
            if later is purchase:
                return True
            end = later.taken_back if isinstance(later, Bought) else later
            if end is None or end.kind != "reversal" or end.state != "paid_out":
                return False
        return False

    def worth_of(self, left_wh: int) -> Fraction:
        """Return what energy that is left was paid with: what was paid for first was used first."""
        worth = Fraction(0)
        for purchase in reversed(self.purchases):
            mine = min(purchase.paid_for_wh, left_wh)
            worth += mine * purchase.price
            left_wh -= mine
        return worth


@dataclass(kw_only=True, eq=False)
class Drawer:
    """The cashier's till: receipts for ever, and what the shift has taken."""

    number: int = 0
    state: str = "open"
    float_fen: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    counted_cash_fen: int = 0
    counted_slips: dict[str, int] = field(default_factory=dict)

    def take(self, tenders: dict[str, int]) -> None:
        """Write a receipt; cash that goes out must be there."""
        require(self.state == "open", "no-open-shift")
        cash_fen = tenders.get("cash", 0)
        require(cash_fen >= 0 or self.cash_fen + cash_fen >= 0, "till-lacks-cash")
        self.number += 1
        for kind, fen in tenders.items():
            self.taken[kind] = self.taken.get(kind, 0) + fen

    @property
    def cash_fen(self) -> int:
        return self.float_fen + self.taken.get("cash", 0)

    def differences(self) -> dict[str, int]:
        expected = {kind: fen for kind, fen in self.taken.items() if kind != "cash"}
        kinds = {*expected, *self.counted_slips}
        found = {kind: self.counted_slips.get(kind, 0) - expected.get(kind, 0) for kind in kinds}
        found["cash"] = self.counted_cash_fen - self.cash_fen
        return {kind: fen for kind, fen in found.items() if fen}


@dataclass(kw_only=True, eq=False)
class Bookkeeper:
    """All sites, the drawer, and the utility's own accounts, debits above zero."""

    sites: list[Site]
    drawer: Drawer = field(default_factory=Drawer)
    own: dict[str, int] = field(default_factory=dict)
    device_names: set[str] = field(default_factory=set)

    def book(self, account: str, amount: int) -> None:
        self.own[account] = self.own.get(account, 0) + amount

    def _money(self, tenders: dict[str, int]) -> None:
        self.drawer.take(tenders)
        for kind, fen in tenders.items():
            self.book("till" if kind == "cash" else "bank", fen)

    def buy(self, site: Site, *, tenders: dict[str, int], name: str) -> Bought:
        require(not site.closed, "contract-closed")
        require(not site.is_closing, "contract-closing")
        require(self.drawer.state == "open", "no-open-shift")
        paid_fen = sum(tenders.values())
        require(0 < paid_fen <= LARGEST_SALE_FEN, "amount-not-sellable")
        debt_paid = min(paid_fen * site.terms.debt_share_percent // 100, site.debt_fen)
        money = paid_fen - debt_paid + site.kept
        energy_wh = int(money / site.price)
        site.order_no += 1
        bought = Bought(
            name=name,
            order_no=site.order_no,
            paid_fen=paid_fen,
            debt_paid_fen=debt_paid,
            kept_before=site.kept,
            price=site.price,
            energy_wh=energy_wh,
            repaid_wh=min(energy_wh, site.lent_wh),
            tenders=dict(tenders),
            paid_for_wh=energy_wh,
        )
        self._money(tenders)
        site.debt_fen -= debt_paid
        site.deposit_fen += paid_fen - debt_paid
        site.kept = money - energy_wh * site.price
        site.lent_wh -= bought.repaid_wh
        self.book("energy_sold", energy_wh)
        site.move_energy(bought, bought.granted_wh)
        site.purchases.append(bought)
        site.deals.append(bought)
        return bought

    def owe(self, site: Site, fen: int) -> None:
        site.debt_fen += fen
        self.book("opening_money", -fen)

    def lend(self, site: Site, wh: int) -> None:
        require(not site.closed, "no-terminal-fitted")
        require(not site.is_closing, "contract-closing")
        require(site.terms.emergency_limit_wh > 0, "emergency-credit-refused:not_agreed")
        known = site.device.told_wh is not None
        needed = known and site.remaining_wh <= site.level_wh("notice")
        require(needed, "emergency-credit-refused:not_needed")
        require(wh <= site.terms.emergency_limit_wh - site.lent_wh, "emergency-credit-refused:above_the_limit")
        site.order_no += 1
        site.lent_wh += wh
        site.move_energy(object(), wh)

    def ask_back(
        self, site: Site, bought: Bought, *, kind: str, wanted_wh: int | None, now_s: int, by_approver: bool
    ) -> TakenBack:
        most_wh = self._most_that_can_go_back(site, bought, now_s=now_s)
        if kind == "reversal":
            require(site.is_newest(bought), "refund-refused:not_the_newest")
            require(site.unused_of(bought) >= bought.granted_wh, "refund-refused:used_already")
            require(most_wh >= bought.granted_wh, "refund-refused:would_cut")
            energy_wh, back_fen = bought.granted_wh, bought.paid_fen - bought.debt_paid_fen
            debt_fen, kept, reopened_wh = bought.debt_paid_fen, bought.kept_before, bought.repaid_wh
        else:
            energy_wh = most_wh if wanted_wh is None else wanted_wh
            require(0 < energy_wh <= most_wh, "refund-refused:too_little_left")
            worth = energy_wh * bought.price + site.kept
            back_fen = int(worth)
            require(back_fen > 0, "refund-refused:worth_nothing")
            debt_fen, kept, reopened_wh = 0, worth - back_fen, 0
        site.order_no += 1
        site.kept = kept
        site.lent_wh += reopened_wh
        bought.paid_for_wh -= energy_wh + reopened_wh
        self.book("energy_sold", -(energy_wh + reopened_wh))
        site.move_energy(bought, -energy_wh)
        taken = TakenBack(
            purchase=bought,
            kind=kind,
            energy_wh=energy_wh,
            deposit_fen=back_fen,
            debt_fen=debt_fen,
            order_no=site.order_no if energy_wh else 0,
            paid_until_wh=site.paid_until_wh,
            asked_by_approver=by_approver,
        )
        bought.taken_back = taken
        site.refunds.append(taken)
        site.deals.append(taken)
        return taken

    def _most_that_can_go_back(self, site: Site, bought: Bought, *, now_s: int) -> int:
        require(not site.closed, "nothing-to-ask")
        require(not site.is_closing, "refund-refused:account_closing")
        require(site.heard_lately(now_s), "refund-refused:report_stale")
        require(site.lent_wh == 0, "refund-refused:emergency_credit")
        require(bought.taken_back is None, "refund-refused:taken_back_before")
        keep_wh = self._least_that_stays(site) + site.load_w * REPORT_GOOD_FOR_S // 3600
        return min(site.unused_of(bought), max(site.remaining_wh - keep_wh, 0))

    def _least_that_stays(self, site: Site) -> int:
        # A terminal in local mode acts by itself, so the notices must stay, at all that its rounds can draw; and at
        # a level itself, too, something acts.
        connected_w = max(site.load_w, site.device.rounds_w)
        level_wh = site.level_wh("notice", load_w=connected_w) if site.terms.local else site.level_wh("trip")
        return level_wh + 1

    def release(self, taken: TakenBack, *, by_who_asked: bool) -> None:
        require(taken.state == "taking_back", "refund-over")
        require(not by_who_asked, "own-refund")
        require(not taken.released, "refund-released-before")
        taken.released = True

    def pay_out(self, site: Site, taken: TakenBack, *, form: str) -> None:
        require(taken.state == "taking_back", "refund-over")
        proved = taken.order_no == 0 or site.device.shows(taken.order_no, taken.paid_until_wh)
        require(taken.released or proved, "not-taken-back-yet")
        if taken.kind == "reversal":
            tenders = {kind: -fen for kind, fen in taken.purchase.tenders.items()}
        else:
            tenders = {form: -taken.deposit_fen}
        self._money(tenders)
        site.deposit_fen -= taken.deposit_fen
        site.debt_fen += taken.debt_fen
        taken.state = "paid_out"

    def withdraw(self, site: Site, taken: TakenBack) -> None:
        require(taken.state == "taking_back", "refund-over")
        require(not site.closed, "nothing-to-ask")
        bought = taken.purchase
        money = taken.deposit_fen + site.kept
        energy_wh = int(money / bought.price)
        # What was lent stays lent where somebody else's purchase has given it back meanwhile.
        repaid_wh = min(energy_wh, bought.repaid_wh, site.lent_wh) if taken.kind == "reversal" else 0
        site.order_no += 1
        site.kept = money - energy_wh * bought.price
        site.lent_wh -= repaid_wh
        bought.paid_for_wh += energy_wh
        self.book("energy_sold", energy_wh)
        site.move_energy(bought, energy_wh - repaid_wh)
        taken.state = "withdrawn"
        bought.taken_back = None
        site.deals.append(taken)

    def report(self, site: Site, *, used_wh: int, takes_over: bool, now_s: int) -> None:
        device = site.device
        device.told_wh = site.counter_wh + used_wh
        device.told_s = now_s - 1
        if takes_over and device.newest is not None:
            device.order_no, device.paid_until_wh = device.newest

    def post(self) -> None:
        for site in self.sites:
            if site.device.told_wh is not None:
                self._post_up_to(site, site.device.told_wh)

    def _post_up_to(self, site: Site, reading_wh: int) -> None:
        fresh_wh = max(reading_wh - site.opening_wh - site.posted_wh, 0)
        site.posted_wh += fresh_wh
        self.book("energy_supplied", -fresh_wh)

    def exchange(self, site: Site, *, final_wh: int, start_wh: int, name: str, now_s: int) -> None:
        require(not site.closed, "no-contract-to-serve")
        require(not site.is_closing, "contract-closing")
        device = site.device
        since_s = device.told_s if device.told_s is not None else device.fitted_s
        seconds = max(now_s - since_s, 0) + REPORT_GOOD_FOR_S
        require(final_wh >= site.counter_wh, "final-reading-too-low")
        require(
            final_wh <= site.counter_wh + 2 * site.terms.capacity_kva * 1000 * seconds // 3600,
            "final-reading-too-high",
        )
        unproved = any(
            taken.state == "taking_back"
            and not taken.released
            and taken.order_no
            and not device.shows(taken.order_no, taken.paid_until_wh)
            for taken in site.refunds
        )
        stays_wh = site.paid_until_wh - final_wh
        require(not unproved or stays_wh >= self._least_that_stays(site), "refund-unproved")
        require(name not in self.device_names, "terminal-taken")
        self._post_up_to(site, final_wh)
        site.opening_wh += start_wh - final_wh
        site.paid_until_wh += start_wh - final_wh
        site.device = Device(name=name, fitted_s=now_s, rounds_w=120_000, paid_until_wh=start_wh)
        # Before the first deal nothing is controlled, and no order may begin it.
        if site.order_no:
            site.order_no += 1
            site.device.first_order_no = site.order_no
            site.device.newest = (site.order_no, site.paid_until_wh)
        self.device_names.add(name)

    def ask_closing(self, site: Site, *, now_s: int, by_approver: bool) -> Closing:
        self._refuse_closed(site)
        require(site.heard_lately(now_s), "closing-refused:report_stale")
        require(site.power_w == 0, "closing-refused:load_running")
        under_way = any(taken.state == "taking_back" for taken in site.refunds)
        require(not under_way, "closing-refused:refund_under_way")
        remaining_wh, lent_wh = site.remaining_wh, site.lent_wh
        paid = site.worth_of(max(remaining_wh - lent_wh, 0)) + site.kept
        owed = max(lent_wh - remaining_wh, 0) * site.price
        site.order_no += 1
        closing = Closing(
            reading_wh=site.counter_wh,
            remaining_wh=remaining_wh,
            lent_wh=lent_wh,
            debt_fen=site.debt_fen,
            money_fen=int(paid) - site.debt_fen - int(owed + Fraction(1, 2)),
            kept_after=paid - int(paid),
            order_no=site.order_no,
            asked_s=now_s,
            asked_by_approver=by_approver,
        )
        self._post_up_to(site, closing.reading_wh)
        self._move_all(site, closing, lent_wh=-lent_wh, wh=-remaining_wh)
        site.closings.append(closing)
        return closing

    def _refuse_closed(self, site: Site) -> None:
        require(not site.closed, "contract-closed")
        require(not site.is_closing, "contract-closing")

    def _move_all(self, site: Site, closing: Closing, *, lent_wh: int, wh: int) -> None:
        site.lent_wh += lent_wh
        self.book("energy_sold", wh - lent_wh)
        site.move_energy(closing, wh)
        site.send_credit()

    def _under_way(self, site: Site) -> Closing:
        require(bool(site.closings), "no-such-closing")
        require(site.is_closing, "closing-over")
        return site.closings[-1]

    def release_closing(self, site: Site, *, by_approver: bool) -> None:
        closing = self._under_way(site)
        require(not (by_approver and closing.asked_by_approver), "own-closing")
        require(not closing.released, "closing-released-before")
        closing.released = True

    def finish_closing(self, site: Site, *, form: str) -> None:
        closing, device = self._under_way(site), site.device
        read_after = device.told_s is not None and device.told_s >= closing.asked_s
        proved = read_after and device.shows(closing.order_no, closing.reading_wh)
        require(closing.released or proved, "not-given-up-yet")
        require(device.told_wh == closing.reading_wh, "used-since-final-reading")
        require(site.debt_fen == closing.debt_fen, "account-moved")
        if closing.money_fen:
            self._money({form: -closing.money_fen})
        # All that was paid and does not go back was the price of what was supplied.
        self.book("revenue", -(site.deposit_fen - site.debt_fen - closing.money_fen))
        site.deposit_fen, site.debt_fen, site.kept = 0, 0, closing.kept_after
        closing.state, site.closed = "finished", True

    def withdraw_closing(self, site: Site) -> None:
        closing = self._under_way(site)
        closing.state = "withdrawn"
        site.order_no += 1
        self._move_all(site, closing, lent_wh=closing.lent_wh, wh=closing.remaining_wh)

    def close_unused(self, site: Site) -> None:
        self._refuse_closed(site)
        left_wh = site.paid_until_wh - max(site.counter_wh, site.opening_wh)
        stands = (site.deposit_fen, site.debt_fen, site.lent_wh, int(site.kept), left_wh)
        require(not any(stands), "account-not-settled")
        site.closed = True

    def open_shift(self, float_fen: int) -> None:
        require(self.drawer.state == "closed", "shift-open-already")
        self.drawer.state = "open"
        self.drawer.float_fen, self.drawer.taken = float_fen, {}
        self.book("till", float_fen)
        self.book("safe", -float_fen)

    def count(self, *, cash_fen: int, slips: dict[str, int]) -> None:
        require(self.drawer.state in ("open", "recount"), "not-to-be-counted")
        self.drawer.state = "counted"
        self.drawer.counted_cash_fen, self.drawer.counted_slips = cash_fen, slips

    def ask_to_count_again(self) -> None:
        require(self.drawer.state == "counted", "not-counted")
        self.drawer.state = "recount"

    def close_shift(self, *, reason: str | None) -> None:
        require(self.drawer.state == "counted", "not-counted")
        differences = self.drawer.differences()
        require(not differences or bool(reason), "reason-needed")
        self.book("till", -self.drawer.cash_fen)
        self.book("safe", self.drawer.counted_cash_fen)
        self.book("over_short", -differences.get("cash", 0))
        self.drawer.state = "closed"
