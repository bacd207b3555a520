"""A table of text becomes typed records, or everything that is wrong with it is named."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from files import a_contract_line, a_customer_line, a_terminal_line, an_opening_line, rows_of
from hypothesis import given
from hypothesis import strategies as st

from app.customers.schemas import ContractToSign, CustomerToRegister
from app.imports.cells import parse
from app.imports.columns import LAYOUTS
from app.imports.facts import (
    MOST_FAULTS,
    Choice,
    Kind,
    Moment,
    Pattern,
    Price,
    Reading,
    Scaled,
    Table,
    Text,
    Whole,
    YesNo,
)
from app.imports.reasons import WORDS, Wording
from app.imports.rules import fault, heading_key, seconds, understand
from app.terminals.schemas import TerminalToRegister

SHANGHAI = ZoneInfo("Asia/Shanghai")


def read(kind: Kind, *lines: dict[str, str], language: str = "heading") -> Reading:
    headings, *rows = rows_of(kind, lines, language=language)
    numbered = tuple((number, tuple(row)) for number, row in enumerate(rows, start=2))
    return understand(LAYOUTS[kind], Table(headings=tuple(headings), lines=numbered), zone=SHANGHAI)


def told(reading: Reading) -> list[tuple[int, str, str]]:
    """Return line, column and code of each fault."""
    layout = reading.layout
    names = {column.heading[:40]: column.name for column in layout.columns}
    return [(one.line, names.get(one.column, one.column), one.code) for one in reading.faults]


@pytest.mark.parametrize(
    ("form", "cell", "value"),
    [
        (Scaled(3, 10**15), "62500.5", 62_500_500),
        (Scaled(3, 10**15), "0.001", 1),
        (Scaled(3, 10**15), "１２.５", 12_500),
        (Scaled(3, 10**15), "1.5000", 1500),
        (Scaled(2, 10**10), "50000.10", 5_000_010),
        (Whole(1, 8), "8.0", 8),
        (Price(), "0.81300001", Decimal("0.81300001")),
        (Choice({"metallurgy": "冶金"}), "冶金", "metallurgy"),
        (Choice({"metallurgy": "冶金"}), "Metallurgy", "metallurgy"),
        (YesNo(), "是", True),
        (YesNo(), "No", False),
        (Text(3), "=1+", "=1+"),
        (Pattern("[A-Z]+", 3, Wording("", "")), "ＡＢ", "AB"),
        (Moment(), "2026-03-01", datetime(2026, 2, 28, 16, tzinfo=UTC)),
        (Moment(), "2026-03-01T08:00:00+08:00", datetime(2026, 3, 1, tzinfo=UTC)),
        (Moment(), "2026-03-01T00:00:00Z", datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_cell_is_read_exactly(form: object, cell: str, value: object) -> None:
    assert parse(form, cell, zone=SHANGHAI) == value


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        (Scaled(3, 10**15), "1.0005"),
        (Scaled(3, 10**15), "1,000"),
        (Scaled(3, 10**15), "-1"),
        (Scaled(3, 10**15), "1e3"),
        (Scaled(3, 10**15), "NaN"),
        (Scaled(3, 1000), "1.001"),
        (Whole(1, 8), "9"),
        (Whole(1, 8), "1.5"),
        (Price(), "0"),
        (Price(), "0.813000001"),
        (Choice({"metallurgy": "冶金"}), "steel"),
        (YesNo(), "perhaps"),
        (Text(3), "four"),
        (Text(9), "a\x07b"),
        (Pattern("[A-Z]+", 3, Wording("", "")), "ABCD"),
        (Moment(), "2026-02-30"),
        (Moment(), "2026-03-01T08:00:00"),
        (Moment(), "1.3.2026"),
        (Moment(), "1826-03-01"),
    ],
)
def test_a_cell_of_another_form_is_refused(form: object, cell: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the fault says what is wrong, from the form
        parse(form, cell, zone=SHANGHAI)


@pytest.mark.parametrize("language", ["zh", "en", "heading"])
def test_headings_are_taken_in_both_languages(language: str) -> None:
    reading = read(Kind.CONTRACTS, a_contract_line(), language=language)
    assert reading.faults == ()
    assert reading.records[0].values["limit_w"] == 500_000


def test_the_form_of_a_heading_does_not_matter() -> None:
    assert heading_key("Capacity（kVA）") == heading_key("capacity_(kva) ")


@pytest.mark.parametrize("kind", Kind)
def test_the_example_of_each_template_can_be_imported(kind: Kind) -> None:
    example = {column.name: column.example for column in LAYOUTS[kind].columns}
    assert read(kind, example).faults == ()


@pytest.mark.parametrize("kind", Kind)
def test_headings_are_told_apart(kind: Kind) -> None:
    columns = LAYOUTS[kind].columns
    for language in ("zh", "en"):
        assert len({heading_key(getattr(column, language)) for column in columns}) == len(columns)


def test_what_is_wrong_with_headings_is_all_told() -> None:
    table = Table(headings=("contract no", "capacity (MW)", "合同编号"), lines=((2, ("HT-1", "1", "HT-1")),))
    reading = understand(LAYOUTS[Kind.OPENING_BALANCES], table, zone=SHANGHAI)
    assert [one.code for one in reading.faults] == [
        "heading_unknown", "heading_twice", "heading_missing", "heading_missing",
    ]  # fmt: skip
    assert reading.records == ()


def test_a_cell_without_heading_is_told_and_a_blank_one_is_not() -> None:
    headings, row = rows_of(Kind.OPENING_BALANCES, [an_opening_line()])
    table = Table(headings=(*headings, ""), lines=((2, (*row, "")), (3, (*row, "stray"))))
    reading = understand(LAYOUTS[Kind.OPENING_BALANCES], table, zone=SHANGHAI)
    assert [(one.line, one.code) for one in reading.faults] == [(3, "no_heading"), (3, "twice")]


def test_lines_with_one_number_are_one_customer_with_several_contacts() -> None:
    second = {"customer_no": "C00001", "name": "李娜", "duty": "经理", "phone": "13800000001", "language": "英文"}
    reading = read(Kind.CUSTOMERS, a_customer_line(), second)
    assert reading.faults == ()
    (customer,) = reading.records
    assert [(part["name"], part["language"]) for part in customer.parts] == [("王强", "zh"), ("李娜", "en")]


def test_columns_that_are_not_required_may_be_missing() -> None:
    headings, row = rows_of(Kind.OPENING_BALANCES, [an_opening_line()])
    table = Table(headings=tuple(headings[:3]), lines=((2, tuple(row[:3])),))
    reading = understand(LAYOUTS[Kind.OPENING_BALANCES], table, zone=SHANGHAI)
    assert reading.faults == ()
    assert reading.records[0].values["debt_fen"] == 0


def test_a_customer_needs_no_contact() -> None:
    reading = read(Kind.CUSTOMERS, a_customer_line(name="", duty="", phone=""))
    assert (reading.faults, reading.records[0].parts) == ((), [])


def test_lines_that_contradict_or_repeat_each_other_are_told() -> None:
    reading = read(
        Kind.CUSTOMERS,
        a_customer_line(),
        a_customer_line(name_zh="另一家"),
        {"customer_no": "C00001"},
        *[a_customer_line() for _ in range(19)],
    )
    assert told(reading) == [(3, "name_zh", "differs"), (4, "customer_no", "twice"), (23, "customer_no", "too_many")]
    assert "line 2" in reading.faults[0].wrong.en


def test_each_round_is_fitted_once_and_a_terminal_has_one() -> None:
    reading = read(
        Kind.TERMINALS,
        a_terminal_line(fitted=1),
        a_terminal_line(fitted=1),
        a_terminal_line(2, point_no="GD00001"),
        a_terminal_line(3, round="", feeds_zh="", feeds_en="", importance="", load_w=""),
    )
    assert told(reading) == [
        (3, "round", "twice"), (4, "point_no", "twice"), (5, "round", "blank"), (5, "feeds_zh", "blank"),
        (5, "feeds_en", "blank"), (5, "importance", "blank"), (5, "load_w", "blank"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"notice_wh": "5"}, [("notice_wh", "threshold_both")]),
        ({"notice_hours": ""}, [("notice_wh", "threshold_none")]),
        ({"warning_hours": "97"}, [("warning_hours", "threshold_order")]),
        ({"limited_hours": "", "limited_wh": "5", "trip_wh": "5.001"}, [("trip_wh", "threshold_order")]),
        ({"price_from": ""}, [("price_from", "price_without_start")]),
        ({"yuan_per_kwh": ""}, [("yuan_per_kwh", "start_without_price")]),
        ({"price_from": "soon"}, [("price_from", "form")]),
        ({"address": "#REF!"}, [("address", "error_value")]),
        ({"feeder": "", "voltage_v": "10 kV"}, [("feeder", "blank"), ("voltage_v", "form")]),
        ({"contract_no": ""}, [("contract_no", "blank")]),
    ],
)
def test_what_is_wrong_with_a_contract_is_told(changes: dict[str, str], faults: list[tuple[str, str]]) -> None:
    reading = read(Kind.CONTRACTS, a_contract_line(**changes))
    assert told(reading) == [(2, *one) for one in faults]


def test_a_fault_says_what_would_be_right_in_both_languages() -> None:
    column = LAYOUTS[Kind.CONTRACTS].column("capacity_kva")
    one = fault("form", line=7, column=column, value="x" * 50)
    assert one.right == Wording("应为整数 1 至 10000000", "give a whole number from 1 to 10000000")
    assert (one.column, len(one.value)) == ("合同容量（kVA） capacity (kVA)", 40)


def test_every_fault_has_words_in_both_languages() -> None:
    for words in WORDS.values():
        assert all((words.wrong.zh, words.wrong.en, words.right.zh, words.right.en))


def test_reading_ends_at_a_thousand_faults() -> None:
    reading = read(Kind.OPENING_BALANCES, *[an_opening_line(number, debt_fen="-1") for number in range(1200)])
    assert (len(reading.faults), reading.records) == (MOST_FAULTS, ())


def test_notice_periods_are_seconds() -> None:
    assert seconds({"written_notice_h": 72, "second_notice_min": 30}) == (259_200, 1800)


CELLS = st.text(max_size=12) | st.sampled_from(
    ["1", "0.5", "是", "C1", "2026-03-01", "13800000001", "a@b", "+", "=A1"]
)


@given(st.lists(CELLS, min_size=10, max_size=10))
def test_what_is_taken_of_a_customer_the_api_would_take(cells: list[str]) -> None:
    names = [column.name for column in LAYOUTS[Kind.CUSTOMERS].columns]
    line = a_customer_line(**{name: cell.strip() for name, cell in zip(names, cells, strict=True) if cell.strip()})
    reading = read(Kind.CUSTOMERS, line)
    if not reading.faults:
        (record,) = reading.records
        contacts = [{name: value for name, value in part.items() if name != "line"} for part in record.parts]
        assert CustomerToRegister.model_validate({**record.values, "contacts": contacts})


@given(st.dictionaries(st.sampled_from([column.name for column in LAYOUTS[Kind.CONTRACTS].columns]), CELLS))
def test_what_is_taken_of_a_contract_the_api_would_take(changes: dict[str, str]) -> None:
    reading = read(Kind.CONTRACTS, a_contract_line(**{name: cell.strip() for name, cell in changes.items()}))
    if not reading.faults:
        values = reading.records[0].values
        shared = (
            "contract_no",
            "customer_no",
            "capacity_kva",
            "limit_w",
            "control_mode",
            "important_user",
            "protected",
        )
        limits = {
            stage: {"energy_wh": values[f"{stage}_wh"], "supply_hours": values[f"{stage}_hours"]}
            for stage in ("notice", "warning", "limited")
        }
        point = {name: values[name] for name in ("point_no", "address", "feeder", "voltage_v")}
        names = {"name_zh": values["point_zh"], "name_en": values["point_en"]}
        written_s, second_s = seconds(values)
        assert ContractToSign.model_validate(
            {
                **{name: values[name] for name in shared}, **limits, "trip_wh": values["trip_wh"],
                "supply_point": point | names, "opening_supplied_wh": values["reading_wh"],
                "written_notice_s": written_s, "second_notice_s": second_s,
            }
        )  # fmt: skip


@given(st.dictionaries(st.sampled_from([column.name for column in LAYOUTS[Kind.TERMINALS].columns]), CELLS))
def test_what_is_taken_of_a_terminal_the_api_would_take(changes: dict[str, str]) -> None:
    reading = read(Kind.TERMINALS, a_terminal_line(**{name: cell.strip() for name, cell in changes.items()}))
    if not reading.faults:
        (record,) = reading.records
        values = {name: value for name, value in record.values.items() if name != "point_no"}
        rounds = [{name: value for name, value in part.items() if name != "line"} for part in record.parts]
        point = {"supply_point_id": "0195556b-0000-7000-8000-0000000000b1"}
        assert TerminalToRegister.model_validate({**values, **point, "rounds": rounds})
