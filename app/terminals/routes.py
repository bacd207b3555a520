"""HTTP in: terminals are registered and looked at."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy.orm import Session

from app.errors import Refused
from app.http.paging import Page, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.transaction import AppSettings, Db, Now
from app.mqtt.keys import ServiceKeys, keys_from_files
from app.mqtt.site_codes import SiteSecret, key_text
from app.roles import Role
from app.settings import Settings
from app.terminals import queries, service
from app.terminals.rules import Pinned
from app.terminals.schemas import (
    CredentialGiven,
    Revoke,
    SiteKeyGiven,
    TerminalRegistered,
    TerminalShown,
    TerminalToRegister,
    TerminalWholeShown,
)

TerminalId = Annotated[str, Path(pattern=r"^[^\x00]*$", max_length=100, examples=["SH-PD-0001"])]

router = APIRouter(prefix="/terminals", tags=["terminals"])


class SigningKeyMissing(Refused):
    """A terminal pins the service's public key at registration, so there is no registering without one."""

    title = "The service has no signing key"


class SiteSecretMissing(Refused):
    """Without it no keypad key can be made, and no code."""

    title = "The service has no secret for site codes"


@router.post(
    "",
    summary="Register a terminal",
    status_code=201,
    dependencies=[allow(Role.ADMINISTRATOR, Role.OPERATOR)],
)
def register_terminal(wanted: TerminalToRegister, session: Db, now: Now, settings: AppSettings) -> TerminalRegistered:
    """The answer holds the credential in clear, once; write it into the terminal together with the public keys."""
    keys = keys_of(settings)
    credential = service.register(session, wanted.to_register(), now=now)
    pinned = pin(session, [wanted.terminal_id], keys)
    site_keys = site_keys_for(session, [wanted.terminal_id], site_secret_of(settings))
    return TerminalRegistered.of(
        wanted.terminal_id, credential=credential, pinned=pinned, site_key=site_keys.get(wanted.terminal_id)
    )


@router.get("", summary="List terminals", dependencies=[signed_in()])
def list_terminals(
    session: Db,
    paging: Paging,
    *,
    online: Annotated[bool | None, Query(description="only those that are, or are not, online")] = None,
) -> Page[TerminalShown]:
    """Terminals in the order of their ids, retired ones included."""
    rows = queries.list_terminals(session, online=online, limit=paging.rows_wanted, after=paging.after)
    return page_of(rows, request=paging, key=lambda row: row.terminal.id, show=TerminalShown.of)


@router.get("/{terminal_id}", summary="A terminal, its rounds and what it last told", dependencies=[signed_in()])
def read_terminal(terminal_id: TerminalId, session: Db) -> TerminalWholeShown:
    seen = queries.terminal_seen(session, terminal_id)
    rounds = queries.rounds_of(session, [terminal_id])[terminal_id]
    return TerminalWholeShown.whole(seen.terminal, seen.live, rounds)


@router.post(
    "/{terminal_id}/site-key",
    summary="Show the key of a terminal's keypad",
    dependencies=[allow(Role.ADMINISTRATOR, Role.OPERATOR)],
)
def give_site_key(terminal_id: TerminalId, session: Db, now: Now, settings: AppSettings) -> SiteKeyGiven:
    """For a terminal that was registered without one, or when the service's secret has changed; write it into it."""
    secret = site_secret_of(settings)
    if secret is None:
        raise SiteSecretMissing(
            "the service has no secret to make site keys of",
            remedy="ask the people who run the service to make one with `openssl rand -hex 32` and to name its file "
            "in WATTGATE_SITE_SECRET_FILE",
        )
    service.give_site_key(session, terminal_id, key_id=secret.id, now=now)
    return SiteKeyGiven(terminal_id=terminal_id, site_key=key_text(secret.key_of(terminal_id)))


@router.post(
    "/{terminal_id}/credential",
    summary="Give a terminal a new credential",
    dependencies=[allow(Role.ADMINISTRATOR, Role.OPERATOR)],
)
def renew_credential(terminal_id: TerminalId, session: Db, now: Now) -> CredentialGiven:
    """Write it into the terminal, and the broker's list anew (`wattgate broker-users`); then the old one ends."""
    return CredentialGiven(
        terminal_id=terminal_id, credential=service.renew_credential(session, terminal_id, now=now)
    )


@router.post(
    "/{terminal_id}/credential/revoke",
    summary="Revoke a terminal's credential",
    dependencies=[allow(Role.ADMINISTRATOR, Role.OPERATOR)],
)
def revoke_credential(terminal_id: TerminalId, wanted: Revoke, session: Db, now: Now) -> TerminalWholeShown:
    """From now on what comes under its name is put aside, and nothing is sent to it; write the broker's list anew."""
    service.revoke_credential(session, terminal_id, because=wanted.reason, now=now)
    return read_terminal(terminal_id, session)


def site_secret_of(settings: Settings) -> SiteSecret | None:
    """Read what site keys are made of; None where no site codes are given here.

    Raises:
        SiteSecretMissing: the file cannot be read.
    """
    if settings.site_secret_file is None:
        return None
    try:
        return SiteSecret.from_file(settings.site_secret_file)
    except (OSError, ValueError) as error:
        raise SiteSecretMissing(
            "the secret that site keys are made of cannot be read",
            remedy="ask the people who run the service to look at the file that WATTGATE_SITE_SECRET_FILE names: it "
            "holds 64 hexadecimal digits",
        ) from error


def site_keys_for(session: Session, terminal_ids: Iterable[str], secret: SiteSecret | None) -> dict[str, str]:
    """Return the site keys that new terminals are given, and note of which secret they are made."""
    if secret is None:
        return {}
    keys = {terminal_id: key_text(secret.key_of(terminal_id)) for terminal_id in terminal_ids}
    service.note_site_keys(session, keys, key_id=secret.id)
    return keys


def keys_of(settings: Settings) -> ServiceKeys:
    """Read the keys whose public halves terminals are given.

    Raises:
        SigningKeyMissing: a file cannot be read.
    """
    previous_file, previous_id = settings.previous_signing_key_file, settings.previous_signing_key_id
    try:
        return keys_from_files(
            (settings.signing_key_file, settings.signing_key_id),
            (previous_file, previous_id) if previous_file and previous_id else None,
            settings.anchor_public_key_file,
        )
    except (OSError, TypeError, ValueError) as error:
        raise SigningKeyMissing(
            "a key that signs commands cannot be read, so the terminal would have nothing to trust",
            remedy="ask the people who run the service to make one with `wattgate keygen` and to name its file in "
            "WATTGATE_SIGNING_KEY_FILE; where they are set, WATTGATE_PREVIOUS_SIGNING_KEY_FILE and "
            "WATTGATE_ANCHOR_PUBLIC_KEY_FILE must be readable, too",
        ) from error


def pin(session: Session, terminal_ids: Iterable[str], keys: ServiceKeys) -> Pinned:
    """Choose and note what new terminals trust, see :func:`app.terminals.service.pin`."""
    return service.pin(
        session, terminal_ids, keys.public_pems, key_id=keys.current.key_id, anchor_pem=keys.anchor_pem
    )
