"""Cursors carry the key of the last row, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.paging import Page, PageRequest, page_of, page_request
from app.http.refusals import CursorUnreadable


def a_page(rows: list[str], *, limit: int, after: str | None = None) -> Page[str]:
    wanted = PageRequest(limit=limit, after=after)
    seen = [row for row in rows if after is None or row > after][: wanted.rows_wanted]
    return page_of(seen, request=wanted, key=str, show=str)


KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.sets(KEYS), st.integers(1, 10))
def test_pages_show_each_row_once_and_in_order(keys: set[str], limit: int) -> None:
    rows, shown, after = sorted(keys), [], None
    while True:
        page = a_page(rows, limit=limit, after=after)
        shown += page.items
        assert len(page.items) <= limit
        if page.next_cursor is None:
            break
        after = read_cursor(page.next_cursor).after
    assert shown == rows


@pytest.mark.parametrize("cursor", ["*", "a", "ä", "_w", "AA"])
def test_a_cursor_of_another_make_is_refused(cursor: str) -> None:
    with pytest.raises(CursorUnreadable, match="not made by this service"):
        read_cursor(cursor)


def test_an_id_is_asked_of_a_cursor_that_holds_none() -> None:
    with pytest.raises(CursorUnreadable):
        _ = PageRequest(limit=1, after="not an id").after_id


def read_cursor(cursor: str) -> PageRequest:
    reading = page_request(limit=50, cursor=cursor)
    try:
        reading.send(None)
    except StopIteration as done:
        result: PageRequest = done.value
        return result
    raise AssertionError("reading a cursor waits for nothing")
