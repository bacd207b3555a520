"""NATS' list of users: each reaches its own topics only, the service the other way round those of all."""

import json
import re
from collections.abc import Mapping
from typing import Any

_TERMINAL_ID = re.compile(r"[A-Za-z0-9_-]+")
_USER = re.compile(r'\{"user": "(?P<name>[^"]+)", "password": "(?P<hash>[^"]+)"')


def authorization(*, services: Mapping[str, str], terminals: Mapping[str, str]) -> str:
    """Return the block ``authorization`` of a NATS server's configuration, one user a line.

    Args:
        services: bcrypt hash of the password by the user name of each worker.
        terminals: the same by terminal id, which is the user name too.

    Raises:
        ValueError: a name would reach other topics than its own.
    """
    for name in (*services, *terminals):
        if not _TERMINAL_ID.fullmatch(name):
            raise ValueError(f"user {name!r} must be letters, digits, '-' and '_' only")
    users = [_service(name, hashed) for name, hashed in services.items()]
    users += [_terminal(name, hashed) for name, hashed in terminals.items()]
    return "\n".join(["authorization { users: [", *(f"  {json.dumps(user)}" for user in users), "] }"])


def hashes_in(written: str) -> dict[str, str]:
    """Read what :func:`authorization` has written: bcrypt hash by user name."""
    return {found["name"]: found["hash"] for found in _USER.finditer(written)}


def _service(name: str, password_hash: str) -> dict[str, Any]:
    return _user(name, password=password_hash, publish=["lm.v1.*.dn.>"], subscribe=["lm.v1.*.up", "lm.v1.*.up.>"])


def _terminal(terminal_id: str, password_hash: str) -> dict[str, Any]:
    own = f"lm.v1.{terminal_id}"
    return _user(
        terminal_id,
        password=password_hash,
        publish=[f"{own}.up.>"],
        # MQTT's `…/dn/#` covers `…/dn` itself, so both must be allowed.
        subscribe=[f"{own}.dn", f"{own}.dn.>"],
    )


def _user(name: str, *, password: str, publish: list[str], subscribe: list[str]) -> dict[str, Any]:
    permissions = {"publish": publish, "subscribe": subscribe}
    return {"user": name, "password": password, "permissions": permissions}
