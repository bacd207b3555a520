"""Files in: bytes of a CSV or XLSX file become a table of text, or are refused with the reason; nothing is run."""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from typing import Any

import openpyxl
from openpyxl.utils import get_column_letter

from app.errors import Refused
from app.imports.facts import Table

MOST_BYTES = 20 * 1024 * 1024
MOST_ROWS = 50_000
MOST_CELLS = 2_000_000
#: Blank lines count as well: a sheet that says it ends at line 1 048 576 is not walked to its end.
MOST_LINES = 100_000
MOST_UNZIPPED_BYTES = 100 * 1024 * 1024
MOST_PARTS = 500

_ZIP = b"PK\x03\x04"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_FORMULA = re.compile(rb"<(\w+:)?f[\s/>]")
_QUOTED = re.compile(r'"[^"]*"')
_ENCRYPTED = 0x1
#: Beyond it a number of a sheet has lost digits, so it is left in a form that no column takes.
_EXACT_BELOW = 10**15
_TEMPLATE = "Make a template with `wattgate import-template` and fill it in."


class FileUnusable(Refused):
    """The file cannot be read at all, so there are no lines to speak of."""

    title = "The file cannot be read"

    def __init__(self, detail: str, *, remedy: str = _TEMPLATE) -> None:
        super().__init__(detail, remedy=remedy)


def read_table(content: bytes) -> Table:
    """Read a file of either kind, told apart by its first bytes.

    Raises:
        FileUnusable: it is neither, too large, damaged, or holds what is not taken.
    """
    if len(content) > MOST_BYTES:
        raise FileUnusable(
            f"The file has {len(content):,} bytes; {MOST_BYTES:,} are taken.", remedy="Divide it into several files."
        )
    if content.startswith(_OLD_OFFICE):
        raise FileUnusable(
            "The file is an old or encrypted workbook.", remedy="Save it as .xlsx without a password, or as CSV."
        )
    lines = _sheet_lines(content) if content.startswith(_ZIP) else _text_lines(content)
    return _table(lines)


def _table(lines: Iterable[tuple[int, list[str]]]) -> Table:
    headings: tuple[str, ...] | None = None
    kept: list[tuple[int, tuple[str, ...]]] = []
    cells = 0
    for number, line in lines:
        cells += len(line)
        stripped = tuple(cell.strip() for cell in line)
        if any(stripped) and headings is None:
            headings = stripped
        elif any(stripped):
            kept.append((number, stripped))
        if number > MOST_LINES or len(kept) > MOST_ROWS or cells > MOST_CELLS:
            raise FileUnusable(
                f"The file has more than {MOST_ROWS:,} rows, {MOST_CELLS:,} cells or {MOST_LINES:,} lines.",
                remedy="Divide it into several files, and delete empty lines at the end.",
            )
    if headings is None or not kept:
        raise FileUnusable("The file has no line below its headings.")
    return Table(headings=headings, lines=tuple(kept))


def _text_lines(content: bytes) -> Iterator[tuple[int, list[str]]]:
    decoded = _decoded(content)
    if "\x00" in decoded:
        raise FileUnusable("The file is not text.")
    first_line = _QUOTED.sub("", decoded.lstrip()).splitlines()[:1]
    delimiter = max(",;\t", key=lambda mark: sum(line.count(mark) for line in first_line))
    reader = csv.reader(io.StringIO(decoded, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for line in reader:
            yield begins, line
            begins = reader.line_num + 1
    except csv.Error as error:
        raise FileUnusable(
            f"Line {begins} cannot be divided into cells: {error}.",
            remedy='Put a cell that holds quotes or line ends into double quotes, and double the quotes inside: "".',
        ) from error


def _decoded(content: bytes) -> str:
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise FileUnusable("The file is neither UTF-8 nor GB18030 text.", remedy="Save it as CSV UTF-8, or as .xlsx.")


def _sheet_lines(content: bytes) -> Iterator[tuple[int, list[str]]]:
    try:
        has_formulas = _look_into(content)
        # Two looks at once where there are formulas: what they gave, and where they stand.
        values = _rows(content, values=True)
        formulas = _rows(content, values=False) if has_formulas else None
        for number, row in enumerate(values, start=1):
            if formulas is not None:
                _refuse_uncalculated(row, next(formulas, ()), line=number)
            yield number, [_as_text(cell.value) for cell in row]
    except FileUnusable:
        raise
    except Exception as error:  # a parser that meets any bytes fails in any way
        raise FileUnusable(
            f"The workbook is damaged: {type(error).__name__}.", remedy="Open it, save it again as .xlsx, or as CSV."
        ) from error


def _look_into(content: bytes) -> bool:
    """Look through the parts of a workbook before anything is unpacked; returns whether it has formulas."""
    has_formulas = False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > MOST_UNZIPPED_BYTES:
            raise FileUnusable(
                f"The workbook unpacks to more than {MOST_UNZIPPED_BYTES:,} bytes or {MOST_PARTS} parts.",
                remedy="Keep one sheet, divide it, or save it as CSV.",
            )
        for part in parts:
            name = part.filename.lower()
            if part.flag_bits & _ENCRYPTED:
                raise FileUnusable("The workbook is encrypted.", remedy="Save it without a password.")
            if "vbaproject" in name or "macrosheets" in name:
                raise FileUnusable("The workbook holds macros.", remedy="Save it as .xlsx, which has none.")
            if "externallink" in name:
                raise FileUnusable(
                    "The workbook takes values from other files.", remedy="Replace the links by their values."
                )
            if name.endswith((".xml", ".rels")):
                unpacked = archive.read(part)
                if b"<!DOCTYPE" in unpacked or b"<!ENTITY" in unpacked:
                    raise FileUnusable("The workbook declares entities.", remedy="Save it again as .xlsx.")
                has_formulas |= "worksheets/" in name and _FORMULA.search(unpacked) is not None
    return has_formulas


def _rows(content: bytes, *, values: bool) -> Iterator[tuple[Any, ...]]:
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=values, keep_links=False)
    sheet = next((sheet for sheet in book.worksheets if sheet.sheet_state == "visible"), None)
    if sheet is None:
        raise FileUnusable("The workbook has no sheet that can be seen.")
    # What the sheet says of its own size is not believed.
    sheet.reset_dimensions()
    yield from sheet.iter_rows()


def _refuse_uncalculated(row: tuple[Any, ...], formulas: tuple[Any, ...], *, line: int) -> None:
    for place, (cell, formula) in enumerate(zip(row, formulas, strict=False), start=1):
        if formula.data_type == "f" and cell.value is None:
            raise FileUnusable(
                f"Cell {get_column_letter(place)}{line} holds a formula without its result.",
                remedy="Open the workbook in a spreadsheet program and save it, or replace formulas by values.",
            )


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime() if value.time() == time.min:
            return value.date().isoformat()
        case datetime():
            return value.isoformat()
        case float() if abs(value) < _EXACT_BELOW:
            # A sheet's numbers are binary; fifteen digits are what it shows and what was typed.
            return _without_exponent(f"{value:.15g}")
        case _:
            return str(value)


def _without_exponent(number: str) -> str:
    """Write ``"1e-05"`` as ``"0.00001"``; digits only, no arithmetic."""
    mantissa, _, exponent = number.partition("e")
    if not exponent:
        return number
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("-").replace(".", "")
    return f"{sign}0.{'0' * (-int(exponent) - 1)}{digits}"
