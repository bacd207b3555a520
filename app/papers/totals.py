"""Turns the sealed totals of a shift into a paper."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from app.papers.paper import Both, Paper, Row, Table
from app.papers.receipt import TENDERS, at_office
from app.papers.rules import in_yuan

_KINDS = {
    "purchase": Both(zh="购电", en="purchase"),
    "cheque": Both(zh="收支票", en="cheque taken"),
    "cheque_returned": Both(zh="退票", en="cheque returned"),
    "refund": Both(zh="退费", en="refund"),
    "payment": Both(zh="缴费", en="payment"),
}


def totals_paper(totals: Mapping[str, Any], *, seal: bytes, mark: Both | None, zone: tzinfo) -> Paper:
    """Lay the sealed totals of a shift out; the seal stands below, as hexadecimal digits."""
    reason = totals["reason"]
    sections = [_who(totals, zone), _receipts(totals)]
    if reason:
        sections.append((Row(zh="长短款原因", en="Reason", value=reason),))
    digits = seal.hex()
    grouped = " ".join(digits[at : at + 8] for at in range(0, len(digits), 8))
    return Paper(
        title=Both(zh="班次结算单", en="Sealed totals of a shift"),
        number=f"{totals['till_no']} / {totals['shift_no']}",
        issuer=Both(zh=totals["office_zh"], en=totals["office_en"]),
        mark=mark,
        sections=tuple(sections),
        tables=(_compared(totals), _flows(totals)),
        signatures=(Both(zh="收费员", en="Cashier"), Both(zh="审批员", en="Approver")),
        foot=(Both(zh="封签", en=f"Seal (SHA-256) {grouped}"),),
    )


def _who(totals: Mapping[str, Any], zone: tzinfo) -> tuple[Row, ...]:
    def at(key: str) -> str:
        return at_office(datetime.fromisoformat(totals[key]), zone)

    return (
        Row(zh="收费台", en="Till", value=totals["till_no"]),
        Row(zh="班次", en="Shift", value=str(totals["shift_no"])),
        Row(zh="收费员", en="Cashier", value=totals["cashier_zh"], second=totals["cashier_en"]),
        Row(zh="开班", en="Opened", value=at("opened_at")),
        Row(zh="结班", en="Closed", value=at("closed_at")),
        Row(zh="审批员", en="Approver", value=totals["supervisor_zh"], second=totals["supervisor_en"]),
    )


def _receipts(totals: Mapping[str, Any]) -> tuple[Row, ...]:
    written = totals["receipts"]
    numbered = f"{written['first']} – {written['last']}" if written["number"] else "—"
    return (
        Row(zh="收据张数", en="Receipts", value=str(written["number"])),
        Row(zh="起止号码", en="From – to", value=numbered),
        Row(zh="备用金", en="Float", value=f"¥ {in_yuan(totals['float_fen'])}"),
        Row(zh="清点次数", en="Counts given", value=str(totals["counts"])),
    )


def _compared(totals: Mapping[str, Any]) -> Table:
    """Cash always, with its float; of the other tenders those that there were."""
    rows = tuple(
        (
            _words(TENDERS[each["tender"]]),
            in_yuan(each["expected_fen"]),
            in_yuan(each["counted_fen"]),
            in_yuan(each["difference_fen"]),
        )
        for each in totals["compared"]
        if each["tender"] == "cash" or each["expected_fen"] or each["counted_fen"]
    )
    head = (("方式", "Tender"), ("应有", "Expected"), ("清点", "Counted"), ("长短款", "Over / short"))
    return Table(head=head, rows=rows)


def _flows(totals: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            f"{_words(_KINDS[flow['kind']])} · {_words(TENDERS[flow['tender']])}",
            str(flow["number"]),
            in_yuan(flow["in_fen"]),
            in_yuan(flow["out_fen"]),
        )
        for flow in totals["flows"]
    )
    return Table(head=(("收支", "In and out"), ("张数", "No."), ("收", "In"), ("付", "Out")), rows=rows)


def _words(both: Both) -> str:
    return f"{both.zh} {both.en}"
