"""The cases: one YAML file each, read with errors that name file, line and step, and say what would be right."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from app.conformance.steps import ServiceCase, TerminalCase

CASES = Path(__file__).parent / "cases"

_Case = TypeVar("_Case", TerminalCase, ServiceCase)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 where it matters here: `on` and `off` are words of the contract, not true and false."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


class CaseFault(ValueError):
    """A case that cannot be played; the text names file, line and step."""


def terminal_cases(folder: Path = CASES / "terminal") -> list[TerminalCase]:
    return _all(folder, kind=TerminalCase)


def service_cases(folder: Path = CASES / "service") -> list[ServiceCase]:
    return _all(folder, kind=ServiceCase)


def chosen_terminal(names: Iterable[str] = ()) -> list[TerminalCase]:
    """Return the cases of these names or files, or all when none is named."""
    return _chosen(names, all_cases=terminal_cases(), kind=TerminalCase)


def chosen_service(names: Iterable[str] = ()) -> list[ServiceCase]:
    """Return the cases of these names or files, or all when none is named."""
    return _chosen(names, all_cases=service_cases(), kind=ServiceCase)


def as_markdown(cases: Sequence[TerminalCase] | Sequence[ServiceCase], *, subject: str) -> str:
    """Return the table of the documentation."""
    rows = [f"| `{case.name}` | {case.proves} | {case.section} |" for case in cases]
    return "\n".join([f"| case for a {subject} | proves | section |", "|---|---|---|", *rows])


def _chosen(names: Iterable[str], *, all_cases: list[_Case], kind: type[_Case]) -> list[_Case]:
    known = {case.name: case for case in all_cases}
    found = []
    for name in names:
        if name.endswith((".yaml", ".yml")):
            found.append(read(Path(name), kind=kind))
        elif name in known:
            found.append(known[name])
        else:
            raise CaseFault(f"There is no case {name!r}. Name a YAML file, or one of: {', '.join(known)}.")
    return found or all_cases


def read(path: Path, *, kind: type[_Case]) -> _Case:
    """Read one case.

    Raises:
        CaseFault: with every place that is wrong, one a line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CaseFault(f"{path}: {error.strerror}") from error
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
        case = kind.model_validate(content)
    except yaml.YAMLError as error:
        raise CaseFault(f"{path.name}: no YAML: {error}") from error
    except ValidationError as error:
        root = yaml.compose(text, Loader=_Loader)
        lines = [
            f"{path.name}, line {_line(root, found['loc'])}{_place(found['loc'])}: {found['msg']}"
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise CaseFault("\n".join(lines).replace(": Value error, ", ": ")) from error
    if case.name != path.stem:
        raise CaseFault(f"{path.name}, line 1: the case is named {case.name!r}; a case is named like its file")
    return case


def _all(folder: Path, *, kind: type[_Case]) -> list[_Case]:
    return [read(path, kind=kind) for path in sorted(folder.glob("*.yaml"))]


def _place(loc: tuple[int | str, ...]) -> str:
    match loc:
        case ("steps", int(number), *rest):
            return f", step {number + 1}" + "".join(f" {part}" for part in rest)
        case _:
            return "".join(f" {part}" for part in loc)


def _line(node: Any, loc: tuple[int | str, ...]) -> int:
    """Return the line of the innermost part of a place that stands in the file."""
    line = node.start_mark.line if node is not None else 0
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
            continue
        else:
            break
        line = node.start_mark.line
    return int(line) + 1
