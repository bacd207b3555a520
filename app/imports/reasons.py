"""What can be wrong with a cell or a line of a file, in Chinese and English, each under a stable code."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wording:
    """The same in both languages."""

    zh: str
    en: str


@dataclass(frozen=True)
class Words:
    wrong: Wording
    right: Wording


def _words(wrong_zh: str, wrong_en: str, right_zh: str, right_en: str) -> Words:
    return Words(wrong=Wording(wrong_zh, wrong_en), right=Wording(right_zh, right_en))


#: ``{form…}`` says what the column takes; the other fields are facts of the fault.
WORDS: dict[str, Words] = {
    "heading_missing": _words(
        "缺少这一列", "the column is missing", "加上这一列，可用模板", "add the column; the template has it"
    ),
    "heading_unknown": _words(
        "没有这样的列", "there is no such column", "可用的列：{known_zh}", "the columns are: {known_en}"
    ),
    "heading_twice": _words("同一列出现两次", "the column is there twice", "只保留一列", "keep one of them"),
    "no_heading": _words(
        "单元格没有列标题", "the cell has no heading", "清空单元格或加上列标题", "empty the cell or give it a heading"
    ),
    "blank": _words("没有填写", "it is blank", "请填写：{form_zh}", "fill in {form_en}"),
    "form": _words("形式不对", "it does not have the right form", "应为{form_zh}", "give {form_en}"),
    "error_value": _words(
        "单元格是公式错误", "the cell holds a formula's error",
        "改正公式或直接填写", "mend the formula or type the value",
    ),
    "twice": _words(
        "与第 {first} 行重复", "line {first} has the same", "每个只写一次", "write each once"
    ),
    "differs": _words(
        "与第 {first} 行不同", "it differs from line {first}, which is about the same",
        "留空或与第 {first} 行相同", "leave it blank or write what line {first} says",
    ),
    "too_many": _words("超过 {most} 个", "there are more than {most}", "最多 {most} 个", "give {most} at most"),
    "threshold_both": _words(
        "电量和小时数都填了", "both energy and hours are given", "只填一个", "give one of the two"
    ),
    "threshold_none": _words(
        "电量和小时数都没填", "neither energy nor hours are given", "填其中一个", "give one of the two"
    ),
    "threshold_order": _words(
        "门限高于前一阶段", "the threshold is above that of the stage before",
        "通知 ≥ 告警 ≥ 限电 ≥ 跳闸", "give notice ≥ warning ≥ limited ≥ trip",
    ),
    "price_without_start": _words(
        "有电价但没有生效时间", "a price without its beginning",
        "填写生效时间", "give the moment from which it holds",
    ),
    "start_without_price": _words(
        "有时间但没有电价", "a moment without a price",
        "填写电价或清空时间", "give the price, or leave both moments blank",
    ),
    "price_not_yours": _words(
        "导入人无权设定电价", "who imports may not set prices",
        "留空，或由电价管理员或系统管理员导入", "leave it blank, or have a tariff keeper or administrator import it",
    ),
    "taken": _words(
        "系统中已存在", "it is in the system already", "换一个编号或删去此行", "use another, or leave the line out"
    ),
    "unknown": _words("系统中没有", "it is not in the system", "先登记，或改正", "register it first, or correct it"),
    "occupied": _words(
        "该用电点已有终端", "the supply point has a terminal", "换一个用电点或删去此行",
        "name another supply point, or leave the line out",
    ),
    "refused": _words("系统拒绝：{detail}", "refused: {detail}", "{remedy}", "{remedy}"),
}  # fmt: skip


def said(wording: Wording, facts: dict[str, Any]) -> Wording:
    """Fill the facts into both languages."""
    return Wording(wording.zh.format_map(facts), wording.en.format_map(facts))
