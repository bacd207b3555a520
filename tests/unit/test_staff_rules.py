"""What may be a sign-in name and a password."""

import pytest

from app.staff.rules import (
    PasswordUnusable,
    SignInNameUnusable,
    check_password,
    check_sign_in_name,
    sign_in_name_of,
)


@pytest.mark.parametrize("name", ["li.na", "ab", "7th-till", "a" * 63])
def test_a_plain_name_passes(name: str) -> None:
    check_sign_in_name(name)


@pytest.mark.parametrize("name", ["", "a", "Li.Na", "李娜", "li na", ".li", "a" * 64, "li.na\n"])
def test_a_name_that_cannot_be_typed_is_refused(name: str) -> None:
    with pytest.raises(SignInNameUnusable) as refused:
        check_sign_in_name(name)
    assert "a-z" in refused.value.remedy


def test_names_are_kept_in_one_form() -> None:
    assert sign_in_name_of(" Li.Na ") == "li.na"


@pytest.mark.parametrize(("length", "passes"), [(7, False), (8, True), (128, True), (129, False)])
def test_a_password_is_judged_by_its_length(length: int, passes: bool) -> None:  # noqa: FBT001
    if passes:
        check_password("x" * length)
        return
    with pytest.raises(PasswordUnusable, match=f"{length} characters"):
        check_password("x" * length)
