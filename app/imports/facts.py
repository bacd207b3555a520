"""What a file is made of: kinds, columns with headings and units, forms of cells, lines, records, faults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.imports.reasons import Wording
from app.roles import Role

SHOWN_CHARACTERS = 40
MOST_FAULTS = 1000


class Kind(StrEnum):
    CUSTOMERS = "customers"
    CONTRACTS = "contracts"
    TERMINALS = "terminals"
    OPENING_BALANCES = "opening-balances"


#: Who may import what: those who may do the same one by one.
IMPORTERS: Mapping[Kind, tuple[Role, ...]] = {
    Kind.CUSTOMERS: (Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR),
    Kind.CONTRACTS: (Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR),
    Kind.TERMINALS: (Role.ADMINISTRATOR, Role.OPERATOR),
    Kind.OPENING_BALANCES: (Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR),
}
PRICE_SETTERS = frozenset({Role.TARIFF_KEEPER, Role.ADMINISTRATOR})


@dataclass(frozen=True)
class Text:
    """Words of people, without control characters."""

    most: int

    @property
    def says(self) -> Wording:
        return Wording(f"文字，最多 {self.most} 个字符", f"text of at most {self.most} characters")


@dataclass(frozen=True)
class Pattern:
    """What a pattern describes: numbers of things, telephone numbers, addresses."""

    pattern: str
    most: int
    says: Wording


@dataclass(frozen=True)
class Choice:
    """One of some words, by code or by its Chinese name."""

    words: Mapping[str, str]

    @property
    def says(self) -> Wording:
        return Wording("之一：" + "、".join(self.words.values()), "one of " + ", ".join(self.words))


@dataclass(frozen=True)
class Whole:
    least: int
    most: int

    @property
    def says(self) -> Wording:
        return Wording(f"整数 {self.least} 至 {self.most}", f"a whole number from {self.least} to {self.most}")


@dataclass(frozen=True)
class Scaled:
    """A decimal number kept as a whole one, so many places to the right: kWh with three decimals as Wh."""

    decimals: int
    most: int

    @property
    def says(self) -> Wording:
        most = self.most // 10**self.decimals
        return Wording(
            f"数字 0 至 {most}，最多 {self.decimals} 位小数，无千位分隔符",
            f"a number from 0 to {most} with at most {self.decimals} decimals, without thousands separators",
        )


@dataclass(frozen=True)
class Price:
    @property
    def says(self) -> Wording:
        return Wording("大于零的数字，最多 8 位小数", "a number above zero with at most 8 decimals")


@dataclass(frozen=True)
class Moment:
    @property
    def says(self) -> Wording:
        return Wording(
            "日期 2026-03-01（当日零点）或时刻 2026-03-01T08:00:00+08:00",
            "a date 2026-03-01 (its first moment) or a moment 2026-03-01T08:00:00+08:00",
        )


@dataclass(frozen=True)
class YesNo:
    @property
    def says(self) -> Wording:
        return Wording("是或否", "yes or no")


Form = Text | Pattern | Choice | Whole | Scaled | Price | Moment | YesNo


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its headings with units, what its cells hold, and what it means.

    ``default`` fills a blank cell where it is not ``required``; ``of_part`` marks columns of which one record may
    have several lines (contacts of a customer, rounds of a terminal).
    """

    name: str
    zh: str
    en: str
    form: Form
    example: str
    means: Wording
    required: bool = True
    default: Any = None
    of_part: bool = False
    unique: bool = False

    @property
    def heading(self) -> str:
        return f"{self.zh} {self.en}"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The columns of one kind of file; the first one names the record."""

    kind: Kind
    columns: tuple[Column, ...]
    most_parts: int = 0

    @property
    def key(self) -> Column:
        return self.columns[0]

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Table:
    """Cells as text; each line with the number that a person sees in the file."""

    headings: tuple[str, ...]
    lines: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one thing's lines say, as typed values by column name; a value that could not be read is absent."""

    line: int
    values: dict[str, Any]
    parts: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong: where, with which value, why, and what would be right."""

    line: int
    column: str
    value: str
    code: str
    wrong: Wording
    right: Wording


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A file as it was understood."""

    layout: Layout
    rows: int
    records: tuple[Record, ...]
    faults: tuple[Fault, ...]
