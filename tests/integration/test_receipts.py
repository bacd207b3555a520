"""Receipts as papers: the same words on page and PDF, one original, and what people typed stays text."""

import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import SIGNED_AT, a_contract, a_customer, a_debt, a_terminal
from pypdf import PdfReader
from sqlalchemy import create_engine, text

from app.customers.queries import contract_by_no
from app.database import transaction
from app.papers.paper import Format
from app.papers.press import a_page, needed_for_pdf, to_html
from app.papers.receipt import Kept, receipt_paper
from app.roles import Role

CONTRACT = "HT-2026-0001"
POINTS_PER_MM = 72 / 25.4


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with transaction(database.engine) as session:
        customer = a_customer(session, name_zh="<script>alert(1)</script>钢铁", name_en='O"Steel & <b>Co</b>')
        contract = a_contract(session, customer=customer, contract_no=CONTRACT, price="0.8137")
        a_terminal(session, supply_point_id=contract.supply_point_id)
        a_debt(session, contract=contract_by_no(session, CONTRACT), debt_fen=120_000)
    with a_desk(database) as opened:
        yield opened


@pytest.fixture
def receipt_no(desk: Desk) -> str:
    body = {
        "contract_no": CONTRACT,
        "amount_yuan": "50000.10",
        "tenders": [
            {"kind": "cash", "amount_yuan": "1000.10"},
            {"kind": "transfer", "amount_yuan": "49000.00", "reference": "20260302-0042"},
        ],
    }
    return str(desk.post("/purchases", body, role=Role.CASHIER).json()["receipt_no"])


def printed(desk: Desk, receipt_no: str, *, key: str | None = None, **wanted: str) -> Any:
    return desk.post(f"/receipts/{receipt_no}/prints", wanted, role=Role.CASHIER, key=key)


def fonts_of(pdf: PdfReader) -> dict[str, bool]:
    """Return each font of a PDF, and whether its file is inside."""
    found = {}
    for page in pdf.pages:
        for font in page["/Resources"]["/Font"].values():
            inner = font.get_object()["/DescendantFonts"][0].get_object()
            descriptor = inner["/FontDescriptor"].get_object()
            found[str(inner["/BaseFont"])] = any(f"/FontFile{kind}" in descriptor for kind in ("", "2", "3"))
    return found


def test_the_paper_says_what_was_bought_paid_off_and_kept_in_both_languages(desk: Desk, receipt_no: str) -> None:
    pdf = PdfReader(io.BytesIO(printed(desk, receipt_no, format="a5", media="pdf").content))
    said = "".join(page.extract_text() for page in pdf.pages)
    for words in (
        "购电收据",
        "Receipt for energy bought",
        "人民币伍万元壹角",
        "50,000.10",
        "1,200.00",  # paid off
        "59,973.085 kWh",
        "0.8137 / kWh",
        "Order no.",
        "20260302-0042",
        "UTC+08:00",
        "浦东营业厅",
        "Pudong office",
        "Li Na",
        receipt_no,
    ):
        assert words.replace(" ", "") in said.replace(" ", ""), words
    assert "COPY" not in said
    assert "VIEW" not in said


def test_a_refund_says_what_was_taken_back_in_words_of_its_own() -> None:
    content = {
        "energy_wh": -1_000_500,
        "debt_paid_fen": -20_000,
        "tenders": [{"kind": "cash", "amount_fen": -80_040, "reference": ""}],
    }
    kept = Kept(kind="refund", receipt_no="PD-1-0000002", amount_fen=-80_040, issued_at=SIGNED_AT, content=content)
    page = to_html(receipt_paper(kept, mark=None, zone=ZoneInfo("Asia/Shanghai")), Format.ROLL80)
    for words in (
        "退费凭证",
        "Receipt for a refund",
        "退款金额",
        "人民币捌佰元肆角",
        "1,000.500 kWh",
        "Owed again",
        "¥ 200.00",
    ):
        assert words in page, words
    assert "购电量" not in page


def test_an_a5_sheet_and_a_roll_that_ends_with_its_text(desk: Desk, receipt_no: str) -> None:
    sheet = PdfReader(io.BytesIO(printed(desk, receipt_no, format="a5").content))
    roll = PdfReader(io.BytesIO(printed(desk, receipt_no, format="roll80").content))
    width, height = (float(side) / POINTS_PER_MM for side in sheet.pages[0].mediabox[2:])
    assert (round(width), round(height), len(sheet.pages)) == (148, 210, 1)
    width, height = (float(side) / POINTS_PER_MM for side in roll.pages[0].mediabox[2:])
    assert (round(width), len(roll.pages)) == (80, 1)
    assert 150 < height < 300
    for pdf in (sheet, roll):
        fonts = fonts_of(pdf)
        assert fonts
        assert all(fonts.values())


def test_the_first_print_is_the_original_and_each_later_one_says_that_it_is_a_copy(
    desk: Desk, receipt_no: str
) -> None:
    pages = [printed(desk, receipt_no, media="html").text for _ in range(3)]
    assert "副本" not in pages[0]
    assert "副本 COPY 1" in pages[1]
    assert "副本 COPY 2" in pages[2]
    assert "打印于 printed 20" in pages[1]
    shown = desk.get(f"/receipts/{receipt_no}").json()
    assert [(one["copy_no"], one["printed_by"]) for one in shown["prints"]] == [
        (number, "cashier.one") for number in range(3)
    ]
    copy = printed(desk, receipt_no, media="pdf")
    assert "COPY3" in PdfReader(io.BytesIO(copy.content)).pages[0].extract_text().replace(" ", "")


def test_the_same_key_gives_the_same_print_again(desk: Desk, receipt_no: str) -> None:
    first = printed(desk, receipt_no, key="k", media="html")
    again = printed(desk, receipt_no, key="k", media="html")
    assert (first.status_code, first.text) == (again.status_code, again.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert desk.count("receipt_prints") == 1
    assert refusal(printed(desk, receipt_no, key="k", media="pdf")) == (422, "idempotency-key-reused")


def test_of_eight_prints_at_once_one_is_the_original(desk: Desk, receipt_no: str) -> None:
    gate = threading.Barrier(8)

    def begin(_: int) -> str:
        gate.wait()
        return str(printed(desk, receipt_no, media="html").text)

    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(begin, range(8)))
    assert sum("副本 COPY" not in page for page in pages) == 1
    assert all(any(f"副本 COPY {number}<" in page for page in pages) for number in range(1, 8))


def test_the_page_to_look_at_is_no_receipt_and_no_print(desk: Desk, receipt_no: str) -> None:
    page = desk.get(f"/receipts/{receipt_no}/page", format="roll80")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "仅供查看" in page.text
    assert "VIEW ONLY — not a receipt" in page.text
    assert desk.count("receipt_prints") == 0


def test_what_people_typed_is_text_and_never_markup(desk: Desk, receipt_no: str) -> None:
    page = desk.get(f"/receipts/{receipt_no}/page").text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;钢铁" in page
    assert "<b>Co" not in page
    pdf = PdfReader(io.BytesIO(printed(desk, receipt_no).content))
    assert "<script>alert(1)</script>" in pdf.pages[0].extract_text().replace("\n", "")


def test_a_copy_says_what_the_original_said_whatever_names_are_now(desk: Desk, receipt_no: str) -> None:
    original = printed(desk, receipt_no, media="html").text
    owner = create_engine(desk.database.superuser_url)
    with owner.begin() as connection:
        connection.execute(text("UPDATE customers SET name_zh = '新名'"))
        connection.execute(text("UPDATE offices SET name_zh = '新厅'"))
        connection.execute(text("UPDATE staff_members SET name_zh = '新人'"))
    owner.dispose()
    copy = printed(desk, receipt_no, media="html").text
    start, end = copy.index('<div class="mark">'), copy.index('<div class="amount">')
    assert copy[:start] + copy[end:] == original


def test_prints_are_on_record_and_for_cashiers_and_approvers(desk: Desk, receipt_no: str) -> None:
    printed(desk, receipt_no, media="html")
    (event,) = desk.get("/audit", action="receipt.printed").json()["items"]
    assert (event["subject"], event["after"]) == (receipt_no, {"copy_no": 0})
    assert desk.post(f"/receipts/{receipt_no}/prints", {}, role=Role.OPERATOR).status_code == 403
    assert refusal(desk.get("/receipts/NONE-1")) == (404, "no-such-receipt")
    assert refusal(printed(desk, "NONE-1", media="html")) == (404, "no-such-receipt")


def test_without_the_libraries_pdf_is_refused_and_pages_work() -> None:
    script = """
import sys
sys.modules["weasyprint"] = None
from app.papers.paper import Both, Format, Paper
from app.papers.press import NoPdfHere, to_html, to_pdf
import app.main
paper = Paper(title=Both(zh="收据", en="Receipt"), number="1", issuer=Both(zh="甲", en="A"))
assert "收据" in to_html(paper, Format.A5)
try:
    to_pdf(paper, Format.A5)
except NoPdfHere as refusal:
    print(refusal.status, refusal.remedy)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("503 Print the page")


def test_without_a_font_for_chinese_pdf_is_refused_rather_than_full_of_boxes(tmp_path: Path) -> None:
    configuration = tmp_path / "fonts.conf"
    configuration.write_text(
        f'<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>{tmp_path}</dir></fontconfig>'
    )
    script = """
from app.papers.press import NoPdfHere, needed_for_pdf
try:
    needed_for_pdf()
except NoPdfHere as refusal:
    print(refusal.facts["lacking"])
"""
    environment = {**os.environ, "FONTCONFIG_FILE": str(configuration)}
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert found.stdout.strip() == "no font with Chinese characters is installed"


def test_a_paper_asks_nobody_for_anything(caplog: pytest.LogCaptureFixture) -> None:
    html = '<img src="http://127.0.0.1:9/a.png"><link rel="stylesheet" href="file:///etc/passwd">电'
    with caplog.at_level(logging.ERROR, logger="weasyprint"):
        a_page(needed_for_pdf(), html).write_pdf()
    assert caplog.text.count("disallowed protocol") == 2
