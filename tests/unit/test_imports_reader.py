"""Any bytes are read as a table or refused with a reason; never a crash."""

import io
import warnings
import zipfile
from datetime import datetime

import pytest
from files import a_contract_line, as_csv, as_xlsx, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from app.imports import reader, writer
from app.imports.columns import LAYOUTS
from app.imports.facts import Kind
from app.imports.reader import FileUnusable, read_table
from app.terminals.rules import Pinned
from app.terminals.schemas import TerminalRegistered

ROWS = rows_of(Kind.CONTRACTS, [a_contract_line(), a_contract_line(2)])
MIDNIGHT = datetime(2026, 3, 1)  # noqa: DTZ001 - a sheet's moments have no zone
SMALL = as_xlsx([["a", "b"], ["1", "2"]])


def changed(
    workbook: bytes, *, add: dict[str, bytes] | None = None, replace: tuple[bytes, bytes] | None = None
) -> bytes:
    """Return the workbook with more parts, or with text replaced in its sheets."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as old, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            content = old.read(part)
            if replace and "worksheets/" in part.filename:
                content = content.replace(*replace)
            new.writestr(part.filename, content)
        for name, content in (add or {}).items():
            new.writestr(name, content)
    return written.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        as_csv(ROWS),
        as_csv(ROWS, encoding="utf-8-sig"),
        as_csv(ROWS, encoding="gb18030"),
        as_csv(ROWS, encoding="utf-16"),
        as_csv(ROWS, delimiter=";"),
        as_csv(ROWS, delimiter="\t"),
        as_xlsx(ROWS),
    ],
    ids=["utf-8", "utf-8 with mark", "gb18030", "utf-16", "semicolon", "tab", "xlsx"],
)
def test_all_ways_to_write_a_table_are_read_alike(content: bytes) -> None:
    assert read_table(content) == read_table(as_csv(ROWS))


def test_lines_have_the_numbers_that_people_see() -> None:
    table = read_table(b'a,b\n\n"1\n2",3\n4,5\n')
    assert table.lines == ((3, ("1\n2", "3")), (5, ("4", "5")))
    book = as_xlsx([["a", "b"], [None, None], ["1", "2"]])
    assert read_table(book).lines == ((3, ("1", "2")),)


def test_numbers_and_dates_of_a_sheet_are_what_it_shows() -> None:
    row = [10000, 0.1 + 0.2, 0.813, 0.00001, 1e20, True, MIDNIGHT, MIDNIGHT.replace(hour=8), "0010"]
    table = read_table(as_xlsx([list("abcdefghi"), row]))
    assert table.lines[0][1] == (
        "10000", "0.3", "0.813", "0.00001", "1e+20", "yes", "2026-03-01", "2026-03-01T08:00:00", "0010",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no line below"),
        (b"a,b\n", "no line below"),
        (b"\x00\x01", "not text"),
        (b"a\n\xff\xff\n", "neither UTF-8 nor GB18030"),
        (b'a,b\n"1"2,3\n', "Line 2"),
        (b"\xd0\xcf\x11\xe0" + b"0" * 100, "encrypted"),
        (SMALL[:300], "damaged"),
        (changed(SMALL, add={"xl/vbaProject.bin": b"1"}), "macros"),
        (changed(SMALL, add={"xl/externalLinks/externalLink1.xml": b"<a/>"}), "other files"),
        (changed(SMALL, add={"xl/a.xml": b"<!DOCTYPE a>"}), "entities"),
        (changed(SMALL, add={"xl/big.bin": b"0" * (reader.MOST_UNZIPPED_BYTES + 1)}), "unpacks"),
        (changed(SMALL, replace=(b'r="2"', b'r="999999999"')), "more than"),
        (as_xlsx([["a", "b"], ["1", "=A1+1"]]), "B2 holds a formula"),
        (b"a\n" + b"1\n" * (reader.MOST_ROWS + 1), "more than"),
        (b"0" * (reader.MOST_BYTES + 1), "bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_reason(content: bytes, says: str) -> None:
    with pytest.raises(FileUnusable) as refused:
        read_table(content)
    assert says in refused.value.detail
    assert refused.value.remedy


def test_a_formula_counts_with_its_result() -> None:
    calculated = changed(as_xlsx([["a", "b"], ["1", "=A1+1"]]), replace=(b"<v />", b"<v>2</v>"))
    assert read_table(calculated).lines == ((2, ("1", "2")),)


def test_only_a_sheet_that_can_be_seen_is_read() -> None:
    book = Workbook()
    book.active.append(["hidden"])
    book.active.sheet_state = "hidden"
    book.create_sheet("seen").append(["a"])
    book.worksheets[1].append(["1"])
    written = io.BytesIO()
    book.save(written)
    assert read_table(written.getvalue()).headings == ("a",)


def answer_to(content: bytes) -> object:
    """Return lines, or what the refusal says; anything else that is raised fails the test."""
    try:
        return read_table(content).lines
    except FileUnusable as refused:
        return refused.detail


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b"PK\x03\x04" + tail))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    assert answer_to(content)


@settings(max_examples=60)
@given(st.integers(0, len(SMALL) - 1), st.binary(min_size=1, max_size=8))
def test_a_workbook_with_any_bytes_changed_is_read_or_refused(place: int, other: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert answer_to(SMALL[:place] + other + SMALL[place + len(other) :])


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
@pytest.mark.parametrize("kind", Kind)
def test_a_template_is_what_the_reader_takes(kind: Kind, suffix: str) -> None:
    layout = LAYOUTS[kind]
    table = read_table(writer.template(layout, suffix=suffix))
    assert table.headings == tuple(column.heading for column in layout.columns)
    assert table.lines == ((2, tuple(column.example for column in layout.columns)),)


def test_a_template_of_another_kind_is_refused() -> None:
    with pytest.raises(writer.FormUnknown):
        writer.template(LAYOUTS[Kind.CUSTOMERS], suffix=".ods")


def test_credentials_that_look_like_formulas_stay_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("kept") / "secrets.xlsx"
    pinned = Pinned(key_id="@1", keys={"@1": "-----BEGIN"}, serial=0, anchor_pem=None)
    one = TerminalRegistered.of("SH-PD-0001", credential="=1+1", pinned=pinned)
    writer.credentials([one], path=path)
    book = load_workbook(path)
    (row,) = book.active.iter_rows(min_row=2)
    assert [cell.data_type for cell in row] == ["s"] * len(row)
    assert row[2].value == "=1+1"
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        writer.credentials([one], path=path)
