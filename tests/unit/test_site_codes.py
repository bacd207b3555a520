"""Site codes: what is typed is what was made, and nothing else is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mqtt.site_codes import MistypedError, SiteCode, SiteSecret, WrongCodeError, read, write

SECRET = SiteSecret(bytes(range(32)))
KEY = SECRET.key_of("SH-PD-0001")
CODE = SiteCode(order_no=301, paid_until_wh=6_000_000, release_rounds=True)


@given(
    st.integers(0, 2**32 - 200), st.integers(1, 127), st.integers(-(2**40), 2**60), st.integers(0, 2**34 - 1),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_every_code_says_what_it_was_made_of(  # noqa: PLR0913 - drawn values
    last: int,
    ahead: int,
    held_wh: int,
    more_wh: int,
    release: bool,
    lift: bool,  # noqa: FBT001
) -> None:
    code = SiteCode(order_no=last + ahead, paid_until_wh=held_wh + more_wh, release_rounds=release, lift_limit=lift)
    assert read(write(code, KEY), KEY, order_no=last, paid_until_wh=held_wh) == code


@given(st.integers(0, 24), st.integers(1, 9))
def test_a_changed_digit_is_told_as_mistyped(place: int, by: int) -> None:
    digits = write(CODE, KEY).replace(" ", "")
    changed = digits[:place] + str((int(digits[place]) + by) % 10) + digits[place + 1 :]
    with pytest.raises(MistypedError):
        read(changed, KEY, order_no=300, paid_until_wh=5_000_000)


def test_a_code_is_for_its_terminal_only() -> None:
    with pytest.raises(WrongCodeError):
        read(write(CODE, KEY), SECRET.key_of("SH-PD-0002"), order_no=300, paid_until_wh=5_000_000)


def test_an_old_code_is_read_as_one_of_the_past() -> None:
    assert read(write(CODE, KEY), KEY, order_no=302, paid_until_wh=7_000_000).order_no == CODE.order_no
