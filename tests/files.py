"""Files as people send them: lines of each kind, written as CSV or XLSX."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from openpyxl import Workbook

from app.imports.columns import LAYOUTS
from app.imports.facts import Kind

Cells = dict[str, Any]


def a_customer_line(number: int = 1, **changes: Any) -> Cells:
    cells = {
        "customer_no": f"C{number:05d}", "office_code": "PD", "name_zh": "华星铸造厂", "name_en": "Huaxing Foundry",
        "industry": "冶金", "name": "王强", "duty": "电气主管", "phone": "021-55500001",
    }  # fmt: skip
    return {**cells, **changes}


def a_contract_line(number: int = 1, **changes: Any) -> Cells:
    cells = {
        "contract_no": f"HT-{number:05d}", "customer_no": f"C{number:05d}", "point_no": f"GD{number:05d}",
        "point_zh": "华星专变", "point_en": "Huaxing substation", "address": "浦东新区钢铁路 1 号", "feeder": "浦13",
        "voltage_v": "10000", "capacity_kva": "1000", "limit_w": "500", "control_mode": "远方",
        "notice_hours": "96", "warning_hours": "48", "limited_hours": "24", "yuan_per_kwh": "0.8",
        "price_from": "2026-03-01", "reading_wh": "1000",
    }  # fmt: skip
    return {**cells, **changes}


def a_terminal_line(number: int = 1, *, fitted: int = 1, **changes: Any) -> Cells:
    cells = {
        "terminal_id": f"SH-PD-{number:05d}", "point_no": f"GD{number:05d}", "meter_no": f"DB{number:08d}",
        "safe_load_w": "50", "round": str(fitted), "feeds_zh": "空调", "feeds_en": "air conditioning",
        "importance": str(fitted), "load_w": "120.5",
    }  # fmt: skip
    return {**cells, **changes}


def an_opening_line(number: int = 1, **changes: Any) -> Cells:
    cells = {
        "contract_no": f"HT-{number:05d}", "reading_wh": "1200.000", "remaining_wh": "5000",
        "energy_paid_fen": "4000.00", "debt_fen": "1200.00", "kept_fen": "12.34",
    }  # fmt: skip
    return {**cells, **changes}


def rows_of(kind: Kind, lines: Iterable[Cells], *, language: str = "heading") -> list[list[Any]]:
    columns = LAYOUTS[kind].columns
    return [
        [getattr(column, language) for column in columns],
        *([line.get(column.name, "") for column in columns] for line in lines),
    ]


def as_csv(rows: Sequence[Sequence[Any]], *, encoding: str = "utf-8", delimiter: str = ",") -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows(rows)
    return written.getvalue().encode(encoding)


def as_xlsx(rows: Sequence[Sequence[Any]]) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def a_file(kind: Kind, *lines: Cells) -> bytes:
    return as_csv(rows_of(kind, lines))
