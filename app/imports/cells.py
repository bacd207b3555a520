"""Reads single cells: text of a form becomes a typed value, exactly, or is refused."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any

from app.imports.facts import Choice, Form, Moment, Pattern, Price, Scaled, Text, Whole, YesNo

#: Lone surrogates as well: they are in no text, and no database takes them.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DECIMAL = re.compile(r"[0-9]{1,16}(\.[0-9]{1,10})?")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEARS = range(2000, 2200)
_PRICE_DECIMALS = 8
_LARGEST_PRICE = 1_000_000
_YES_OR_NO = {
    **dict.fromkeys(("是", "yes", "true", "1", "y"), True),
    **dict.fromkeys(("否", "no", "false", "0", "n"), False),
}


def parse(form: Form, cell: str, *, zone: tzinfo) -> Any:
    """Read one cell: ``"62500.5"`` kWh → 62 500 500 Wh, ``"50000.10"`` yuan → 5 000 010 fen, ``"冶金"`` → metallurgy.

    Raises:
        ValueError: it does not have the form.
    """
    match form:
        case Text():
            if len(cell) > form.most or CONTROL_CHARACTERS.search(cell):
                raise ValueError
            return cell
        case Pattern():
            return _patterned(form, _plain(cell))
        case Choice():
            return _chosen(form, cell)
        case Whole() | Scaled() | Price():
            return _number_of(form, cell)
        case Moment():
            return _moment(_plain(cell), zone=zone)
        case YesNo():
            return _YES_OR_NO[_known(_plain(cell).casefold(), _YES_OR_NO)]


def _number_of(form: Whole | Scaled | Price, cell: str) -> int | Decimal:
    match form:
        case Whole():
            return _within(int(_decimal(cell, decimals=0)), form.least, form.most)
        case Scaled():
            return _within(int(_decimal(cell, decimals=form.decimals).scaleb(form.decimals)), 0, form.most)
        case Price():
            price = _decimal(cell, decimals=_PRICE_DECIMALS)
            if not 0 < price < _LARGEST_PRICE:
                raise ValueError
            return price


def _within(number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError
    return number


def _plain(cell: str) -> str:
    """Take full-width letters and digits as the plain ones that are meant."""
    return unicodedata.normalize("NFKC", cell).strip()


def _patterned(form: Pattern, cell: str) -> str:
    if len(cell) > form.most or not re.fullmatch(form.pattern, cell) or CONTROL_CHARACTERS.search(cell):
        raise ValueError
    return cell


def _chosen(form: Choice, cell: str) -> str:
    codes = {**{code.casefold(): code for code in form.words}, **{zh: code for code, zh in form.words.items()}}
    return codes[_known(_plain(cell).casefold(), codes)]


def _known(word: str, words: Iterable[str]) -> str:
    if word not in words:
        raise ValueError
    return word


def _decimal(cell: str, *, decimals: int) -> Decimal:
    """Read digits and a point, exactly; zeros beyond the last place that counts say nothing and are taken."""
    plain = _plain(cell)
    if not _DECIMAL.fullmatch(plain):
        raise ValueError
    number = Decimal(plain)
    shifted = number.scaleb(decimals)
    if shifted != shifted.to_integral_value():
        raise ValueError
    return number


def _moment(cell: str, *, zone: tzinfo) -> datetime:
    if _DATE.fullmatch(cell):
        moment = datetime.combine(date.fromisoformat(cell), time.min, tzinfo=zone)
    elif _RFC_3339.fullmatch(cell):
        moment = datetime.fromisoformat(cell.upper())
    else:
        raise ValueError
    if moment.year not in _YEARS:
        raise ValueError
    return moment
