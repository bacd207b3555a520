"""Papers as answers of the API: a page or PDF, and a print that the same key gives again."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.database import reading
from app.http.idempotency import REPLAYED_HEADER, KeyedRequest
from app.papers.paper import Format, Media, Paper
from app.papers.press import PAGE_HEADERS, needed_for_pdf, to_html, to_pdf

_TEXT = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
#: What OpenAPI says of a route that shows a page, and of one that prints.
PAPER: dict[int | str, dict[str, Any]] = {200: {"description": "The page", "content": {"text/html": _TEXT}}}
PRINTED: dict[int | str, dict[str, Any]] = {
    201: {"description": "The print", "content": {"text/html": _TEXT, "application/pdf": _BINARY}}
}

#: Making a PDF keeps a processor busy for a good part of a second. One at a time, and those that wait hold no thread
#: that a sale could use.
_press = ThreadPoolExecutor(1, thread_name_prefix="press")


class PrintWanted(BaseModel):
    """On what to print: a sheet of A5 or a roll of 80 mm, as a page for a browser or as PDF."""

    model_config = ConfigDict(extra="forbid")

    format: Format = Field(default=Format.A5)
    media: Media = Field(default=Media.PDF)


class PrintMade(BaseModel):
    """What is kept under the key: which print it is; the paper is made from it again."""

    copy_no: int
    printed_at: datetime


def page_answer(paper: Paper, format_: Format, *, status: int = 200) -> Response:
    """Answer with a page, which a browser may show and nothing else."""
    return Response(to_html(paper, format_), status_code=status, media_type="text/html", headers=PAGE_HEADERS)


async def print_answer(
    request: KeyedRequest,
    wanted: PrintWanted,
    *,
    note: Callable[[Session], tuple[int, PrintMade]],
    lay_out: Callable[[Session, PrintMade], Paper],
) -> Response:
    """Note a print once, and answer with its paper as often as its key comes.

    What PDF needs is asked for first, so that no print is noted that could not be made.
    """
    if wanted.media is Media.PDF:
        await _at_the_press(needed_for_pdf)
    noted = await request.once(note)
    made = PrintMade.model_validate_json(bytes(noted.body))
    paper = await asyncio.to_thread(_laid_out, request, lay_out, made)
    if wanted.media is Media.PDF:
        pdf = await _at_the_press(to_pdf, paper, wanted.format)
        answer = Response(pdf, status_code=noted.status_code, media_type="application/pdf")
    else:
        answer = page_answer(paper, wanted.format, status=noted.status_code)
    if REPLAYED_HEADER in noted.headers:
        answer.headers[REPLAYED_HEADER] = noted.headers[REPLAYED_HEADER]
    return answer


def _laid_out(request: KeyedRequest, lay_out: Callable[[Session, PrintMade], Paper], made: PrintMade) -> Paper:
    with reading(request.engine, request.actor) as session:
        return lay_out(session, made)


async def _at_the_press(work: Callable[..., Any], *what: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(_press, work, *what)
