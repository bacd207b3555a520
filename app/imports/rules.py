"""Understands a table of text cells: each thing it names as typed values, and everything that is wrong with it."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import tzinfo
from itertools import pairwise
from typing import Any

from app.imports.cells import CONTROL_CHARACTERS, parse
from app.imports.facts import (
    MOST_FAULTS,
    SHOWN_CHARACTERS,
    Column,
    Fault,
    Kind,
    Layout,
    Reading,
    Record,
    Table,
)
from app.imports.reasons import WORDS, said

_ERROR_VALUES = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"})
_STAGES = ("notice", "warning", "limited")

Tell = Callable[[Fault], None]


class _Enough(Exception):
    """There are as many faults as anybody reads."""


class Found:
    """Faults as they are found, the first thousand of them."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def tell(self, fault: Fault) -> None:
        self.faults.append(fault)
        if len(self.faults) >= MOST_FAULTS:
            raise _Enough


def fault(code: str, *, line: int, column: Column | str = "", value: str = "", **facts: Any) -> Fault:
    """Word a fault: its value is cut to 40 characters, its column shown with both headings.

    A code of ``form`` on the column *capacity (kVA)* says "give a whole number from 1 to 10000000".
    """
    words = WORDS[code]
    heading = column
    if isinstance(column, Column):
        heading = column.heading
        facts = {"form_zh": column.form.says.zh, "form_en": column.form.says.en, **facts}
    return Fault(
        line=line,
        column=_shown(str(heading)),
        value=_shown(value),
        code=code,
        wrong=said(words.wrong, facts),
        right=said(words.right, facts),
    )


def understand(layout: Layout, table: Table, *, zone: tzinfo) -> Reading:
    """Read every line of a table as the layout has it.

    Headings are taken in Chinese, English or both, in any order; lines with the same number in the first column are
    one thing with several parts. Dates begin in ``zone``. Everything that is wrong is collected, up to 1 000 faults.
    """
    found = Found()
    records: list[Record] = []
    try:
        places = _places(layout, table.headings, tell=found.tell)
        if not found.faults:
            records = _records(layout, table, places, zone=zone, tell=found.tell)
    except _Enough:
        records = []
    return Reading(layout=layout, rows=len(table.lines), records=tuple(records), faults=tuple(found.faults))


def heading_key(heading: str) -> str:
    """Reduce a heading to what matters: ``"Capacity（kVA）"`` and ``"capacity (kva)"`` are the same."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", heading).casefold())


def seconds(values: dict[str, Any]) -> tuple[int, int]:
    """Return written and second notice periods in s: 72 h and 30 min are 259 200 s and 1 800 s."""
    return values["written_notice_h"] * 3600, values["second_notice_min"] * 60


def _places(layout: Layout, headings: tuple[str, ...], *, tell: Tell) -> dict[int, Column]:
    """Find which column stands where, and name what is missing, unknown or there twice."""
    known = {
        heading_key(heading): column
        for column in layout.columns
        for heading in (column.zh, column.en, column.heading)
    }
    places: dict[int, Column] = {}
    for place, heading in enumerate(headings):
        if not heading:
            continue
        column = known.get(heading_key(heading))
        if column is None:
            names = {"known_zh": "、".join(each.zh for each in layout.columns)}
            names["known_en"] = ", ".join(each.en for each in layout.columns)
            tell(fault("heading_unknown", line=1, column=heading, **names))
        elif column in places.values():
            tell(fault("heading_twice", line=1, column=column))
        else:
            places[place] = column
    for column in layout.columns:
        if column.required and column not in places.values():
            tell(fault("heading_missing", line=1, column=column))
    return places


class _Seen:
    """What the lines so far have said, to recognise what comes twice."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.cells: dict[str, dict[str, str]] = {}
        self.unique: dict[tuple[str, Any], int] = {}


def _records(layout: Layout, table: Table, places: dict[int, Column], *, zone: tzinfo, tell: Tell) -> list[Record]:
    seen = _Seen()
    for line, cells in table.lines:
        named = _named(line, cells, places, tell=tell)
        key = named[layout.key.name]
        first = seen.records.get(key) if key else None
        part = _Cells({column.name: named[column.name] for column in layout.columns if column.of_part})
        has_part = any(part.values())
        if first is None:
            record = Record(line=line, values=_head(layout, named, line=line, zone=zone, tell=tell))
            seen.records[key or f"\0{line}"] = record
            seen.cells[key or f"\0{line}"] = named
            _check_once(layout, record, named, seen=seen, tell=tell)
            _check_record(layout.kind, record, named, tell=tell, layout=layout)
        elif not has_part:
            tell(fault("twice", line=line, column=layout.key, value=key, first=first.line))
            continue
        else:
            record = first
            _check_same(layout, named, seen.cells[key], line=(line, first.line), tell=tell)
        if has_part or layout.kind is Kind.TERMINALS:
            _add_part(layout, record, part, line=line, zone=zone, tell=tell)
    return list(seen.records.values())


def _named(line: int, cells: tuple[str, ...], places: dict[int, Column], *, tell: Tell) -> dict[str, str]:
    named = _Cells()
    for place, cell in enumerate(cells):
        column = places.get(place)
        if column is not None:
            named[column.name] = cell
        elif cell:
            tell(fault("no_heading", line=line, value=cell))
    return named


class _Cells(dict[str, str]):
    """Cells of a line by column name; a column that is not in the file is blank."""

    def __missing__(self, name: str) -> str:
        return ""


def _head(layout: Layout, named: dict[str, str], *, line: int, zone: tzinfo, tell: Tell) -> dict[str, Any]:
    columns = [column for column in layout.columns if not column.of_part]
    return _values(columns, named, line=line, zone=zone, tell=tell)


def _values(
    columns: Iterable[Column], named: dict[str, str], *, line: int, zone: tzinfo, tell: Tell
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in columns:
        cell = named[column.name]
        if cell in _ERROR_VALUES:
            tell(fault("error_value", line=line, column=column, value=cell))
        elif not cell and column.required:
            tell(fault("blank", line=line, column=column))
        elif not cell:
            values[column.name] = column.default
        else:
            try:
                values[column.name] = parse(column.form, cell, zone=zone)
            except ValueError:
                tell(fault("form", line=line, column=column, value=cell))
    return values


def _check_once(layout: Layout, record: Record, named: dict[str, str], *, seen: _Seen, tell: Tell) -> None:
    for column in layout.columns:
        value = record.values.get(column.name)
        if column.unique and value is not None:
            first = seen.unique.setdefault((column.name, value), record.line)
            if first != record.line:
                told = fault("twice", line=record.line, column=column, value=named[column.name], first=first)
                tell(told)


def _check_same(
    layout: Layout, named: dict[str, str], first: dict[str, str], *, line: tuple[int, int], tell: Tell
) -> None:
    """Hold a further line about the same thing to what the first one said; blank cells say nothing."""
    for column in layout.columns:
        cell = named[column.name]
        if not column.of_part and cell and cell != first[column.name]:
            tell(fault("differs", line=line[0], column=column, value=cell, first=line[1]))


def _add_part(layout: Layout, record: Record, part: dict[str, str], *, line: int, zone: tzinfo, tell: Tell) -> None:
    columns = [column for column in layout.columns if column.of_part]
    values = _values(columns, part, line=line, zone=zone, tell=tell)
    if len(record.parts) >= layout.most_parts:
        tell(fault("too_many", line=line, column=layout.key, most=layout.most_parts))
    fitted = values.get("round")
    twice = [each for each in record.parts if fitted is not None and each.get("round") == fitted]
    if twice:
        tell(fault("twice", line=line, column=layout.column("round"), value=str(fitted), first=twice[0]["line"]))
    record.parts.append({**values, "line": line})


def _check_record(kind: Kind, record: Record, named: dict[str, str], *, tell: Tell, layout: Layout) -> None:
    if kind is not Kind.CONTRACTS:
        return
    _check_thresholds(record, named, tell=tell, layout=layout)
    values = record.values
    priced, moments = values.get("yuan_per_kwh"), (values.get("price_from"), values.get("price_until"))
    # A cell that could not be read has been told already.
    if priced is not None and not named["price_from"]:
        tell(fault("price_without_start", line=record.line, column=layout.column("price_from")))
    if any(moments) and not named["yuan_per_kwh"]:
        tell(fault("start_without_price", line=record.line, column=layout.column("yuan_per_kwh")))


def _check_thresholds(record: Record, named: dict[str, str], *, tell: Tell, layout: Layout) -> None:
    values = record.values
    for stage in _STAGES:
        energy, hours = layout.column(f"{stage}_wh"), layout.column(f"{stage}_hours")
        given = [bool(named[column.name]) for column in (energy, hours)]
        if all(given):
            tell(fault("threshold_both", line=record.line, column=energy, value=named[energy.name]))
        elif not any(given):
            tell(fault("threshold_none", line=record.line, column=energy))
    for unit, stages in (("wh", (*_STAGES, "trip")), ("hours", _STAGES)):
        levels = [(stage, values.get(f"{stage}_{unit}")) for stage in stages]
        given_levels = [(stage, level) for stage, level in levels if level is not None]
        for (_, before), (stage, level) in pairwise(given_levels):
            if level > before:
                column = layout.column(f"{stage}_{unit}")
                tell(fault("threshold_order", line=record.line, column=column, value=named[column.name]))


def _shown(value: str) -> str:
    clean = CONTROL_CHARACTERS.sub("�", value)
    return clean if len(clean) <= SHOWN_CHARACTERS else clean[: SHOWN_CHARACTERS - 1] + "…"
