"""Papers as answers of the API: a page or PDF, and a print that the same key gives again."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.database import in_transaction
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


class PrintWanted(BaseModel):
    """On what to print: a sheet of A5 or a roll of 80 mm, as a page for a browser or as PDF."""

    model_config = ConfigDict(extra="forbid")

    format: Format = Field(default=Format.A5)
    media: Media = Field(default=Media.PDF)


class PrintMade(BaseModel):
    """What is kept under the key: which print it is; the paper is made from it again."""

    copy_no: int
    printed_at: datetime


def paper_answer(paper: Paper, wanted: PrintWanted, *, status: int = 200) -> Response:
    """Answer with a paper; raises :class:`app.papers.press.NoPdfHere`."""
    if wanted.media is Media.HTML:
        page = to_html(paper, wanted.format)
        return Response(page, status_code=status, media_type="text/html", headers=PAGE_HEADERS)
    return Response(to_pdf(paper, wanted.format), status_code=status, media_type="application/pdf")


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
        await asyncio.to_thread(needed_for_pdf)
    noted = await request.once(note)
    made = PrintMade.model_validate_json(bytes(noted.body))

    def make() -> Response:
        paper = in_transaction(request.engine, lay_out, made)
        return paper_answer(paper, wanted, status=noted.status_code)

    answer = await asyncio.to_thread(make)
    if REPLAYED_HEADER in noted.headers:
        answer.headers[REPLAYED_HEADER] = noted.headers[REPLAYED_HEADER]
    return answer
