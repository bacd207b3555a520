"""The demonstration that runs until Ctrl-C: starts the utility, says where it is and who may sign in."""

import signal
import sys
import threading
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from app.clock import monotonic_s
from app.customers.models import SupplyPoint
from app.customers.rules import ControlMode
from app.database import transaction
from app.demo.clients import Clerk, Failed, order_by_two, wait_for
from app.demo.people_and_places import CUSTOMERS, PASSWORD, PEOPLE
from app.demo.utility import NotReady, Utility, Wanted
from app.load_control.models import StageDecisionRecord

_COMMISSIONED_WITHIN_S = 30.0
_LINES_AT_ONCE = 20


def show(folder: Path, *, port: int, speed: int, console: Console) -> int:
    """Run until SIGINT or SIGTERM; returns the exit status."""
    asked_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_stop.set())
    began_s = monotonic_s()
    wanted = Wanted(customers=CUSTOMERS, clock_factor=speed, http_port=port, heartbeat_interval_s=5)
    utility = Utility(folder, wanted, tell=lambda line: console.print(f"[dim]{line} …[/dim]"))
    try:
        with utility:
            console.print(f"[bold green]Ready[/bold green] after {monotonic_s() - began_s:.1f} s.")
            _introduce(utility, console)
            _commission(utility, console)
            threading.Thread(target=_hand_on_what_is_typed, args=(utility,), daemon=True).start()
            told = Happenings(utility)
            while not asked_to_stop.wait(1.0):
                utility.check_children()
                for line in told.fresh():
                    console.print(line)
            console.print("\n[dim]stopping in order …[/dim]")
    except (NotReady, Failed) as failure:
        console.print(f"[bold red]The demonstration stopped:[/bold red] {failure}")
        return 1
    console.print(f"Stopped. All data is in {utility.folder}; start again to continue.")
    return 0


def _hand_on_what_is_typed(utility: Utility) -> None:
    if sys.stdin.isatty():
        for line in sys.stdin:
            utility.children["fleet"].tell(line.strip())


class Happenings:
    """What the service decides while the demonstration runs, a line each."""

    def __init__(self, utility: Utility) -> None:
        self._utility = utility
        self._last: UUID | None = None
        self.fresh()

    def fresh(self) -> list[str]:
        """Return the changes of stage since the last time, with their reasons."""
        wanted = (
            select(StageDecisionRecord, SupplyPoint.name_en)
            .join(SupplyPoint, SupplyPoint.id == StageDecisionRecord.supply_point_id)
            .where(StageDecisionRecord.stage != StageDecisionRecord.stage_before)
            .order_by(StageDecisionRecord.id.desc())
            .limit(_LINES_AT_ONCE)
        )
        if self._last is not None:
            wanted = wanted.where(StageDecisionRecord.id > self._last)
        with transaction(self._utility.engine) as session:
            rows = session.execute(wanted).all()
        if rows:
            self._last = rows[0][0].id
        return [
            f"{decision.decided_at:%m-%d %H:%M}  {name:<36} {decision.stage_before} → [cyan]{decision.stage}[/cyan]  "
            f"{decision.because[0]['en']}"
            for decision, name in reversed(rows)
        ]


def _introduce(utility: Utility, console: Console) -> None:
    console.print(f"  API and its page   {utility.http_url}/docs")
    console.print(f"  health, metrics    {utility.http_url}/readyz  {utility.http_url}/metrics")
    console.print(f"  MQTT broker        127.0.0.1:{utility.broker.port}")
    console.print(f"  data and logs      {utility.folder}")
    console.print(f"  the clock runs {utility.clock.factor} times as fast as life: an hour of load in 6 s at 600")
    people = Table(title=f"Sign-ins (password for all: {PASSWORD})", title_justify="left")
    for heading in ("sign-in", "person", "role", "office"):
        people.add_column(heading)
    for sign_in_name, name_zh, name_en, role, office in PEOPLE:
        people.add_row(sign_in_name, f"{name_zh} {name_en}", role.value, office)
    console.print(people)
    contracts = Table(title="Customers", title_justify="left")
    for heading in ("contract", "terminal", "customer", "capacity", "control"):
        contracts.add_column(heading)
    for one in CUSTOMERS:
        contracts.add_row(
            one.contract_no,
            one.terminal_id,
            f"{one.name_zh} {one.name_en}",
            f"{one.capacity_kva} kVA",
            "protected" if one.protected else one.control_mode.value,
        )
    console.print(contracts)
    console.print("A fault or a site code may be typed here for a terminal, as docs/simulator.md has them.")
    console.print("Press Ctrl-C to stop. Whenever a supply point changes its stage, a line follows.")


def _commission(utility: Utility, console: Console) -> None:
    """Enable control at the terminals that decide alone, as an operator and an approver do after the first credit."""
    operator, approver = (Clerk(utility.http_url, name=name) for name in ("operator", "approver"))
    for one in CUSTOMERS:
        if one.control_mode is not ControlMode.LOCAL:
            continue
        path = f"/terminals/{one.terminal_id}"

        def look(path: str = path) -> dict[str, object] | None:
            seen = operator.get(path)
            credited = seen["state"] is not None and seen["state"]["order_no"] > 0
            return seen if seen["commandable"] and credited else None

        seen = wait_for(f"{one.terminal_id} credited", look, within_s=_COMMISSIONED_WITHIN_S)
        if seen["state"]["control_enabled"]:  # type: ignore[index]
            continue
        order = {
            "action": "enable_control",
            "supply_point_id": seen["supply_point_id"],
            "reason": "commissioning of local control",
        }
        order_by_two(operator, approver, order, key=f"commissioning-{one.terminal_id}")
        console.print(f"[dim]local control enabled at {one.terminal_id}[/dim]")
    operator.close()
    approver.close()
