"""Changes to terminals: registration, their two counters, retirement."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import bcrypt
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.database import Step, sqlstate, together
from app.errors import Conflict, NotFound
from app.terminals.models import Terminal, TerminalLive, TerminalRound
from app.terminals.queries import newest_statement, terminal
from app.terminals.rules import SALT_BYTES, Pinned, mosquitto_hash, to_pin

#: A credential is 256 random bits, so nobody can guess it and the hash need not be slow: a fleet signs in at once.
_BCRYPT_ROUNDS = 4
_NO_SUCH_PARENT = "23503"

_NEXT_VERSION = text("UPDATE terminals SET last_version = last_version + 1 WHERE id = :id RETURNING last_version")

# A terminal that has served elsewhere, or books restored from yesterday: go on from what it holds.
_NEXT_ORDER = text("""
    UPDATE terminals
       SET last_version = last_version + 1,
           last_order_no = 1 + greatest(last_order_no,
               -- Nobody has given out two billion numbers: one above is a fault, and to follow it would use them up.
               (SELECT CAST(state->>'order_no' AS bigint) FROM terminal_live WHERE terminal_id = terminals.id
                   AND CAST(state->>'order_no' AS bigint) < 2147483648))
     WHERE retired_at IS NULL AND supply_point_id = coalesce(CAST(:supply_point_id AS uuid),
               (SELECT supply_point_id FROM supply_contracts WHERE contract_no = :contract_no))
 RETURNING last_version, last_order_no
""")


class TerminalTaken(Conflict):
    title = "The terminal or the supply point is taken"

    def __init__(self, *, terminal_id: str) -> None:
        super().__init__(
            f"Terminal {terminal_id} is registered already, or its supply point has another terminal.",
            remedy="Use another id, or exchange the terminal: POST /api/v1/supply-points/{id}/terminal-exchange.",
            terminal_id=terminal_id,
        )


class SupplyPointUnknown(NotFound):
    title = "There is no such supply point"

    def __init__(self, *, supply_point_id: UUID) -> None:
        super().__init__(
            f"No supply point has the id {supply_point_id}, so a terminal cannot stand there.",
            remedy="Take the id from GET /api/v1/supply-points, or sign the contract first.",
            supply_point_id=str(supply_point_id),
        )


class Retired(Conflict):
    title = "The terminal stands nowhere any more"

    def __init__(self, *, terminal_id: str, retired_at: datetime) -> None:
        super().__init__(
            f"Terminal {terminal_id} was taken out of service on {retired_at:%Y-%m-%d}.",
            remedy="Ask for the terminal that stands at the supply point now (GET /api/v1/supply-points/{id}).",
            terminal_id=terminal_id,
        )


class CredentialRevoked(Conflict):
    title = "The credential is revoked already"

    def __init__(self, *, terminal_id: str, revoked_at: datetime) -> None:
        super().__init__(
            f"The credential of terminal {terminal_id} was revoked at {revoked_at.isoformat()}.",
            remedy="Write the broker's list (wattgate broker-users); renew the credential to let the terminal in.",
            terminal_id=terminal_id,
        )


@dataclass(frozen=True, kw_only=True)
class NewRound:
    """A relay: what it feeds, its connected load in W, and how important that is (1 goes first)."""

    round: int
    feeds_zh: str
    feeds_en: str
    importance: int
    load_w: int


@dataclass(frozen=True, kw_only=True)
class NewTerminal:
    terminal_id: str
    supply_point_id: UUID
    meter_no: str
    safe_load_w: int
    rounds: tuple[NewRound, ...]


class Counted(NamedTuple):
    version: int
    order_no: int


def register(session: Session, new: NewTerminal, *, now: datetime) -> str:
    """Register a terminal; returns its credential, which is shown once and kept as a hash only.

    Raises:
        TerminalTaken: the id is in use, or the supply point has a terminal.
        SupplyPointUnknown: there is no such supply point.
    """
    credential = secrets.token_urlsafe(32)
    _fit(session, new, credential=credential, before=None, now=now)
    return credential


def exchange(session: Session, old: Terminal, new: NewTerminal, *, credential: str, now: datetime) -> Terminal:
    """Retire a terminal and register another in its place, whose order numbers and versions go on from there.

    The caller holds the old terminal's live row and the supply point. ``credential`` must be as hard to guess as one
    that :func:`register` makes.

    Raises:
        TerminalTaken: the new id is in use.
    """
    if new.terminal_id == old.id:
        raise TerminalTaken(terminal_id=new.terminal_id)
    session.refresh(old, with_for_update={"key_share": True})
    old.retired_at = now
    live = session.get_one(TerminalLive, old.id, populate_existing=True)
    live.online = live.commandable = False
    session.flush()
    fitted = _fit(session, new, credential=credential, before=old, now=now)
    # What the site draws does not change with the terminal, and levels in hours of supply need it at once.
    session.get_one(TerminalLive, new.terminal_id).recent_load_w = live.recent_load_w
    session.flush()
    deed = Deed(
        action="terminal.retired",
        subject_kind="terminal",
        subject=old.id,
        before={"retired_at": None},
        after={"retired_at": now, "exchanged_for": new.terminal_id},
    )
    audit.record(session, deed, at=now)
    return fitted


def _fit(session: Session, new: NewTerminal, *, credential: str, before: Terminal | None, now: datetime) -> Terminal:
    bcrypt_hash, for_mosquitto = _hashes(credential)
    fitted = Terminal(
        id=new.terminal_id,
        supply_point_id=new.supply_point_id,
        meter_no=new.meter_no,
        safe_load_w=new.safe_load_w,
        credential_hash=bcrypt_hash,
        mosquitto_hash=for_mosquitto,
        last_version=before.last_version if before else 0,
        last_order_no=before.last_order_no if before else 0,
        registered_at=now,
    )
    session.add(fitted)
    try:
        session.flush()
    except IntegrityError as error:
        if sqlstate(error) == _NO_SUCH_PARENT:
            raise SupplyPointUnknown(supply_point_id=new.supply_point_id) from error
        raise TerminalTaken(terminal_id=new.terminal_id) from error
    session.add_all(TerminalRound(terminal_id=new.terminal_id, **one.__dict__) for one in new.rounds)
    session.add(TerminalLive(terminal_id=new.terminal_id))
    session.flush()
    deed = Deed(action="terminal.registered", subject_kind="terminal", subject=new.terminal_id, after=asdict(new))
    audit.record(session, deed, at=now)
    return fitted


def pin(
    session: Session, terminal_ids: Iterable[str], own: Mapping[str, str], *, key_id: str, anchor_pem: str | None
) -> Pinned:
    """Return what new terminals are given to trust, and note it with each; for the arguments see :func:`to_pin`.

    Raises:
        KeyNotStated: the last key statement does not list the key that signs.
    """
    last = newest_statement(session)
    pinned = to_pin(
        own,
        key_id=key_id,
        anchor_pem=anchor_pem,
        serial=last.serial if last else 0,
        stated=frozenset(last.keys) if last else None,
    )
    session.execute(
        update(Terminal).where(Terminal.id.in_(list(terminal_ids))).values(keys_pinned=pinned.kept),
        execution_options={"synchronize_session": False},
    )
    return pinned


def renew_credential(session: Session, terminal_id: str, *, now: datetime) -> str:
    """Give a terminal in service a new credential; returns it. The old one ends when the broker has the new list.

    Raises:
        NoSuchTerminal: no terminal has the id.
        Retired: it stands nowhere any more.
    """
    renewed = _in_service(session, terminal_id)
    credential = secrets.token_urlsafe(32)
    before = {"revoked_at": renewed.credential_revoked_at}
    renewed.credential_hash, renewed.mosquitto_hash = _hashes(credential)
    renewed.credential_revoked_at = None
    session.flush()
    _record(session, terminal_id, "credential_renewed", before=before, after={"revoked_at": None}, now=now)
    return credential


def revoke_credential(session: Session, terminal_id: str, *, because: str, now: datetime) -> None:
    """Let nobody sign in as a terminal any more; what comes under its name is put aside, and nothing is sent to it.

    Raises:
        NoSuchTerminal: no terminal has the id.
        Retired: it stands nowhere any more.
        CredentialRevoked: it was revoked before.
    """
    # Its live row comes first, as the order of locks has it.
    live = session.get(TerminalLive, terminal_id, with_for_update=True)
    revoked = _in_service(session, terminal_id)
    if revoked.credential_revoked_at is not None:
        raise CredentialRevoked(terminal_id=terminal_id, revoked_at=revoked.credential_revoked_at)
    revoked.credential_revoked_at = now
    if live is not None:
        live.online = live.commandable = False
    session.flush()
    after = {"revoked_at": now, "because": because}
    _record(session, terminal_id, "credential_revoked", before={"revoked_at": None}, after=after, now=now)


def _in_service(session: Session, terminal_id: str) -> Terminal:
    found = terminal(session, terminal_id)
    session.refresh(found, with_for_update={"key_share": True})
    if found.retired_at is not None:
        raise Retired(terminal_id=terminal_id, retired_at=found.retired_at)
    return found


def _hashes(credential: str) -> tuple[str, str]:
    """Return what brokers keep of a credential: bcrypt, and Mosquitto's own form."""
    hashed = bcrypt.hashpw(credential.encode(), bcrypt.gensalt(rounds=_BCRYPT_ROUNDS)).decode()
    return hashed, mosquitto_hash(credential, salt=secrets.token_bytes(SALT_BYTES))


def _record(
    session: Session, terminal_id: str, action: str, *, before: dict[str, Any], after: dict[str, Any], now: datetime
) -> None:
    deed = Deed(action=f"terminal.{action}", subject_kind="terminal", subject=terminal_id, before=before, after=after)
    audit.record(session, deed, at=now)


def note_site_keys(session: Session, terminal_ids: Iterable[str], *, key_id: str) -> None:
    """Note of which secret the site keys were made that terminals are given now."""
    session.execute(update(Terminal).where(Terminal.id.in_(list(terminal_ids))).values(site_key_id=key_id))


def give_site_key(session: Session, terminal_id: str, *, key_id: str, now: datetime) -> None:
    """Note that a terminal in service is given its site key anew.

    Raises:
        NoSuchTerminal: no terminal has the id.
        Retired: it stands nowhere any more.
    """
    given = _in_service(session, terminal_id)
    before = {"site_key_id": given.site_key_id}
    given.site_key_id = key_id
    session.flush()
    _record(session, terminal_id, "site_key_given", before=before, after={"site_key_id": key_id}, now=now)


def next_version(session: Session, terminal_id: str) -> int:
    """Take the next command version under the terminal's lock."""
    return int(session.execute(_NEXT_VERSION, {"id": terminal_id}).scalar_one())


def next_order(session: Session, supply_point_id: UUID) -> Counted:
    """Take the next order number of a terminal, and with it the version of the command that carries it."""
    (counted,) = together(session, _to_next_order(supply_point_id=supply_point_id, contract_no=None))
    taken: Counted = counted
    return taken


def to_next_order(contract_no: str) -> Step[Counted]:
    """Return the step of :func:`next_order` for a sale, which knows no more than the contract yet."""
    return _to_next_order(supply_point_id=None, contract_no=contract_no)


def _to_next_order(*, supply_point_id: UUID | None, contract_no: str | None) -> Step[Counted]:
    values = {"supply_point_id": supply_point_id, "contract_no": contract_no}
    return Step(statement=_NEXT_ORDER, values=values, read=lambda rows: Counted(*rows[0]))
