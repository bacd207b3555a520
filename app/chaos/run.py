"""Runs a utility on real parts, has its parts killed while it sells, lets it heal, and judges what is left."""

import json
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.chaos import figures, judge, terminals, tills
from app.chaos.journal import read_all
from app.chaos.judge import Verdict
from app.chaos.killer import Killer, Plan
from app.chaos.parts import FIVE_PARTS, ChaosFailed, Part, Parts
from app.chaos.witness import Witness
from app.clock import monotonic_s, sleep
from app.database import transaction
from app.demo.clients import Failed
from app.demo.people_and_places import STORY_CUSTOMERS
from app.demo.utility import NotReady, Utility, Wanted

_CASHIERS = 6
_HOURS_BOUGHT = 2_000
_REPORT_EVERY_S = 1
_ONLINE_WITHIN_S = 60.0
_ANSWERED_WITHIN_S = 60.0
_HEALED_WITHIN_S = 150.0
_RECORDED_AFTER_S = 2.0
_POLL_S = 0.2
_SEEDS = 1_000_000
_FAULTY = 1
_NO_VERDICT = 2

_ONLINE = text("SELECT count(*) FROM terminal_live WHERE online AND commandable")
_BEHIND = text("""
    SELECT terminal.id FROM terminals AS terminal
      JOIN allowances AS allowance USING (supply_point_id)
      JOIN terminal_live AS live ON live.terminal_id = terminal.id
     WHERE (live.state->>'order_no')::bigint IS DISTINCT FROM terminal.last_order_no
        OR (live.state->>'paid_until_wh')::bigint IS DISTINCT FROM allowance.paid_until_wh
        OR EXISTS (SELECT FROM commands WHERE terminal_id = terminal.id AND ended_at IS NULL)
""")
_SPOOLS = text("SELECT terminal_id, spool_id, upper(stored) - 1 AS upto FROM terminal_spools")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a run is asked for."""

    seconds: float
    terminals: int
    kills: int
    seed: int


def run_as_program(
    wish: Wish, *, folder: Path | None, out: Path, console: Console, kind: "type[Run] | None" = None
) -> int:
    """Run once, print and write what was found; returns the exit status: 0 all well, 1 a fault, 2 no verdict.

    A temporary folder is kept, with all logs, unless all is well.
    """
    place = folder or Path(tempfile.mkdtemp(prefix="wattgate-chaos-"))
    wish = replace(wish, seed=wish.seed or secrets.randbelow(_SEEDS) + 1)
    console.print(f"seed {wish.seed}; data and logs are in {place}")
    try:
        with _stopped_like_ctrl_c():
            verdict, found = (kind or Run)(wish, folder=place, tell=console.print).whole()
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return _NO_VERDICT
    except (ChaosFailed, NotReady, Failed) as failure:
        console.print(f"[bold red]No verdict:[/bold red] {failure}")
        return _NO_VERDICT
    figures.show(found, verdict, console=console)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    console.print(f"The figures are in {out}.")
    if not verdict.good:
        console.print(f"[bold red]Something that must hold did not.[/bold red] Data and logs stay in {place}.")
        return _FAULTY
    if folder is None:
        shutil.rmtree(place)
    console.print("[bold green]Nothing was lost, doubled or wrong.[/bold green]")
    return 0


class Run:
    """The run that only kills; what another kind of run does otherwise it overrides."""

    _parts_used: tuple[Part, ...] = FIVE_PARTS
    _healed_within_s = _HEALED_WITHIN_S
    _uncut = True

    def __init__(self, wish: Wish, *, folder: Path, tell: Callable[[str], None]) -> None:
        self._wish = wish
        self._tell = tell
        self._journals = folder / "journals"
        self._memories = folder / "terminals"
        self._began_s = monotonic_s()
        like = replace(STORY_CUSTOMERS[0], hours_bought=_HOURS_BOUGHT)
        self._customers = [replace(like, number=number) for number in range(1, wish.terminals + 1)]
        self._utility = self._make_utility(folder)
        self._parts = Parts(
            self._utility, tills_task=folder / "tills.json", journals=self._journals, parts=self._parts_used
        )
        self._tokens: dict[str, str] = {}

    def whole(self) -> tuple[Verdict, dict[str, Any]]:
        verdict = Verdict()
        with self._utility:
            try:
                before = self._prepare()
                witness = Witness(self._utility.engine)
                self._trouble(witness)
                self._end_sales()
                self._wait_healed()
                self._judge(verdict, before=before, witness=witness)
            finally:
                self._utility.stop_child(Part.TILLS)
        return verdict, self._figures(verdict)

    def _make_utility(self, folder: Path) -> Utility:
        wanted = Wanted(
            customers=self._customers,
            clock_factor=1,
            report_interval_s=_REPORT_EVERY_S,
            heartbeat_interval_s=_REPORT_EVERY_S,
            keep_receipted=True,
        )
        return Utility(folder, wanted, tell=self._say)

    def _trouble(self, witness: Witness) -> None:
        plan = Plan(seconds=self._wish.seconds, kills=self._wish.kills, seed=self._wish.seed)
        Killer(self._parts, plan, look=witness.look, tell=self._say).run()

    def _prepare(self) -> list[str]:
        """Wait for the terminals, hire the cashiers, and let them begin; returns the purchases of before."""
        self._wait(self._all_online, f"{self._wish.terminals} terminals online", within_s=_ONLINE_WITHIN_S)
        self._journals.mkdir()
        names = [f"till-{number}" for number in range(1, _CASHIERS + 1)]
        task = self._hire(names, contracts=self._sold_to())
        task.write(self._utility.folder / "tills.json")
        before = judge.numbers_before(self._utility.engine)
        self._parts.start_tills()
        self._say("the tills sell")
        return before

    def _sold_to(self) -> list[str]:
        return [customer.contract_no for customer in self._customers]

    def _hire(self, names: list[str], *, contracts: list[str]) -> tills.Task:
        tokens = {name: tills.prepare_cashier(self._utility.http_url, name) for name in names}
        self._tokens |= tokens
        return tills.Task(
            url=self._utility.http_url,
            folder=str(self._journals),
            seed=self._wish.seed,
            contracts=contracts,
            tokens=tokens,
        )

    def _end_sales(self) -> None:
        self._say("every part is back; the tills finish what they have begun")
        self._parts.tills.tell("stop")
        self._wait(
            lambda: self._parts.tills.ended, "the tills to have their last answers", within_s=_ANSWERED_WITHIN_S
        )

    def _wait_healed(self) -> None:
        """Wait until the terminals hold what was paid for, and have receipts for all that was stored by now."""
        self._say("waiting until terminals and books agree")
        with transaction(self._utility.engine) as session:
            upto = {(row.terminal_id, row.spool_id): row.upto for row in session.execute(_SPOOLS)}
        self._wait(
            lambda: not self._behind(), "the terminals to hold what was paid for", within_s=self._healed_within_s
        )
        self._wait(lambda: self._all_receipted(upto), "the receipts of all reports", within_s=self._healed_within_s)

    def _judge(self, verdict: Verdict, *, before: list[str], witness: Witness) -> None:
        self._say("judging")
        by_till = read_all(self._journals)
        asked = [one for sales in by_till.values() for one in sales]
        judge.judge_replays(verdict, by_till, url=self._utility.http_url, tokens=self._tokens)
        self._silence_terminals()
        engine = self._utility.engine
        witness.look_at_all()
        held = terminals.held(self._memories)
        judge.judge_sales(verdict, asked, engine=engine, before=before)
        judge.judge_reports(verdict, held, engine=engine)
        judge.judge_terminals(verdict, held, engine=engine, uncut=self._uncut)
        judge.judge_books(verdict, environment=self._utility.environment)
        verdict.ask("facts of commands never went backwards", witness.went_back)
        self._ask_that_it_happened(verdict)
        counted = ("sales_acknowledged", "reports_and_events_receipted")
        verdict.ask("there was something to lose", [name for name in counted if not verdict.figures[name]])
        verdict.figures |= {"commands": witness.commands, "looks_at_commands": witness.looks} | figures.of_waits(
            asked
        )

    def _ask_that_it_happened(self, verdict: Verdict) -> None:
        """A run in which little happened proves little."""
        killed = {death.part for death in self._parts.deaths}
        verdict.ask("every part was killed", sorted(set(self._parts.all) - killed))

    def _silence_terminals(self) -> None:
        self._utility.stop_child("fleet")
        sleep(_RECORDED_AFTER_S)

    def _figures(self, verdict: Verdict) -> dict[str, Any]:
        return {
            "good": verdict.good,
            **vars(self._wish),
            "whole_run_s": round(monotonic_s() - self._began_s),
            **figures.of_deaths(self._parts.deaths, self._parts.all),
            **verdict.figures,
            "faults": {question: against for question, against in verdict.faults.items() if against},
        }

    def _all_online(self) -> bool:
        with transaction(self._utility.engine) as session:
            return bool(session.execute(_ONLINE).scalar_one() == self._wish.terminals)

    def _behind(self) -> list[str]:
        with transaction(self._utility.engine) as session:
            return list(session.scalars(_BEHIND))

    def _all_receipted(self, upto: dict[tuple[str, UUID], int]) -> bool:
        found = terminals.receipted(self._memories)
        return all(
            found.get(terminal_id, {}).get(spool_id, set()) >= set(range(1, last + 1))
            for (terminal_id, spool_id), last in upto.items()
        )

    def _wait(self, happened: Callable[[], bool], what: str, *, within_s: float) -> None:
        deadline_s = monotonic_s() + within_s
        while True:
            try:
                if happened():
                    return
            except DBAPIError:
                pass  # a connection of before the last kill
            if monotonic_s() > deadline_s:
                raise ChaosFailed(
                    f"waited {within_s:.0f} s in vain for {what}; see the logs in {self._utility.folder}"
                )
            sleep(_POLL_S)

    def _say(self, line: str) -> None:
        self._tell(f"{monotonic_s() - self._began_s:6.1f} s  {line}")


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does, so that nothing is left running."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
