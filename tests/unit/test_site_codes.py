"""Site codes: what is typed is what was made, and nothing else is taken."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mqtt.site_codes import (
    MistypedError,
    SiteCode,
    SiteSecret,
    WrongCodeError,
    deaf_s,
    key_from,
    key_text,
    read,
    write,
)

SECRET = SiteSecret(bytes(range(32)))
KEY = SECRET.key_of("SH-PD-0001")
CODE = SiteCode(order_no=301, paid_until_wh=6_000_000, release_rounds=True)


CODES = st.builds(
    SiteCode,
    order_no=st.integers(1, 2**32 - 200),
    paid_until_wh=st.integers(-(2**40), 2**60),
    release_rounds=st.booleans(),
    lift_limit=st.booleans(),
)


@given(CODES, st.integers(1, 127), st.integers(0, 2**34 - 1))
def test_every_code_says_what_it_was_made_of(code: SiteCode, ahead: int, more_wh: int) -> None:
    held = {"order_no": max(code.order_no - ahead, 0), "paid_until_wh": code.paid_until_wh - more_wh}
    assert read(write(code, KEY), KEY, **held) == code


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


def test_the_example_of_the_contract_is_this() -> None:
    assert key_text(KEY) == "XOAq6Bxc4kVIDWhlHWZA5p_rPiBgirMqxNwaAuVP1dE"
    assert write(CODE, KEY) == "20424 27627 01006 39025 58775"


@pytest.mark.parametrize("written", ["", "! " * 21, "A" * 42, "A" * 44, "====", "é" * 43])
def test_what_is_no_key_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        key_from(written)


def test_a_keypad_grows_deaf_and_never_for_more_than_an_hour() -> None:
    assert [deaf_s(wrong) // 60 for wrong in (0, 4, 5, 6, 7, 8, 1000)] == [0, 0, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("content", ["", "00" * 31, "no hexadecimal digits", "é"])
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="openssl rand -hex 32"):
        SiteSecret.from_file(path)


def test_a_secret_is_read_as_openssl_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(bytes(range(32)).hex() + "\n")
    assert SiteSecret.from_file(path).id == SECRET.id
    assert SECRET.id not in {SiteSecret(bytes(32)).id, KEY.hex()[:16]}
