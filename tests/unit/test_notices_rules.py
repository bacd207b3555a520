"""A notice says in two languages what it must: how much is left, and of a cut the exact time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mqtt.messages import BilingualText
from app.notices.rules import NoticeKind, word

CUT = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)
OF_A_CUT = [NoticeKind.WRITTEN, NoticeKind.SECOND]


@pytest.mark.parametrize("kind", OF_A_CUT)
def test_a_notice_of_a_cut_says_its_time_as_the_reader_lives_it(kind: NoticeKind) -> None:
    said = word(kind, remaining_wh=20_000_000, cut_not_before=CUT, limit_w=None)
    assert "2026-03-04 10:00（北京时间）" in said.zh
    assert "2026-03-04 10:00 (UTC+8)" in said.en


def test_the_zone_of_the_moment_does_not_matter() -> None:
    elsewhere = CUT.astimezone(timezone(timedelta(hours=-5)))
    here, there = (
        word(NoticeKind.WRITTEN, remaining_wh=0, cut_not_before=moment, limit_w=None) for moment in (CUT, elsewhere)
    )
    assert here == there


@pytest.mark.parametrize("kind", [kind for kind in NoticeKind if kind is not NoticeKind.SECOND])
def test_a_notice_says_how_much_is_left(kind: NoticeKind) -> None:
    said = word(kind, remaining_wh=12_500_999, cut_not_before=CUT, limit_w=300_000)
    assert "12,500 千瓦时" in said.zh
    assert "12,500 kWh" in said.en


def test_a_limit_says_how_much_may_run() -> None:
    said = word(NoticeKind.LIMITED, remaining_wh=0, cut_not_before=None, limit_w=300_000)
    assert "负荷限制为 300 千瓦" in said.zh
    assert "limited to 300 kW" in said.en


def test_every_kind_says_something_of_its_own() -> None:
    said = [word(kind, remaining_wh=0, cut_not_before=CUT, limit_w=None) for kind in NoticeKind]
    assert len({one.zh for one in said}) == len({one.en for one in said}) == len(NoticeKind)


@given(
    st.sampled_from(NoticeKind),
    st.integers(-(2**62), 2**62),
    st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.none() | st.integers(0, 2**40),
)
def test_every_notice_fits_on_a_terminal(
    kind: NoticeKind, remaining_wh: int, cut_not_before: datetime | None, limit_w: int | None
) -> None:
    said = word(kind, remaining_wh=remaining_wh, cut_not_before=cut_not_before, limit_w=limit_w)
    assert BilingualText(zh=said.zh, en=said.en)
    assert said.en.isascii()
    assert not set("{}") & set(said.zh + said.en)
