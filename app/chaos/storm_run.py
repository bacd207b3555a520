"""The longer form: two workers, faults of every kind at every state boundary, people cut rightly, and an attacker."""

import random
import re
import threading
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from app.chaos import history, terminals
from app.chaos.ailments import Ailments
from app.chaos.attacker import KINDS, Attacker
from app.chaos.boundaries import BOUNDARIES, Seen, Watch
from app.chaos.history import History, Sample
from app.chaos.judge import Verdict
from app.chaos.judge_cuts import FIGURES
from app.chaos.lines import LinedUtility
from app.chaos.parts import WORKERS, Part
from app.chaos.people import Customers, Staff, points_of
from app.chaos.run import Run
from app.chaos.storm import DECK, Plan, Storm
from app.chaos.terminals import Held
from app.chaos.witness import Witness
from app.clock import Clock, monotonic_s, sleep
from app.database import transaction
from app.demo.clients import Failed
from app.demo.utility import Utility, Wanted
from app.embedded.ports import free_port
from simulators.memory import FileMemory

_LONG_FROM_S = 300
_FAST, _FASTER = 3_600, 28_800
_REPORTS_LIVED_S = 3
#: One in five runs short, and one in five is cut by hand; the others are only sold to.
_EVERY = 5
_HOURS_LEFT, _HOURS_AHEAD = 30, 20_000
_FEN_PER_KWH = 80
#: From so many faults on for each card, every kind and every boundary must have had its turn.
_DEALT_OFTEN = 3
_HOURS_PAID_IN_NEED, _HOURS_PAID_AT_LAST = 40, 4_000
_PAYING_TILLS = 2
_NO_REPORT_FOR_S = 10**9
_DRAINED_WITHIN_S = 120.0
_DRAINS_AT_MOST = 4
_SAMPLED_EVERY_S = 3.0
_RECORDED_AFTER_S = 2.0
#: Beyond an ailment's time, until the worker runs with the right clock again.
_WRONG_UNTIL_S = 15.0
_MACHINE = Clock()

_DARK = text("""
    SELECT terminal_id FROM terminal_live
     WHERE state->>'rounds' LIKE '%0%' OR state->>'limit_w' IS NOT NULL
""")


class StormRun(Run):
    """Lives through a storm; in the end nobody who has paid may be dark, and every figure must be zero."""

    _parts_used = tuple(Part)
    _healed_within_s = 420.0
    _uncut = False

    def _make_utility(self, folder: Path) -> Utility:
        self._customers = [
            replace(
                one,
                feeder=f"浦{one.number}",
                hours_bought=_HOURS_LEFT if one.number % _EVERY == 0 else _HOURS_AHEAD,
            )
            for one in self._customers
        ]
        factor = _FAST if self._wish.seconds >= _LONG_FROM_S else _FASTER
        wanted = Wanted(
            customers=self._customers,
            clock_factor=factor,
            report_interval_s=_REPORTS_LIVED_S * factor,
            heartbeat_interval_s=_REPORTS_LIVED_S,
            workers=len(WORKERS),
            keep_receipted=True,
            keep_witnessed=True,
            postgres={"track_commit_timestamp": "on"},
        )
        self._lined = LinedUtility(folder, wanted, tell=self._say)
        for name in WORKERS:
            self._lined.more[name]["WATTGATE_WORKER_METRICS_PORT"] = str(free_port())
        self._samples: list[Sample] = []
        return self._lined

    def _trouble(self, witness: Witness) -> None:
        utility, seed = self._lined, self._wish.seed
        chance = random.Random(seed)  # noqa: S311 - the same seed gives the same dice
        ids = [one.terminal_id for one in self._customers]
        self._ailments = Ailments(utility, self._parts, relays=utility.relays, terminal_ids=ids, chance=chance)
        plan = Plan(seconds=self._wish.seconds, faults=self._wish.kills, seed=seed)
        self._storm = Storm(self._parts, self._ailments, plan, tell=self._say)
        self._hire_people()
        attacker = self._attacker = Attacker(
            port=utility.broker.port,
            password=utility.broker.service_password,
            heard=utility.folder / "overheard",
            terminal_ids=ids,
            seed=seed,
        )
        watch = Watch(utility.engine, witness=witness, tell=self._notice)
        done = threading.Event()
        sampler = threading.Thread(target=self._sample, args=(done,), daemon=True)
        for thread in (self._paying, self._staff, attacker, watch, sampler):
            thread.start()
        self._storm.run()
        self._say("the storm is over; the attacker and the staff stop, everybody pays")
        attacker.stop()
        self._staff.stop()
        self._paying.stop(and_pay=self._fen_of(_HOURS_PAID_AT_LAST))
        watch.stop()
        self._wait(self._nobody_dark, "supply for everybody who has paid", within_s=self._healed_within_s)
        done.set()
        sampler.join()

    def _hire_people(self) -> None:
        utility, seed = self._lined, self._wish.seed
        poor = [one.contract_no for one in self._customers if one.number % _EVERY == 0]
        ordered = [one.contract_no for one in self._customers if one.number % _EVERY == 1]
        names = [f"paying-{number}" for number in range(1, _PAYING_TILLS + 1)]
        task = self._hire(names, contracts=poor)
        self._paying = Customers(task, poor=poor, fen=self._fen_of(_HOURS_PAID_IN_NEED), engine=utility.engine)
        points = points_of(utility.engine, ordered)
        self._staff = Staff(
            utility.http_url, list(points.values()), clock=utility.clock, engine=utility.engine, seed=seed
        )

    def _fen_of(self, hours: int) -> int:
        return self._customers[0].rated_power_w // 1_000 * hours * _FEN_PER_KWH

    def _sold_to(self) -> list[str]:
        return [one.contract_no for one in self._customers if one.number % _EVERY > 1]

    def _notice(self, seen: Seen) -> None:
        self._storm.notice(seen)
        self._paying.notice(seen)

    def _sample(self, done: threading.Event) -> None:
        """Read again and again what the workers' figures tell of restores that wait, as an alert would."""
        ports = [self._lined.more[name]["WATTGATE_WORKER_METRICS_PORT"] for name in WORKERS]
        while not done.wait(_SAMPLED_EVERY_S):
            for port in ports:
                try:
                    told = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=1.0).text
                except httpx.HTTPError:
                    continue  # killed or frozen
                waited = re.findall(r"^wattgate_oldest_undelivered_restore_seconds\{.*\} (\S+)$", told, re.MULTILINE)
                if waited:
                    self._samples.append(Sample(at=_MACHINE.now(), longest_s=max(map(float, waited))))

    def _nobody_dark(self) -> bool:
        """Have what was cut by hand given back by hand, and see whether anybody is left without supply."""
        try:
            self._staff.give_back()
        except (Failed, httpx.HTTPError):
            return False
        with transaction(self._lined.engine) as session:
            return not session.scalars(_DARK).all()

    def _silence_terminals(self) -> None:
        """Stop the terminals when each number of their spools has its receipt, and no new one comes."""
        for _ in range(_DRAINS_AT_MOST):
            self._lined.stop_child(Part.TERMINALS)
            held = terminals.held(self._memories)
            upto = {(one.terminal_id, one.spool_id): one.made for one in held}
            if self._all_receipted(upto):
                break
            for one in held:
                memory = FileMemory(self._memories, terminal_id=one.terminal_id)
                memory.save(one.kept.model_copy(update={"report_interval_s": _NO_REPORT_FOR_S}))
                memory.close()
            self._lined.start_fleet()
            self._wait(partial(self._all_receipted, upto), "receipts of all reports", within_s=_DRAINED_WITHIN_S)
        sleep(_RECORDED_AFTER_S)

    def _judge(self, verdict: Verdict, *, before: list[str], witness: Witness) -> None:
        super()._judge(verdict, before=before, witness=witness)
        held = terminals.held(self._memories)
        dark = [one.terminal_id for one in held if one.kept.tripped or one.kept.limit is not None]
        verdict.ask("no terminal is dark that has paid", dark)
        past = self._history(held)
        for name, judged in FIGURES.items():
            against = judged(past)
            verdict.figures[name] = len(against)
            verdict.ask(f"{name.replace('_', ' ')}: 0", against)
        verdict.figures |= {"states_that_went_backwards": len(witness.went_back), "terminals_dark": len(dark)}
        verdict.figures |= self._counted(past)
        self._ask_that_it_stormed(verdict)

    def _history(self, held: list[Held]) -> History:
        wrong = [one for one in self._ailments.all if one.kind == "clock"]
        past = History(
            clock=self._lined.clock,
            did=history.witnessed(self._memories),
            samples=self._samples,
            wrong_clocks=[(_moment(one.at_s), _moment(one.until_s + _WRONG_UNTIL_S)) for one in wrong],
            made={(one.terminal_id, one.spool_id): one.made for one in held},
        )
        history.of_database(past, self._lined.engine)
        return past

    def _counted(self, past: History) -> dict[str, Any]:
        carried_out = Counter(one.claims["op"] for one in past.did if one.claims)
        by_hand = {str(key) for key, ordered in past.commands.items() if ordered.by_hand}
        trips = [one for one in past.did if one.is_cut and one.claims["op"] == "trip"]
        return {
            "faults_dealt": sum(self._storm.dealt.values()),
            "faults_at_a_state_boundary": self._storm.at_boundary.total(),
            "faults_by_kind": {f"{card.kind}: {card.part}": self._storm.dealt[card] for card in DECK},
            "faults_by_boundary": {name: self._storm.at_boundary[name] for name in BOUNDARIES},
            "commands_carried_out": carried_out.total(),
            "trips_carried_out": len(trips),
            "trips_by_hand": sum(one.claims["id"] in by_hand for one in trips),
            "limits_carried_out": carried_out["limit"],
            "restores_of_rounds_carried_out": carried_out["close"],
            "credits_carried_out": carried_out["credit"],
            "purchases_that_raced_a_cut": self._paying.raced,
            "longest_restore_told_of_s": round(max((one.longest_s for one in past.samples), default=0)),
            **{f"by_staff_{name.replace(' ', '_')}": count for name, count in self._staff.done.items()},
            **{f"attacks_{kind}": self._attacker.sent[kind] for kind in KINDS},
        }

    def _ask_that_it_happened(self, verdict: Verdict) -> None:
        if self._wish.kills >= _DEALT_OFTEN * len(DECK):  # a shorter one cannot meet everything
            super()._ask_that_it_happened(verdict)

    def _ask_that_it_stormed(self, verdict: Verdict) -> None:
        """Where nobody was cut, paid or attacked, a zero would say nothing."""
        wanted = [f"attacks_{kind}" for kind in KINDS]
        if self._wish.kills >= _DEALT_OFTEN * len(DECK):
            wanted += ["trips_carried_out", "trips_by_hand", "restores_of_rounds_carried_out", "limits_carried_out"]
            wanted += ["purchases_that_raced_a_cut"]
            missing = [name for name in BOUNDARIES if not self._storm.at_boundary[name]]
            verdict.ask("a fault came at every state boundary", missing)
            kinds = {card.kind for card in DECK} - {card.kind for card in self._storm.dealt}
            verdict.ask("every kind of fault came about", sorted(kinds))
        verdict.ask("there were cuts, races and attacks", [name for name in wanted if not verdict.figures[name]])


def _moment(counter_s: float) -> datetime:
    """Turn seconds of the counter into the moment that the machine's clock showed."""
    return _MACHINE.now() - timedelta(seconds=monotonic_s() - counter_s)
