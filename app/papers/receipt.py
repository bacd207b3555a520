"""Turns what a receipt keeps into a paper; what a receipt does not speak of takes no line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from app.papers.paper import Amount, Both, Paper, Row
from app.papers.rules import in_capitals, in_kwh, in_yuan, lasts
from app.quantities import nanofen_to_fen

_TITLES = {
    "purchase": Both(zh="购电收据", en="Receipt for energy bought"),
    "cheque": Both(zh="支票收妥凭证", en="Receipt for a cheque taken in for clearing"),
    "cheque_returned": Both(zh="支票退票凭证", en="Note of a cheque returned by the bank"),
    "refund": Both(zh="退费凭证", en="Receipt for a refund"),
    "payment": Both(zh="缴费收据", en="Receipt for a payment"),
}
_OTHER_TITLE = Both(zh="收据", en="Receipt")

_WARNINGS = {
    "cheque": Both(
        zh="此凭证不是购电收据：支票未经银行兑付前不购电、不供电。兑付后按当时电价购电，另开购电收据。",
        en="This is no purchase yet: no energy flows until the bank has cleared the cheque. It then buys energy at "
        "the price of that day, under a receipt of its own.",
    ),
    "cheque_returned": Both(
        zh="该支票被银行退回，未购电。原支票收妥凭证作废。",
        en="The bank has returned the cheque; no energy was bought. The receipt for the cheque is void.",
    ),
}
_LABELS = {
    "cheque": Both(zh="支票金额", en="Amount of the cheque"),
    "cheque_returned": Both(zh="退票金额", en="Amount returned"),
    "refund": Both(zh="退款金额", en="Amount refunded"),
}
_LABEL = Both(zh="收款金额", en="Amount received")

TENDERS = {
    "cash": Both(zh="现金", en="Cash"),
    "transfer": Both(zh="转账", en="Transfer"),
    "cheque": Both(zh="支票", en="Cheque"),
    "card": Both(zh="刷卡", en="Card"),
    "online": Both(zh="线上支付", en="Online"),
}

#: A value on paper: its text, and a second line.
_Said = tuple[str, str]
_Writer = Callable[[Mapping[str, Any], str], _Said | None]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A receipt as it is kept: ``content`` is all that it said when it was written."""

    kind: str
    receipt_no: str
    amount_fen: int
    issued_at: datetime
    content: Mapping[str, Any]


def receipt_paper(kept: Kept, *, mark: Both | None, zone: tzinfo) -> Paper:
    """Lay a receipt out; the time is that of ``zone``, with its distance from UTC."""
    said = {**kept.content, "issued_at": at_office(kept.issued_at, zone)}
    if kept.kind == "refund":
        said = _turned_round(said)
    return Paper(
        title=_TITLES.get(kept.kind, _OTHER_TITLE),
        number=kept.receipt_no,
        issuer=Both(zh=_text(said, "office_zh"), en=_text(said, "office_en")),
        mark=mark,
        warning=_WARNINGS.get(kept.kind),
        amount=Amount(
            label=_LABELS.get(kept.kind, _LABEL),
            figures=in_yuan(abs(kept.amount_fen)),
            words=in_capitals(abs(kept.amount_fen)),
        ),
        sections=tuple(rows for section in _SECTIONS if (rows := _rows(said, section))) + _tendered(said),
        signatures=(Both(zh="收款单位（盖章）", en="Seal"), Both(zh="客户", en="Customer")),
        foot=(Both(zh="请妥善保管本凭证。", en="Please keep this paper."),),
    )


def copy_mark(copy_no: int, *, printed_at: datetime, zone: tzinfo) -> Both | None:
    """Return what a print says of itself: nothing on the original, and on each copy its number and its time."""
    if copy_no == 0:
        return None
    return Both(zh=f"副本 COPY {copy_no}", en=f"打印于 printed {at_office(printed_at, zone)}")


def at_office(moment: datetime, zone: tzinfo) -> str:
    """Write a moment as the office's clock showed it: ``2026-03-02 20:00:00 UTC+08:00``."""
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S} UTC{local.isoformat()[-6:]}"


def _turned_round(said: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a refund takes back in its own words, for which its content has sums below zero."""
    names = {"energy_wh": "energy_back_wh", "debt_paid_fen": "debt_again_fen"}
    return {names.get(key, key): -value if key in names and value else value for key, value in said.items()}


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    return "" if value is None else str(value)


def _plain(said: Mapping[str, Any], key: str) -> _Said | None:
    text = _text(said, key)
    return (text, "") if text else None


def _moment(said: Mapping[str, Any], key: str) -> _Said | None:
    text, _, zone = _text(said, key).partition(" UTC")
    return (text, f"UTC{zone}") if text else None


def _named(said: Mapping[str, Any], key: str) -> _Said | None:
    zh, en = _text(said, f"{key}_zh"), _text(said, f"{key}_en")
    return (zh, en) if zh or en else None


def _money(said: Mapping[str, Any], key: str) -> _Said | None:
    amount_fen = said.get(key)
    return (f"¥ {in_yuan(amount_fen)}", "") if amount_fen else None


def _energy(said: Mapping[str, Any], key: str) -> _Said | None:
    energy_wh = said.get(key)
    return None if energy_wh is None else (in_kwh(energy_wh), "")


def _some_energy(said: Mapping[str, Any], key: str) -> _Said | None:
    return _energy(said, key) if said.get(key) else None


def _kept(said: Mapping[str, Any], key: str) -> _Said | None:
    kept_nfen = said.get(key)
    return (f"{nanofen_to_fen(kept_nfen).normalize():f} 分 fen", "") if kept_nfen else None


def _price(said: Mapping[str, Any], key: str) -> _Said | None:
    text = _text(said, key)
    return (f"¥ {text} / kWh", "") if text else None


def _duration(said: Mapping[str, Any], key: str) -> _Said | None:
    hours = said.get(key)
    return None if hours is None else lasts(hours)


@dataclass(frozen=True, kw_only=True)
class _Line:
    key: str
    zh: str
    en: str
    write: _Writer = _plain
    strong: bool = False


_SECTIONS: tuple[tuple[_Line, ...], ...] = (
    (
        _Line(key="customer", zh="户名", en="Customer", write=_named, strong=True),
        _Line(key="customer_no", zh="户号", en="Customer no."),
        _Line(key="contract_no", zh="合同号", en="Contract"),
        _Line(key="point_no", zh="用电点", en="Supply point"),
        _Line(key="terminal_id", zh="终端", en="Terminal"),
    ),
    (
        _Line(key="debt_paid_fen", zh="还清欠费", en="Paid off old debt", write=_money),
        _Line(key="debt_again_fen", zh="恢复欠费", en="Owed again", write=_money),
        _Line(key="debt_left_fen", zh="尚欠", en="Still owed", write=_money),
        _Line(key="energy_wh", zh="购电量", en="Energy bought", write=_energy, strong=True),
        _Line(key="energy_back_wh", zh="退电量", en="Energy taken back", write=_energy, strong=True),
        _Line(key="emergency_repaid_wh", zh="其中归还应急电量", en="Of it emergency credit", write=_some_energy),
        _Line(key="yuan_per_kwh", zh="电价", en="Price", write=_price),
        _Line(key="kept_nfen", zh="尾款结余", en="Kept for the next purchase", write=_kept),
        _Line(key="left_wh", zh="剩余电量", en="Energy left now", write=_energy),
        _Line(key="hours_left", zh="近期负荷可用", en="At recent load", write=_duration),
        _Line(key="order_no", zh="购电单号", en="Order no."),
    ),
    (
        _Line(key="reading_wh", zh="销户止码", en="Final reading, account closed", write=_energy, strong=True),
        _Line(key="unused_wh", zh="未用电量", en="Unused energy", write=_some_energy),
        _Line(key="unused_worth_fen", zh="未用电量金额", en="Value of unused energy", write=_money),
        _Line(key="overused_wh", zh="超用电量", en="Used beyond what was paid", write=_some_energy),
        _Line(key="overused_fen", zh="超用电费", en="Owed for it", write=_money),
        _Line(key="debt_settled_fen", zh="结清欠费", en="Old debt settled", write=_money),
        _Line(key="fraction_nfen", zh="不足一分尾差", en="Fraction of a fen that cannot be paid", write=_kept),
    ),
    (
        _Line(key="cheque_no", zh="支票号码", en="Cheque no."),
        _Line(key="bank", zh="付款银行", en="Bank"),
        _Line(key="drawer", zh="出票人", en="Drawer"),
        _Line(key="drawn_on", zh="出票日期", en="Date of the cheque"),
        _Line(key="bank_reference", zh="银行兑付号", en="Bank's reference"),
        _Line(key="reason", zh="原因", en="Reason"),
        _Line(key="cheque_receipt_no", zh="原支票收妥凭证", en="Receipt for the cheque"),
    ),
    (
        _Line(key="purchase_no", zh="购电流水号", en="Purchase"),
        _Line(key="issued_at", zh="时间", en="Time", write=_moment),
        _Line(key="till_no", zh="收费台", en="Till"),
        _Line(key="cashier", zh="收费员", en="Cashier", write=_named),
    ),
)


def _rows(said: Mapping[str, Any], lines: tuple[_Line, ...]) -> tuple[Row, ...]:
    written = [(line, line.write(said, line.key)) for line in lines]
    return tuple(
        Row(zh=line.zh, en=line.en, value=found[0], second=found[1], strong=line.strong)
        for line, found in written
        if found is not None
    )


def _tendered(said: Mapping[str, Any]) -> tuple[tuple[Row, ...], ...]:
    rows = []
    for tender in said.get("tenders", ()):
        names = TENDERS.get(tender["kind"], Both(zh=tender["kind"], en=""))
        value = f"¥ {in_yuan(tender['amount_fen'])}"
        rows.append(Row(zh=names.zh, en=names.en, value=value, second=tender.get("reference", "")))
    return (tuple(rows),) if rows else ()
