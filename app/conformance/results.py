"""What came of each case: for people one line each, with the frames in between when it failed; for programs JSON."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.markup import escape

from app.clock import monotonic_s
from app.conformance.known import CaseFailed
from app.conformance.line import Frame
from app.conformance.stands import NotRun
from app.conformance.steps import AnyCase

_FRAMES_SHOWN = 12


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"


_MARKS = {Outcome.PASSED: "[green]✓[/]", Outcome.FAILED: "[red]✗[/]", Outcome.NOT_RUN: "[yellow]–[/]"}


@dataclass(frozen=True, kw_only=True)
class Result:
    case: str
    proves: str
    section: str
    outcome: Outcome
    took_s: float
    step: int | None = None
    expected: str | None = None
    came: str | None = None
    why_not: str | None = None
    frames: tuple[str, ...] = ()


Tell: TypeAlias = Callable[[Result], None]


def judged(case: AnyCase, *, play: Callable[[], None], frames: Callable[[], list[Frame]]) -> Result:
    """Play a case, and make of its end a result."""
    started_s = monotonic_s()
    outcome, step, expected, came, why_not = Outcome.PASSED, None, None, None, None
    try:
        play()
    except CaseFailed as failure:
        outcome, step, expected, came = Outcome.FAILED, failure.step, failure.expected, failure.came
    except NotRun as reason:
        outcome, why_not = Outcome.NOT_RUN, str(reason)
    shown = frames()[-_FRAMES_SHOWN:] if outcome is Outcome.FAILED else []
    return Result(
        case=case.name,
        proves=case.proves,
        section=case.section,
        outcome=outcome,
        took_s=round(monotonic_s() - started_s, 2),
        step=step,
        expected=expected,
        came=came,
        why_not=why_not,
        frames=tuple(_line(frame, since_s=started_s) for frame in shown),
    )


def _line(frame: Frame, *, since_s: float) -> str:
    arrow = "→" if frame.ours else "←"
    return f"{frame.at_s - since_s:7.3f} s {arrow} {frame.kind} {frame.shown}"


def show(result: Result, *, console: Console) -> None:
    """Print one case; where it failed, all that is needed to see why."""
    console.print(f"{_MARKS[result.outcome]} {result.case:34} {escape(result.proves)}")
    if result.outcome is Outcome.NOT_RUN:
        console.print(f"    not run: {escape(result.why_not or '')}")
    if result.outcome is Outcome.FAILED:
        at = "before its first step" if result.step is None else f"at step {result.step}"
        console.print(f"    {at} expected {escape(result.expected or '')}")
        console.print(f"    came {escape(result.came or '')}")
        console.print(f"    contract: section {escape(result.section)}; the last frames:")
        for line in result.frames:
            console.print(f"    {escape(line)}")


def summary(results: Iterable[Result]) -> dict[Outcome, int]:
    found = list(results)
    return {outcome: sum(result.outcome is outcome for result in found) for outcome in Outcome}


def write(path: Path, results: list[Result], *, subject: str) -> None:
    """Write the report for programs."""
    report = {"subject": subject, "summary": summary(results), "cases": [asdict(result) for result in results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
