"""Rules of the house that run: where time, transactions and sizes may be."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
SOURCES = sorted([*HOUSE.glob("app/**/*.py"), *HOUSE.glob("simulators/**/*.py")])
APP = [path for path in SOURCES if path.relative_to(HOUSE).parts[0] == "app"]

LONGEST_FUNCTION = 70
LONGEST_FILE = 400
MOST_PARAMETERS = 9
VOCABULARY = {
    "__init__", "rules", "facts", "reasons", "models", "queries", "service", "presence", "schemas", "routes",
    "ingest", "dispatch", "sweep", "heads", "books", "columns", "cells", "levels", "interlocks",
    "checks", "reader", "writer", "console",
}  # fmt: skip
FEATURES = (
    "access", "allowances", "approvals", "audit", "brake", "calendars", "campaigns", "cheques", "closings",
    "commands", "customers", "emergency", "exchanges", "imports", "key_changes", "ledger", "load_control", "notices",
    "openings", "orders", "policies", "purchases", "receipts", "refunds", "shift_closing", "shifts", "site_codes",
    "staff", "terminal_reports", "terminals", "workers",
)  # fmt: skip


#: Where work begins that nobody in particular asked for, so that no deed has to tell of it. All else begins with
#: `transaction_of`, `in_transaction_of` or `reading`, or a route asks for `Db` or `Keyed`.
ON_ITS_OWN = {
    "app/bench/", "app/chaos/", "app/demo/",  # utilities of their own, with people whom the program invents
    "app/allowances/sweep.py", "app/approvals/sweep.py", "app/brake/sweep.py",
    "app/campaigns/sweep.py", "app/cheques/sweep.py",
    "app/commands/sweep.py", "app/load_control/sweep.py", "app/terminal_reports/sweep.py",  # time passing
    "app/workers/sweep.py",  # time passing
    "app/commands/dispatch.py", "app/terminal_reports/ingest.py",  # terminals
    "app/worker.py:_measure", "app/worker.py:_daily",
    "app/main.py:note_used",  # of keys, once a minute
    # Who tries a password is nobody yet; the attempt's own row tells of it, and who is let in acts from then on.
    "app/access/routes.py:_try", "app/access/routes.py:create_token", "app/access/routes.py:change_password",
}  # fmt: skip
BARE = {"transaction", "in_transaction"}


def bare_transactions(path: Path) -> Iterator[str]:
    """Name the innermost functions that call what begins a transaction of the service itself, or hand it on."""

    def visit(node: ast.AST, inside: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            name = child.id if isinstance(child, ast.Name) else child.attr if isinstance(child, ast.Attribute) else ""
            if name in BARE:
                yield f"{named(path)}:{inside}"
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from visit(child, child.name if is_function else inside)

    yield from visit(ast.parse(path.read_text()), "")


def named(path: Path) -> str:
    return str(path.relative_to(HOUSE))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def found_in(paths: list[Path], pattern: str, *, but: set[str]) -> list[str]:
    return [
        f"{named(path)}:{number}: {line.strip()}"
        for path in paths
        if named(path) not in but
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(pattern, line)
    ]


def test_transactions_begin_and_end_in_one_place() -> None:
    assert found_in(APP, r"\b(session|connection|engine)\.(commit|begin|rollback)\(", but={"app/database.py"}) == []


def test_sessions_are_made_in_one_place() -> None:
    assert found_in(APP, r"\b(Session|sessionmaker|scoped_session)\(", but={"app/database.py"}) == []


def test_whatever_people_cause_is_held_to_its_record() -> None:
    found = {place for path in APP if named(path) != "app/database.py" for place in bare_transactions(path)}
    unjudged = {place for place in found if not place.startswith(tuple(ON_ITS_OWN))}
    assert unjudged == set()
    assert {one for one in ON_ITS_OWN if not any(place.startswith(one) for place in found)} == set()


def test_only_the_clock_tells_the_time() -> None:
    allowed = {"app/clock.py", "app/demo/utility.py", "app/database.py"}
    assert found_in(APP, r"datetime\.(now|utcnow)\(|time\.(time|monotonic|sleep)\(", but=allowed) == []


def test_money_and_energy_never_meet_a_float() -> None:
    kept_whole = [
        path
        for path in APP
        if path.parent.name in FEATURES and path.stem in ("rules", "interlocks", "levels", "service", "models")
    ]
    floats = found_in(kept_whole, r"(: |-> |\[|\| )float\b|\bfloat\(|Float\(", but={"app/commands/rules.py"})
    assert floats == []


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_function_is_short_enough_to_hold_in_mind(path: Path) -> None:
    long = {each.name: each.end_lineno - each.lineno + 1 for each in functions(path) if each.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_function_takes_few_parameters(path: Path) -> None:
    taken = {each.name: len(each.args.args) + len(each.args.kwonlyargs) for each in functions(path)}
    assert {name: count for name, count in taken.items() if count > MOST_PARAMETERS} == {}


def test_features_use_the_closed_vocabulary_of_file_names() -> None:
    strange = [
        named(path) for feature in FEATURES for path in (HOUSE / "app" / feature).iterdir()
        if path.suffix == ".py" and path.stem not in VOCABULARY
    ]  # fmt: skip
    assert strange == []


def test_public_rules_explain_themselves() -> None:
    silent = [
        f"{named(path)}: {each.name}"
        for path in APP
        if path.stem == "rules"
        for each in functions(path)
        if not each.name.startswith("_") and each.col_offset == 0 and not ast.get_docstring(each)
    ]
    assert silent == []


def test_no_file_names_a_package_host_or_a_machine() -> None:
    suspicious = re.compile(r"pypi\.org|pythonhosted|registry\.npmjs|deb\.debian|/root/|/work/")
    ours = Path(__file__).resolve()
    texts = [
        path
        for pattern in (
            "**/*.py",
            "**/*.md",
            "**/*.txt",
            "**/*.toml",
            "**/*.y*ml",
            "**/*.conf",
            "Makefile",
            ".ci/run",
        )
        for path in HOUSE.glob(pattern)
        if not {".venv", "build", "data"} & set(path.relative_to(HOUSE).parts) and path != ours
    ]
    assert [named(path) for path in texts if suspicious.search(path.read_text(errors="replace"))] == []
