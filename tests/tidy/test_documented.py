"""What people can set, type, ask for and read must stand in the documents, and what stands there must exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from prometheus_client import REGISTRY
from pydantic.fields import FieldInfo

import app.operations.watching
import app.worker  # noqa: F401 - metrics register when their module is imported
from app.cli import command_line
from app.imports.columns import LAYOUTS
from app.imports.facts import Kind
from app.imports.writer import markdown
from app.load_control.reasons import CODES
from app.main import API, ROUTERS
from app.orders.rules import Action
from app.roles import Role
from app.settings import Settings
from app.verification import INVARIANTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADMINISTRATOR = (DOCS / "administrator.md").read_text(encoding="utf-8")
#: What people have written; the table of rights is made from the routes and would name each of them by itself.
GUIDES = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md")) if path.name != "rights.md")
READ_BY_PEOPLE = [
    *sorted(DOCS.glob("*.md")),
    *sorted(ROOT.glob("*.md")),
    ROOT / "docker-compose.yml",
    *sorted(path for path in (ROOT / "deploy").iterdir() if path.is_file()),
]


def row_of(name: str, field: FieldInfo) -> str:
    """Return the line of the settings table, as the class has it."""
    default = "**required**" if field.is_required() else f"`{field.default}`"
    if default == "`None`":
        default = "none"
    return f"| `WATTGATE_{name.upper()}` | {default} | {field.description} |"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_stands_in_the_administrators_table(name: str) -> None:
    assert row_of(name, Settings.model_fields[name]) in ADMINISTRATOR.splitlines()


@pytest.mark.parametrize("path", READ_BY_PEOPLE, ids=lambda path: path.name)
def test_no_document_names_a_setting_that_does_not_exist(path: Path) -> None:
    named = set(re.findall(r"WATTGATE_([A-Z][A-Z_]*[A-Z])", path.read_text(encoding="utf-8")))

    assert {name.lower() for name in named} <= set(Settings.model_fields)


def every_command(group: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, f"{within}{name} ")
        else:
            yield f"{within}{name}", command


def test_each_command_and_option_is_documented() -> None:
    commands = dict(every_command(typer.main.get_command(command_line)))

    assert commands
    for name, command in commands.items():
        rows = [line for line in ADMINISTRATOR.splitlines() if line.startswith(f"| `wattgate {name}")]
        assert rows, f"wattgate {name} is not in the administrator's table of commands"
        for parameter in command.params:
            is_option = parameter.param_type_name == "option"
            shown = max(parameter.opts, key=len) if is_option else parameter.name.upper()
            assert any(f"`{shown}`" in row for row in rows), f"wattgate {name} {shown}"


def test_each_metric_is_documented() -> None:
    metrics = {family.name for family in REGISTRY.collect() if family.name.startswith("wattgate_")}

    assert metrics
    for name in metrics:
        assert name in ADMINISTRATOR, name


@pytest.mark.parametrize("role", Role)
def test_each_role_is_documented(role: Role) -> None:
    assert f"| `{role}` |" in ADMINISTRATOR


def test_each_route_is_in_a_guide() -> None:
    routes = {
        f"{method} {API}{route.path}"
        for router in ROUTERS
        for route in router.routes
        for method in getattr(route, "methods", ())
    }

    assert routes
    missing = {route for route in routes if f"`{route}`" not in GUIDES}
    assert not missing


def test_no_guide_names_a_route_that_does_not_exist() -> None:
    known = {f"{API}{route.path}" for router in ROUTERS for route in router.routes if hasattr(route, "path")}
    named = set(re.findall(r"`(?:GET|POST|PUT|PATCH|DELETE) (/api/v1[^`? ]*)", GUIDES))

    assert named <= known


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_reason_is_in_the_operators_guide(code: str) -> None:
    assert f"| `{code}` |" in (DOCS / "operator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("action", Action)
def test_each_action_is_in_the_operators_guide(action: Action) -> None:
    assert f"`{action}`" in (DOCS / "operator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", Kind)
def test_the_columns_of_each_import_are_in_its_guide(kind: Kind) -> None:
    assert markdown(LAYOUTS[kind]) in (DOCS / "import.md").read_text(encoding="utf-8")


def test_each_family_of_invariants_is_in_the_administrators_guide() -> None:
    section = ADMINISTRATOR[ADMINISTRATOR.index("### Invariants, watched") : ADMINISTRATOR.index("## Backup")]
    families: dict[str, set[int]] = {}
    for first, last in re.findall(r"\b([A-Z]\d+)(?: to ([A-Z]\d+))?\b(?=[^|]*\|)", section):
        numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
        families.setdefault(first[0], set()).update(numbers)

    named = {invariant.name.split()[0] for invariant in INVARIANTS}
    assert named == {f"{letter}{number}" for letter, numbers in families.items() for number in numbers}
