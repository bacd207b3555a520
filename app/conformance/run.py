"""A run of the kit as a program: who is on trial, which cases, what is printed, and how it ends."""

import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from app.conformance import library, results
from app.conformance.library import CaseFault
from app.conformance.line import Address, CannotRun, Line
from app.conformance.results import Outcome, Result, judged
from app.conformance.service_player import ServicePlayer, verifier_from
from app.conformance.stands import Desk, PersonDesk, PersonStand
from app.conformance.steps import AnyCase, TerminalCase
from app.conformance.terminal_player import TerminalPlayer
from app.conformance.tokens import Keys
from app.mqtt.topics import TERMINAL_ID_PATTERN, all_up

SERVICE_USER = "wattgate"
#: How runs end: everything passed, something failed, nothing can be said.
PASSED, FAILED, CANNOT_RUN = 0, 1, 2

_BROKER = re.compile(r"(?:([^@]+)@)?([^@:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody has asked for, whoever is on trial."""

    broker: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    terminal_id: str = ""
    key_file: Path = Path()
    key_id: str = ""
    names: tuple[str, ...] = ()
    report: Path | None = None
    unattended: bool = False


def try_terminal(wish: Wish, *, console: Console) -> int:
    """Play the service against one terminal, case by case; returns the exit code."""

    def run(tell: results.Tell) -> None:
        cases = library.chosen_terminal(wish.names)
        keys = Keys.from_file(wish.key_file, key_id=wish.key_id)
        terminal_id = _terminal_id(wish)
        line = Line(_address(wish, user=SERVICE_USER), client_id="conformance-kit", listens_to=all_up(terminal_id))
        line.open()
        try:
            stand = PersonStand(_asking(wish, console=console))
            player = TerminalPlayer(line, terminal_id=terminal_id, keys=keys, stand=stand)
            console.print(f"Waiting for a birth of {terminal_id}: let it connect anew.")
            player.meet()
            for case in cases:
                _announce(case, console=console)
                tell(judged(case, play=partial(player.play, case), frames=lambda: player.frames))
        finally:
            line.close()

    return _ended(wish, run=run, subject=wish.terminal_id, console=console)


def try_service(wish: Wish, *, console: Console, desk: Desk | None = None) -> int:
    """Play a terminal against a service, case by case; returns the exit code."""

    def run(tell: results.Tell) -> None:
        cases = library.chosen_service(wish.names)
        verifier = verifier_from(wish.key_file, key_id=wish.key_id)
        terminal_id = _terminal_id(wish)
        address = _address(wish, user=terminal_id)
        at_work = desk or PersonDesk(_asking(wish, console=console))
        player = ServicePlayer(address, terminal_id=terminal_id, verifier=verifier, desk=at_work)
        for case in cases:
            _announce(case, console=console)
            tell(judged(case, play=partial(player.play, case), frames=lambda: player.frames))

    return _ended(wish, run=run, subject="service", console=console)


def try_simulator(wish: Wish, *, defect: str | None, console: Console) -> int:
    """Play all cases against simulated terminals on a broker of their own; returns the exit code."""
    from app.conformance.simulated import Trial, play_on_simulators
    from simulators.profile import Defect

    def run(tell: results.Tell) -> None:
        if defect is not None and defect not in set(Defect):
            raise CannotRun(f"There is no defect {defect!r}.", remedy=f"There are: {', '.join(Defect)}.")
        planted = None if defect is None else Defect(defect)
        trials = [Trial(case=case, defect=planted) for case in library.chosen_terminal(wish.names)]
        with tempfile.TemporaryDirectory(prefix="wattgate-conformance-") as folder:
            play_on_simulators(trials, folder=Path(folder), tell=tell)

    return _ended(wish, run=run, subject="simulator", console=console)


def show_list(*, console: Console) -> None:
    """Print every case: whom it is for, its name, what it proves, where the contract says so."""
    for subject, cases in (("terminal", library.terminal_cases()), ("service", library.service_cases())):
        table = Table(Column("case", no_wrap=True), "proves", "section", title=f"cases for a {subject}")
        for case in cases:
            table.add_row(case.name, case.proves, case.section)
        console.print(table)


def _ended(wish: Wish, *, run: Callable[[results.Tell], None], subject: str, console: Console) -> int:
    told: list[Result] = []

    def tell(result: Result) -> None:
        told.append(result)
        results.show(result, console=console)

    try:
        run(tell)
    except CannotRun as fault:
        console.print(f"No verdict. {fault.detail} {fault.remedy}", style="red", markup=False)
        return CANNOT_RUN
    except CaseFault as fault:
        console.print(f"No verdict. {fault}", style="red", markup=False)
        return CANNOT_RUN
    finally:
        if wish.report is not None and told:
            results.write(wish.report, told, subject=subject)
    found = results.summary(told)
    console.print(
        f"{subject}: {found[Outcome.PASSED]} passed, {found[Outcome.FAILED]} failed, {found[Outcome.NOT_RUN]} not run"
    )
    return FAILED if found[Outcome.FAILED] else PASSED


def _announce(case: AnyCase, *, console: Console) -> None:
    if console.is_terminal:
        kind = "terminal" if isinstance(case, TerminalCase) else "service"
        console.print(f"… {case.name} ({kind}, {len(case.steps)} steps)", end="\r", style="dim")


def _asking(wish: Wish, *, console: Console) -> Callable[[str], None] | None:
    if wish.unattended or not sys.stdin.isatty():
        return None

    def ask(wanted: str) -> None:
        console.input(f"    [bold]{wanted}, then press Enter: [/]")

    return ask


def _terminal_id(wish: Wish) -> str:
    if re.fullmatch(TERMINAL_ID_PATTERN, wish.terminal_id) is None:
        raise CannotRun(
            f"{wish.terminal_id!r} is no terminal id.",
            remedy="Give --terminal 4 to 32 capital letters, digits and hyphens, as registered.",
        )
    return wish.terminal_id


def _address(wish: Wish, *, user: str) -> Address:
    found = _BROKER.fullmatch(wish.broker)
    if found is None:
        raise CannotRun(
            f"{wish.broker!r} names no broker.",
            remedy="Write --broker HOST:PORT, or USER@HOST:PORT for another user.",
        )
    try:
        password = wish.password_file.read_text(encoding="utf-8").strip() if wish.password_file else None
        if wish.ca_file is not None and not wish.ca_file.is_file():
            raise FileNotFoundError(2, "No such file", str(wish.ca_file))
    except OSError as error:
        raise CannotRun(f"{error.filename}: {error.strerror}.", remedy="Name a file that can be read.") from error
    return Address(
        host=found[2].strip("[]"), port=int(found[3]), user=found[1] or user, password=password, ca_file=wish.ca_file
    )
