"""Typed in: the list of users for a broker that reads a file."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from app.database import connect, reading
from app.settings import Settings
from app.terminals.queries import mosquitto_hashes
from app.terminals.rules import SALT_BYTES, mosquitto_hash, mosquitto_lines, mosquitto_users


class NoServicePassword(Exception):
    """The list would lock the service itself out."""


@dataclass(frozen=True, kw_only=True)
class BrokerUsers:
    """The list, and the terminals in service that are not in it."""

    lines: str
    unknown: list[str]


def broker_users(settings: Settings, *, known: str) -> BrokerUsers:
    """Return the service and every terminal in service with what Mosquitto keeps of their passwords.

    ``known`` is an earlier list. Its line is kept for a terminal of whose credential the database has no such hash.

    Raises:
        NoServicePassword: the settings name no password for the service.
    """
    password = settings.broker_password.get_secret_value() if settings.broker_password else ""
    if not password:
        raise NoServicePassword
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    with reading(engine) as session:
        terminals = mosquitto_hashes(session)
    engine.dispose()
    earlier = mosquitto_users(known)
    users = {name: kept or earlier.get(name) for name, kept in terminals.items()}
    users[settings.broker_user] = mosquitto_hash(password, salt=secrets.token_bytes(SALT_BYTES))
    lines = mosquitto_lines({name: kept for name, kept in users.items() if kept})
    return BrokerUsers(lines=lines, unknown=sorted(name for name, kept in users.items() if not kept))


def write_list(path: Path, lines: str) -> None:
    """Write the list over the old one, whose owner and rights stay; a container has mounted that very file."""
    path.touch(mode=0o600)
    path.write_text(lines, encoding="utf-8")
