"""Who types a command: the operating system says so, since nobody signs in at a terminal window."""

import os
import pwd
import socket
from uuid import UUID

from app.database import Actor


def typist(*, staff_member_id: UUID | None = None, sign_in_name: str | None = None) -> Actor:
    """Return on whose behalf a command runs: the person who answers for it, if one is named, and who has typed it.

    ``os:alice@till-server`` is Alice's account on that machine; a sign-in name has neither ``:`` nor ``@``.
    """
    account = f"os:{_user()}@{socket.gethostname()}"[:_LONGEST]
    return Actor(staff_member_id=staff_member_id, name=sign_in_name or account, address=account)


_LONGEST = 200


def _user() -> str:
    # Not the environment: whoever types could set it.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
