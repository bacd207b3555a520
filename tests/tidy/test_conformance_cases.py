"""The kit's guide has every case, as its file says it; wrong cases are refused with their place."""

from pathlib import Path

import pytest

from app.conformance import library
from app.conformance.library import CaseFault
from app.conformance.steps import TerminalCase

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
TABLES = {
    "terminal": library.as_markdown(library.terminal_cases(), subject="terminal"),
    "service": library.as_markdown(library.service_cases(), subject="service"),
}


@pytest.mark.parametrize("subject", TABLES)
def test_the_guide_has_the_table_of_all_cases(subject: str) -> None:
    assert TABLES[subject] in GUIDE


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            "- expects: {answer: executed}",
            "line 5, step 1: 'expects' is no verb; the verbs are send, cut, type_code,",
        ),
        ("- send: {op: warn, arg: {}}", "line 5, step 1 send: arg: not known here; known are op, args, as,"),
        ("- wait: 5", "line 5, step 1 wait: write a span as a number and a unit: 10 s, 2 min, -1 h"),
        ("- expect: {answer: refused}", "line 5, step 1 expect: answer: refused needs a code"),
        ("- send: {again: nobody}", "line 1: step 1 speaks of 'nobody', which no earlier step has sent"),
    ],
)
def test_a_wrong_case_is_refused_with_its_place_and_what_would_be_right(
    tmp_path: Path, steps: str, told: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"name: wrong\nproves: nothing\nsection: none\nsteps:\n  {steps}\n")

    with pytest.raises(CaseFault) as refused:
        library.read(path, kind=TerminalCase)

    assert told in str(refused.value)


def test_on_and_off_are_words_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(
        "name: words\nproves: p\nsection: s\nsteps:\n"
        "  - send: {op: guarantee, args: {on: true}}\n  - state_is: {guarantee: off}\n"
    )

    case = library.read(path, kind=TerminalCase)

    assert case.steps[0].said.args == {"on": True}
    assert case.steps[1].said.guarantee == "off"
