"""What stands on a paper, before anybody says of what size it is."""

from dataclasses import dataclass, field
from enum import StrEnum


class Format(StrEnum):
    """A sheet of A5, or a roll 80 mm wide that is cut where the text ends."""

    A5 = "a5"
    ROLL80 = "roll80"


class Media(StrEnum):
    """A page for a browser, or PDF for a printer."""

    HTML = "html"
    PDF = "pdf"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that is said: its name in both languages, and its value, with a second line where one is needed."""

    zh: str
    en: str
    value: str
    second: str = ""
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures side by side; the first column is text, the others are numbers."""

    head: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Both:
    """The same words in Chinese and English."""

    zh: str
    en: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """The sum that the paper is about, in figures and in words."""

    label: Both
    figures: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A whole paper; ``mark`` says that it is a copy or no receipt at all, ``warning`` what nobody may overlook."""

    title: Both
    number: str
    issuer: Both
    amount: Amount | None = None
    mark: Both | None = None
    warning: Both | None = None
    sections: tuple[tuple[Row, ...], ...] = ()
    tables: tuple[Table, ...] = ()
    signatures: tuple[Both, ...] = ()
    foot: tuple[Both, ...] = field(default=())
