"""Long lists in pages that stay right while rows are added: each page starts after the last row of the one before."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from app.http.refusals import CursorUnreadable

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_LONGEST_NUMBER = 9

Row = TypeVar("Row")
Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next_cursor: str | None = Field(
        description="send it as `cursor` for the next page; null on the last", examples=["QzAwMDI"]
    )


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """Which page is wanted: at most ``limit`` rows after the row whose key is ``after``."""

    limit: int
    after: str | None

    @property
    def rows_wanted(self) -> int:
        """One row more than is shown, which tells whether there is a next page."""
        return self.limit + 1

    @property
    def after_id(self) -> UUID | None:
        """The key of the last row seen, for lists in the order of ids."""
        if self.after is None:
            return None
        try:
            return UUID(self.after)
        except ValueError:
            raise unreadable() from None

    @property
    def after_number(self) -> int | None:
        """The key of the last row seen, for lists in the order of a number."""
        if self.after is None:
            return None
        if not self.after.isascii() or not self.after.isdigit() or len(self.after) > _LONGEST_NUMBER:
            raise unreadable()
        return int(self.after)


async def page_request(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="rows on a page")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before")] = None,
) -> PageRequest:
    return PageRequest(limit=limit, after=None if cursor is None else _key_in(cursor))


#: Ask for this in a route that lists; give ``after`` and ``rows_wanted`` to the query.
Paging = Annotated[PageRequest, Depends(page_request)]


def page_of(
    rows: Sequence[Row],
    *,
    request: PageRequest,
    key: Callable[[Row], str | UUID],
    show: Callable[[Row], Item],
) -> Page[Item]:
    """Make a page of up to ``request.rows_wanted`` rows in the order of ``key``."""
    shown = rows[: request.limit]
    has_more = len(rows) > request.limit
    return Page(
        items=[show(row) for row in shown],
        next_cursor=_cursor_of(str(key(shown[-1]))) if has_more else None,
    )


def _cursor_of(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def _key_in(cursor: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        key = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise unreadable() from None
    if "\0" in key:  # PostgreSQL's text cannot hold it
        raise unreadable()
    return key


def unreadable() -> CursorUnreadable:
    """Return the refusal of a cursor that holds no place in the list."""
    return CursorUnreadable(
        "the cursor was not made by this service",
        remedy="send `next_cursor` of the page before as it is, or no cursor for the first page",
    )
