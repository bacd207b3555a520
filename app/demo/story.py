"""The whole story once, on real parts: bought, warned, limited, tripped, restored; remote, then local."""

import tempfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console

from app.clock import monotonic_s
from app.database import transaction
from app.demo.clients import Clerk, Failed, Json, order_by_two, wait_for
from app.demo.people_and_places import STORY_CUSTOMERS, DemoCustomer
from app.demo.utility import NotReady, Utility, Wanted
from app.verification import INVARIANTS, find_broken

#: One second of the machine is five hours of the contract: three days of notice pass in a quarter of a minute.
_FACTOR = 18_000
_REMOTE, _LOCAL = STORY_CUSTOMERS
_SOON_S = 15.0
_LATER_S = 40.0


def tell_story(folder: Path | None, *, console: Console) -> int:
    """Live through the story; returns the exit status: 0 when every step came true."""
    began_s = monotonic_s()
    with tempfile.TemporaryDirectory(prefix="wattgate-story-") as temporary:
        wanted = Wanted(
            customers=STORY_CUSTOMERS, clock_factor=_FACTOR, report_interval_s=3600, heartbeat_interval_s=1
        )
        utility = Utility(folder or Path(temporary), wanted)
        storyteller = Storyteller(utility, console=console, began_s=began_s)
        try:
            with utility:
                storyteller.tell()
        except (Failed, NotReady) as failure:
            console.print(f"\n[bold red]The story broke off:[/bold red] {failure}", markup=True)
            return 1
    console.print(f"\n[bold green]The story came true[/bold green] in {monotonic_s() - began_s:.0f} s.")
    return 0


class Storyteller:
    """Tells one step after the other, each with the time, what happened and the proof."""

    def __init__(self, utility: Utility, *, console: Console, began_s: float) -> None:
        self._utility = utility
        self._console = console
        self._began_s = began_s
        self._cashier: Clerk
        self._operator: Clerk
        self._approver: Clerk

    def tell(self) -> None:
        self._chapter("The utility")
        self._open()
        self._chapter("Remote mode: the service decides")
        point_id = self._point_of(_REMOTE.terminal_id)
        first = self._with_what_was_used(50_000, _REMOTE)
        self._buy(_REMOTE.contract_no, first, key="story-1", terminal_id=_REMOTE.terminal_id)
        self._buy_again_changes_nothing(first)
        self._commission_local_control()
        self._run_out(point_id)
        self._trip_round_by_round(point_id)
        self._restore(point_id)
        self._chapter("Local mode: the terminal decides alone while the service is down")
        self._terminal_alone()
        self._books_agree_afterwards()
        self._restore_local()
        self._verify()

    def _open(self) -> None:
        self._cashier = Clerk(self._utility.http_url, name="cashier")
        self._operator = Clerk(self._utility.http_url, name="operator")
        self._approver = Clerk(self._utility.http_url, name="approver")
        self._say("signed in", f"{self._cashier.name} and {self._operator.name} at {self._utility.http_url}")
        for customer in STORY_CUSTOMERS:
            self._wait_terminal(customer.terminal_id, commandable=True)
        self._say("terminals online", "both have echoed the service's challenge: the way down is proved")

    def _buy(self, contract_no: str, amount_yuan: str, *, key: str, terminal_id: str) -> Json:
        body = {"contract_no": contract_no, "amount_yuan": amount_yuan}
        sold: Json = self._cashier.post("/purchases", body, key=key).json()
        self._say(
            "sold",
            f"¥{amount_yuan} on {contract_no} at {sold['price_yuan_per_kwh']} yuan/kWh: {sold['energy_kwh']} kWh, "
            f"order {sold['order_no']}, receipt {sold['purchase_no']}",
        )
        credit = self._wait_credit(sold["purchase_no"])
        held = self._cashier.get(f"/terminals/{terminal_id}")["state"]
        if held["order_no"] != sold["order_no"] or held["paid_until_wh"] != sold["paid_until_wh"]:
            raise Failed(f"the terminal holds order {held['order_no']} until {held['paid_until_wh']} Wh")
        facts = ", ".join(
            f"{word} {_clock(credit[f'{word}_at'])}" for word in ("sent", "received", "executed", "verified")
        )
        self._say("credit verified", f"{facts}; the terminal itself shows {_kwh(held['remaining_wh'])} kWh left")
        return sold

    def _with_what_was_used(self, amount_yuan: int, customer: DemoCustomer) -> str:
        """Add the price of what ran through before the first purchase: on a slow machine that is more."""
        held = self._cashier.get(f"/terminals/{customer.terminal_id}")["state"]
        used_kwh = max(-held["remaining_wh"], 0) // 1000
        return f"{amount_yuan + used_kwh * Decimal(customer.price):.2f}"

    def _buy_again_changes_nothing(self, amount_yuan: str) -> None:
        body = {"contract_no": _REMOTE.contract_no, "amount_yuan": amount_yuan}
        first = self._cashier.post("/purchases", body, key="story-1")
        second = self._cashier.post("/purchases", body, key="story-1")
        purchases = self._cashier.items("/purchases", contract_no=_REMOTE.contract_no)
        if first.content != second.content or len(purchases) != 1:
            raise Failed(f"the same request gave {len(purchases)} purchases")
        self._say("same request again", "two more times, the same bytes each time, still one purchase")

    def _commission_local_control(self) -> None:
        """Sell to the local customer early, so that its energy runs out just after the first chapter."""
        amount_yuan = self._with_what_was_used(92_000, _LOCAL)
        self._buy(_LOCAL.contract_no, amount_yuan, key="story-local-1", terminal_id=_LOCAL.terminal_id)
        order = {
            "action": "enable_control",
            "supply_point_id": self._point_of(_LOCAL.terminal_id),
            "reason": "commissioning of local control",
        }
        command_id = order_by_two(self._operator, self._approver, order, key="story-control")
        self._wait_command(command_id, state="verified")
        two = f"asked for by {self._operator.name}, approved by {self._approver.name}"
        self._say("control enabled", f"{_LOCAL.terminal_id} now trips by itself at its threshold; {two}")

    def _run_out(self, point_id: str) -> None:
        for stage in ("notice", "warning", "limited"):
            seen = self._wait_stage(point_id, stage, within_s=_LATER_S)
            self._say(stage, seen["because"][0]["en"], at=seen["since"])
            if stage == "notice":
                notice = self._wait_notice(point_id, "written")
                self._say("notice served", f"{notice['served_how']}: {notice['text_en']}", at=notice["served_at"])
        self._wait_commands(point_id, op="limit", count=1)
        limit_w = self._operator.get(f"/supply-points/{point_id}")["limit_w"]
        self._say("limit verified", f"the terminal holds a limit of {_kwh(limit_w)} kW")

    def _trip_round_by_round(self, point_id: str) -> None:
        second = self._wait_notice(point_id, "second", within_s=_LATER_S)
        self._say("second notice served", second["text_en"], at=second["served_at"])
        rounds = self._operator.get(f"/supply-points/{point_id}")["rounds"]
        trips: list[Json] = []
        for count, fitted in enumerate(sorted(rounds, key=lambda one: one["importance"]), start=1):
            trips = self._wait_commands(point_id, op="trip", count=count)
            trip = self._operator.get(f"/commands/{trips[-1]['id']}")
            if trip["args"]["round"] != fitted["round"]:
                raise Failed(f"round {trip['args']['round']} was tripped before round {fitted['round']}")
            steps = [step["step"] for step in trip["steps"]]
            for step in ("sent arm", "armed", "sent operate", "executed", "verified"):
                if step not in steps:
                    raise Failed(f"the trip of round {fitted['round']} was verified without «{step}»: {steps}")
            before_w = next(one["detail"]["active_power_w"] for one in trip["steps"] if one["step"] == "armed")
            now_w = self._operator.get(f"/supply-points/{point_id}")["active_power_w"]
            self._say(
                f"round {fitted['round']} tripped",
                f"{fitted['feeds_en']}: armed, operated, executed, verified by relay and load "
                f"({_kwh(before_w)} → {_kwh(now_w)} kW)",
                at=trip["verified_at"],
            )
        served = self._wait_notice(point_id, "written")
        if datetime.fromisoformat(trips[0]["executed_at"]) < datetime.fromisoformat(served["cut_not_before"]):
            raise Failed("the first trip came before the time that the notice gave")
        self._say(
            "told in time", f"notice said not before {_clock(served['cut_not_before'])}, first trip came after it"
        )

    def _restore(self, point_id: str) -> None:
        self._buy(_REMOTE.contract_no, "120000.00", key="story-2", terminal_id=_REMOTE.terminal_id)
        closes = self._wait_commands(point_id, op="close", count=3)
        point = wait_for("every round closed", lambda: self._all_closed(point_id), within_s=_SOON_S)
        self._say("restored", f"{len(closes)} rounds allowed to close, verified; stage {point['stage']}")

    def _terminal_alone(self) -> None:
        point_id = self._point_of(_LOCAL.terminal_id)
        self._keep_local_supplied(point_id)
        notice = self._wait_notice(point_id, "written", within_s=_LATER_S)
        self._say("notice served", f"{notice['served_how']}: {notice['text_en']}", at=notice["served_at"])
        self._utility.stop_child("worker")
        self._utility.stop_child("service")
        self._say("service down", "the service and its worker are stopped; the terminal is alone")
        log = self._utility.children["fleet"].log
        wait_for("the terminal's own trip of all rounds", lambda: _last_local_trip(log), within_s=_LATER_S)
        self._say("tripped alone", "the terminal reached its threshold and tripped three rounds by itself")

    def _keep_local_supplied(self, point_id: str) -> None:
        """On a slow machine the first chapter may take long: top up, so that the notice comes in its time."""
        left_h = self._operator.get(f"/supply-points/{point_id}")["supply_left_h"] or 0
        if left_h < _LOCAL.threshold_hours[0] + 3:
            self._buy(_LOCAL.contract_no, "25600.00", key="story-local-top-up", terminal_id=_LOCAL.terminal_id)

    def _books_agree_afterwards(self) -> None:
        self._utility.start_service()
        self._utility.start_worker()
        self._utility.wait_service()
        point_id = self._point_of(_LOCAL.terminal_id)
        self._say("service back", "what the terminal kept is sent again and stored")
        trips = wait_for("three trips told afterwards", lambda: self._trips_told(point_id), within_s=_SOON_S)
        self._say(
            "told afterwards", f"{len(trips)} trips with cause «{trips[0]['detail']['cause']}» are in the events"
        )
        self._wait_terminal(_LOCAL.terminal_id, commandable=True)
        point = self._operator.get(f"/supply-points/{point_id}")
        terminal = self._operator.get(f"/terminals/{_LOCAL.terminal_id}")
        if terminal["state"]["paid_until_wh"] != point["paid_until_wh"]:
            raise Failed(f"books {point['paid_until_wh']} Wh, terminal {terminal['state']['paid_until_wh']} Wh")
        self._say("books agree", f"paid until {point['paid_until_wh']:,} Wh in the books and in the terminal")

    def _restore_local(self) -> None:
        point_id = self._point_of(_LOCAL.terminal_id)
        self._buy(_LOCAL.contract_no, "60000.00", key="story-local-2", terminal_id=_LOCAL.terminal_id)
        wait_for("the terminal's own release", lambda: self._all_closed(point_id), within_s=_SOON_S)
        self._say("restored", "above its threshold again, the terminal released its rounds by itself")

    def _verify(self) -> None:
        with transaction(self._utility.engine) as session:
            broken = {one.name: find_broken(session, one) for one in INVARIANTS}
        wrong = {name: rows for name, rows in broken.items() if rows}
        if wrong:
            raise Failed(f"wattgate verify: {wrong}")
        self._say("wattgate verify", f"all {len(INVARIANTS)} invariants hold")

    def _point_of(self, terminal_id: str) -> str:
        return str(self._operator.get(f"/terminals/{terminal_id}")["supply_point_id"])

    def _wait_terminal(self, terminal_id: str, **wanted: Any) -> Json:
        def look() -> Json | None:
            seen = self._operator.get(f"/terminals/{terminal_id}")
            return seen if all(seen[name] == value for name, value in wanted.items()) else None

        return wait_for(f"terminal {terminal_id} with {wanted}", look, within_s=_SOON_S)

    def _wait_credit(self, purchase_no: str) -> Json:
        def look() -> Json | None:
            credit: Json = self._cashier.get(f"/purchases/{purchase_no}")["credit"]
            return credit if credit["state"] == "verified" else None

        return wait_for(f"the credit of {purchase_no} verified", look, within_s=_SOON_S)

    def _wait_command(self, command_id: str, *, state: str) -> Json:
        def look() -> Json | None:
            command = self._operator.get(f"/commands/{command_id}")
            return command if command["state"] == state else None

        return wait_for(f"command {command_id} {state}", look, within_s=_SOON_S)

    def _wait_commands(self, point_id: str, *, op: str, count: int) -> list[Json]:
        """Wait until so many commands of an operation are verified; oldest first."""

        def look() -> list[Json] | None:
            found = self._operator.items("/commands", supply_point_id=point_id, state="verified", limit=200)
            verified = sorted((one for one in found if one["op"] == op), key=lambda one: str(one["issued_at"]))
            return verified if len(verified) >= count else None

        return wait_for(f"{count} verified «{op}»", look, within_s=_SOON_S)

    def _wait_stage(self, point_id: str, stage: str, *, within_s: float) -> Json:
        """Wait for a stage; one that passed quickly is read from the record of decisions."""

        def look() -> Json | None:
            decided = self._operator.get(f"/supply-points/{point_id}/why")["decisions"]
            found = [one for one in decided if one["stage"] == stage and one["stage_before"] != stage]
            return {"because": found[0]["because"], "since": found[0]["decided_at"]} if found else None

        return wait_for(f"stage {stage}", look, within_s=within_s)

    def _wait_notice(self, point_id: str, kind: str, *, within_s: float = _SOON_S) -> Json:
        def look() -> Json | None:
            notices = self._operator.items(f"/supply-points/{point_id}/notices")
            standing = [
                one for one in notices if one["kind"] == kind and one["served_at"] and not one["withdrawn_at"]
            ]
            return standing[0] if standing else None

        return wait_for(f"notice «{kind}» served", look, within_s=within_s)

    def _all_closed(self, point_id: str) -> Json | None:
        point = self._operator.get(f"/supply-points/{point_id}")
        return point if all(one["relay"] == "closed" for one in point["rounds"]) else None

    def _trips_told(self, point_id: str) -> list[Json] | None:
        events = self._operator.items(f"/supply-points/{point_id}/events", limit=200)
        own = [one for one in events if one["type"] == "trip" and one["detail"].get("cause") == "allowance"]
        return own if len(own) >= len(_LOCAL.rounds) else None

    def _chapter(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/bold]")

    def _say(self, what: str, proof: str, *, at: str | None = None) -> None:
        """Print one line: seconds since the start, the contract's clock, what happened, the proof."""
        shown = _clock(at) if at else f"{self._utility.clock.now():%m-%d %H:%M}"
        self._console.print(f"{monotonic_s() - self._began_s:6.1f} s  {shown}  [cyan]{what:<20}[/cyan] {proof}")


def _last_local_trip(log: Path) -> bool | None:
    lines = log.read_text(errors="replace").splitlines()
    own = [line for line in lines if _LOCAL.terminal_id in line and '"trip"' in line and '"allowance"' in line]
    return True if any('"rounds":"000' in line for line in own) else None


def _clock(moment: str | None) -> str:
    return f"{datetime.fromisoformat(moment):%m-%d %H:%M}" if moment else "–"


def _kwh(energy_wh: int | None) -> str:
    return "–" if energy_wh is None else f"{energy_wh / 1000:,.0f}"
