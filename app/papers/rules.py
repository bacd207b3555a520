"""How amounts are written on papers: in figures, in Chinese capital numerals, and as time that energy lasts."""

from decimal import Decimal

from app.quantities import FEN_PER_YUAN, fen_to_yuan

_CAPITALS = "零壹贰叁肆伍陆柒捌玖"
_PLACES = ("仟", "佰", "拾", "")
_GROUPS = ("亿", "万", "")
_GROUP = 10_000
_FEN_PER_JIAO = 10
_HOURS_PER_DAY = 24

#: Below a trillion yuan every amount has one common way of being written.
LARGEST_IN_CAPITALS_FEN = _GROUP**3 * FEN_PER_YUAN - 1


def in_capitals(amount_fen: int) -> str:
    """Write an amount as Chinese papers of money ask for it, in numerals that nobody can alter (大写金额).

    50 000.00 yuan → 人民币伍万元整; 1 409.50 → 人民币壹仟肆佰零玖元伍角; 325.04 → 人民币叁佰贰拾伍元零肆分. As the
    People's Bank's rules for filling in notes say: one 零 for zeros between digits, 整 where the amount ends at yuan.

    Raises:
        ValueError: the amount is below zero, or a trillion yuan or more.
    """
    if not 0 <= amount_fen <= LARGEST_IN_CAPITALS_FEN:
        raise ValueError(f"{amount_fen} fen cannot be written in capital numerals")
    whole_yuan, rest_fen = divmod(amount_fen, FEN_PER_YUAN)
    yuan = f"{_whole(whole_yuan)}元" if whole_yuan or not rest_fen else ""
    if not rest_fen:
        return f"人民币{yuan}整"
    jiao, fen = divmod(rest_fen, _FEN_PER_JIAO)
    tenths = f"{_CAPITALS[jiao]}角" if jiao else ("零" if yuan else "")
    return f"人民币{yuan}{tenths}" + (f"{_CAPITALS[fen]}分" if fen else "")


def in_yuan(amount_fen: int) -> str:
    """Write fen as yuan with separators: 5 000 010 → ``50,000.10``, −120 → ``−1.20``."""
    sign = "−" if amount_fen < 0 else ""
    return f"{sign}{fen_to_yuan(abs(amount_fen)):,.2f}"


def in_kwh(energy_wh: int) -> str:
    """Write Wh as kWh with separators: 60 024 600 → ``60,024.600 kWh``, −1 500 → ``−1.500 kWh``."""
    sign = "−" if energy_wh < 0 else ""
    return f"{sign}{Decimal(abs(energy_wh)).scaleb(-3):,.3f} kWh"


def lasts(hours: int) -> tuple[str, str]:
    """Say for how long energy lasts, Chinese and English: 125 h → ``约 5 天 5 小时``, ``about 5 days 5 hours``."""
    days, rest = divmod(hours, _HOURS_PER_DAY)
    if not days:
        return f"约 {rest} 小时", f"about {_counted(rest, 'hour')}"
    return f"约 {days} 天 {rest} 小时", f"about {_counted(days, 'day')} {_counted(rest, 'hour')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _whole(number: int) -> str:
    """Write a whole number below 10^12: groups of four digits, each with the name of its group."""
    groups = (number // _GROUP**2, number // _GROUP % _GROUP, number % _GROUP)
    text = ""
    skipped = False
    for group, name in zip(groups, _GROUPS, strict=True):
        if not group:
            skipped = True
            continue
        if text and (skipped or group < _GROUP // 10):
            text += "零"
        text += _four(group) + name
        skipped = False
    return text or "零"


def _four(group: int) -> str:
    text = ""
    skipped = False
    for digit, place in zip(f"{group:04d}", _PLACES, strict=True):
        if digit == "0":
            skipped = bool(text)
            continue
        text += ("零" if skipped else "") + _CAPITALS[int(digit)] + place
        skipped = False
    return text
