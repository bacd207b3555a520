"""Typed in: the list of users for a broker that reads a file; credentials made anew and taken back."""

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import bcrypt
from sqlalchemy.orm import Session

from app.database import connect, reading
from app.embedded.users import authorization, hashes_in
from app.settings import Settings
from app.terminals.queries import broker_credentials, mosquitto_hashes
from app.terminals.rules import SALT_BYTES, mosquitto_hash, mosquitto_lines, mosquitto_users

Users = TypeVar("Users")


class NoServicePassword(Exception):
    """The list would lock the service itself out."""


@dataclass(frozen=True, kw_only=True)
class BrokerUsers:
    """The list, and the terminals in service that are not in it."""

    lines: str
    unknown: list[str]


def broker_users(settings: Settings, *, known: str, workers: Collection[str] = ()) -> BrokerUsers:
    """Return the service and every terminal in service with what Mosquitto keeps of their passwords.

    ``known`` is an earlier list. Its line is kept for a terminal of whose credential the database has no such hash.
    ``workers`` are users of further workers, which sign in with the service's password.

    Raises:
        NoServicePassword: the settings name no password for the service.
    """
    password = _service_password(settings)
    terminals = _read(settings, mosquitto_hashes)
    earlier = mosquitto_users(known)
    users = {name: kept or earlier.get(name) for name, kept in terminals.items()}
    for name in (settings.broker_user, *workers):
        users[name] = mosquitto_hash(password, salt=secrets.token_bytes(SALT_BYTES))
    lines = mosquitto_lines({name: kept for name, kept in users.items() if kept})
    return BrokerUsers(lines=lines, unknown=sorted(name for name, kept in users.items() if not kept))


def nats_users(settings: Settings, *, known: str, workers: Collection[str] = ()) -> BrokerUsers:
    """Return the same users as a NATS server includes them, with bcrypt hashes and each user's rights.

    A user whose line changes is cut at the reload, so the service's hash in ``known`` is kept while it fits.

    Raises:
        NoServicePassword: the settings name no password for the service.
    """
    password = _service_password(settings).encode()
    terminals = _read(settings, broker_credentials)
    earlier = hashes_in(known)

    def hashed(name: str) -> str:
        kept = earlier.get(name, "")
        fits = kept.startswith("$2") and bcrypt.checkpw(password, kept.encode())
        return kept if fits else bcrypt.hashpw(password, bcrypt.gensalt()).decode()

    services = {name: hashed(name) for name in (settings.broker_user, *workers)}
    lines = authorization(services=services, terminals=terminals)
    return BrokerUsers(lines=f"{lines}\n", unknown=[])


def _service_password(settings: Settings) -> str:
    password = settings.broker_password.get_secret_value() if settings.broker_password else ""
    if not password:
        raise NoServicePassword
    return password


def _read(settings: Settings, query: Callable[[Session], Users]) -> Users:
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    with reading(engine) as session:
        found = query(session)
    engine.dispose()
    return found


def write_list(path: Path, lines: str) -> None:
    """Write the list over the old one, whose owner and rights stay; a container has mounted that very file."""
    path.touch(mode=0o600)
    path.write_text(lines, encoding="utf-8")
