"""Files out: templates, the tables of the documentation, and the credentials of new terminals, shown once."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from app.errors import Refused
from app.imports.facts import Column, Layout
from app.terminals.schemas import TerminalRegistered

_WIDTH = 24
_MOST_COLUMNS = 40
_EXPLANATION = ("列 column", "应填 what is taken", "必填 required", "示例 example", "含义 meaning")


class FormUnknown(Refused):
    title = "There is no such kind of file"

    def __init__(self, *, suffix: str, known: Sequence[str]) -> None:
        super().__init__(
            f"{suffix or 'A name without an ending'} is not a kind of file that is written here.",
            remedy=f"Let the name end in {' or '.join(known)}.",
        )


def template(layout: Layout, *, suffix: str) -> bytes:
    """Return a template with one example line; an XLSX one has a sheet that explains each column.

    Raises:
        FormUnknown: the ending is none of .csv, .xlsx and .md (the table of the documentation).
    """
    rows = [[column.heading for column in layout.columns], [column.example for column in layout.columns]]
    match suffix:
        case ".csv":
            text = io.StringIO(newline="")
            csv.writer(text).writerows(rows)
            return text.getvalue().encode("utf-8-sig")
        case ".xlsx":
            explained = [_EXPLANATION, *(_explained(column) for column in layout.columns)]
            return _workbook({layout.kind.value: rows, "说明 explanation": explained})
        case ".md":
            return markdown(layout).encode()
    raise FormUnknown(suffix=suffix, known=(".csv", ".xlsx", ".md"))


def markdown(layout: Layout) -> str:
    """Return the table of columns as docs/import.md has it."""
    rows = [_EXPLANATION, ("---",) * len(_EXPLANATION), *(_explained(column) for column in layout.columns)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def credentials(registered: Sequence[TerminalRegistered], *, path: Path) -> None:
    """Write what terminals are given into a new file that only its owner may read.

    JSON for programs, XLSX for people. CSV is not written: a credential may begin with ``-``, which a spreadsheet
    program would take for a formula.

    Raises:
        FormUnknown: the ending is neither .json nor .xlsx.
        OSError: the file exists or cannot be written.
    """
    shown = [one.model_dump() for one in registered]
    match path.suffix:
        case ".json":
            content = (json.dumps(shown, ensure_ascii=False, indent=2) + "\n").encode()
        case ".xlsx":
            names = list(TerminalRegistered.model_fields)
            rows = [names, *([_flat(one[name]) for name in names] for one in shown)]
            content = _workbook({"credentials": rows})
        case _:
            raise FormUnknown(suffix=path.suffix, known=(".json", ".xlsx"))
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)


def _explained(column: Column) -> tuple[str, ...]:
    says = column.form.says
    required = "是 yes" if column.required else "否 no"
    return (
        column.heading,
        f"{says.zh}；{says.en}",
        required,
        column.example,
        f"{column.means.zh}；{column.means.en}",
    )


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}\n{one}" for name, one in value.items())
    return "\n".join(value) if isinstance(value, list) else "none" if value is None else str(value)


def _workbook(sheets: dict[str, Iterable[Sequence[str]]]) -> bytes:
    book = Workbook(write_only=True)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for place in range(1, _MOST_COLUMNS + 1):
            sheet.column_dimensions[get_column_letter(place)].width = _WIDTH
        for number, row in enumerate(rows):
            sheet.append([_text_cell(sheet, text, bold=number == 0) for text in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _text_cell(sheet: Any, text: str, *, bold: bool) -> WriteOnlyCell:
    """Make a cell that is text whatever it begins with: ``=``, ``+``, ``-`` and ``@`` start no formula."""
    cell = WriteOnlyCell(sheet, value=text)
    cell.data_type = "s"
    cell.number_format = "@"
    cell.font = Font(bold=bold)
    return cell
