"""Puts a paper on a page: one template for browser and printer; PDF where the machine has what it needs."""

import gc
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.http.refusals import HttpRefusal
from app.papers.paper import Format, Paper

_TEMPLATES = Path(__file__).with_name("templates")
_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
#: A roll is laid out on a page that no text fills, and cut below its last line.
_ENDLESS_MM = 3000
_MARGIN_BELOW_PX = 4 * 96 / 25.4

#: What a page of ours may do in a browser: show its own styles, and nothing else.
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}


class NoPdfHere(HttpRefusal):
    """The machine lacks the libraries or the fonts that PDF needs; pages work without them."""

    title = "This machine cannot make PDF"
    status = 503

    def __init__(self, *, lacking: str) -> None:
        super().__init__(
            f"PDF cannot be made here: {lacking}.",
            remedy="Print the page (`media` = `html`), or have an administrator install what docs/administrator.md "
            "names under Papers.",
            lacking=lacking,
        )


def to_html(paper: Paper, format_: Format) -> str:
    """Write a paper as a page; whatever people typed is escaped."""
    template = _environment.get_template("paper.html.j2")
    return template.render(paper=paper, format=format_.value, endless_mm=_ENDLESS_MM)


def to_pdf(paper: Paper, format_: Format) -> bytes:
    """Write a paper as PDF with its fonts inside.

    Raises:
        NoPdfHere: libraries or fonts are missing.
    """
    pdf = _lay_out_and_write(needed_for_pdf(), paper, format_)
    # A document holds its fonts, some 20 MB, and itself: the collector comes too seldom for that in a process that
    # does much else, and takes 10 ms when it is called.
    gc.collect()
    return pdf


def _lay_out_and_write(weasyprint: Any, paper: Paper, format_: Format) -> bytes:
    document = a_page(weasyprint, to_html(paper, format_)).render()
    if format_ is Format.ROLL80:
        (page,) = document.pages
        page.height = page.anchors["end"][1] + _MARGIN_BELOW_PX
    pdf: bytes = document.write_pdf()
    return pdf


@cache
def needed_for_pdf() -> Any:
    """Return WeasyPrint, once it is known that it can write Chinese.

    Raises:
        NoPdfHere: libraries or fonts are missing.
    """
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        raise NoPdfHere(lacking="the library Pango is not installed") from error
    # Pango ends the whole process where it finds no font at all, so it is not asked before fontconfig.
    if not _lists_a_chinese_font():
        raise NoPdfHere(lacking="no font with Chinese characters is installed")
    return weasyprint


def _lists_a_chinese_font() -> bool:
    fc_list = shutil.which("fc-list")
    if fc_list is None:
        return False
    listed = subprocess.run([fc_list, ":lang=zh-cn", "family"], capture_output=True, check=False)  # noqa: S603 - ours
    return bool(listed.stdout.strip())


def a_page(weasyprint: Any, html: str) -> Any:
    """Return a page that asks nobody for anything: what people typed must not make us call an address."""
    return weasyprint.HTML(string=html, url_fetcher=weasyprint.urls.URLFetcher(allowed_protocols=()))
