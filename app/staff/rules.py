"""Roles of people, and what a sign-in name and a password must be."""

import re
from enum import StrEnum

from app.errors import Refused

MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 128
SIGN_IN_NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{1,62}"

_SIGN_IN_NAME = re.compile(SIGN_IN_NAME_PATTERN)


class Kind(StrEnum):
    """A client is a program of others, which calls with keys instead of a password."""

    PERSON = "person"
    CLIENT = "client"


class SignInNameUnusable(Refused):
    """A sign-in name is typed at tills in a hurry: lower-case, short, without surprises."""

    title = "The sign-in name cannot be used"


class PasswordUnusable(Refused):
    title = "The password cannot be used"


def sign_in_name_of(typed: str) -> str:
    """Return the form in which a sign-in name is kept and compared: ``" Li.Na "`` → ``"li.na"``."""
    return typed.strip().lower()


def check_sign_in_name(name: str) -> None:
    """Refuse a name that could not be typed or told apart: ``"li.na"`` passes, ``"李娜"`` does not.

    Raises:
        SignInNameUnusable: it is not 2 to 63 of a-z, 0-9, dot, hyphen and underscore.
    """
    if not _SIGN_IN_NAME.fullmatch(name):
        raise SignInNameUnusable(
            f"{name!r} is not a sign-in name",
            remedy="use 2 to 63 of a-z, 0-9, '.', '-' and '_', starting with a letter or digit",
        )


def check_password(password: str) -> None:
    """Refuse a password by its length alone: 7 characters are too few, 129 too many.

    Rules about kinds of characters make passwords worse (NIST SP 800-63B, section 5.1.1.2).

    Raises:
        PasswordUnusable: it has fewer than 8 or more than 128 characters.
    """
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise PasswordUnusable(
            f"the password has {len(password)} characters",
            remedy=f"use {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters of any kind",
        )
