"""Which keys may sign commands: statements of an anchor that is kept off line, and the keys that a service has."""

import base64
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, StringConstraints, ValidationError

from app.mqtt.signing import ALGORITHM, CommandSigner, private_key_from_file, public_key_of, public_pem
from app.mqtt.values import KeyId, Message, Moment

STATEMENT_TYPE = "lm-keys+jws"
KEYS_AT_MOST = 8
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])


class BadStatementError(ValueError):
    """The text is no key statement of this anchor."""


class ListedKey(Message):
    kid: KeyId
    public_key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")] = Field(
        description="the 32 bytes of the Ed25519 key in base64url without padding, as `x` of a JWK (RFC 8037)"
    )


class KeyStatement(Message):
    """The whole list of keys that may sign commands; what is not in it is trusted no more."""

    serial: Annotated[int, Field(ge=1, le=2**62)] = Field(description="a statement replaces those of lower serials")
    issued_at: Moment = Field(description="for people; no terminal judges by it")
    keys: list[ListedKey] = Field(min_length=1, max_length=KEYS_AT_MOST)

    @property
    def by_id(self) -> dict[str, Ed25519PublicKey]:
        return {one.kid: listed_key(one.public_key) for one in self.keys}


def listed(key: Ed25519PublicKey) -> str:
    """Write a public key as statements list it."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def listed_key(public_key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(public_key + "="))


def sign_statement(statement: KeyStatement, anchor: Ed25519PrivateKey) -> str:
    headers = {"typ": STATEMENT_TYPE}
    return _JWS.encode(statement.model_dump_json().encode(), anchor, algorithm=ALGORITHM, headers=headers)


def read_statement(text: str, anchor: Ed25519PublicKey) -> KeyStatement:
    """Return what an anchor states.

    Raises:
        BadStatementError: no token of this kind, another signature, a key listed twice, or the anchor itself listed.
    """
    try:
        token = _JWS.decode_complete(text, anchor, algorithms=[ALGORITHM])
        if token["header"].get("typ") != STATEMENT_TYPE:
            raise BadStatementError(f"its type is not {STATEMENT_TYPE}")
        statement = KeyStatement.model_validate_json(token["payload"])
        kids, keys = {one.kid for one in statement.keys}, {one.public_key for one in statement.keys}
        if len(kids) != len(statement.keys) or len(keys) != len(statement.keys):
            raise BadStatementError("a key or a key id is listed twice")
        if listed(anchor) in keys:
            raise BadStatementError("the anchor is listed; it signs statements only")
    except (jwt.PyJWTError, ValidationError, RecursionError) as error:
        raise BadStatementError(f"not signed by the anchor, or no key statement: {type(error).__name__}") from error
    return statement


def statement_text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def public_from_file(path: Path) -> Ed25519PublicKey:
    """Read a public key from a PEM file of its own, or the public half of a private one.

    Raises:
        TypeError, ValueError: the file holds neither.
    """
    content = path.read_text(encoding="ascii")
    if "PRIVATE KEY" in content:
        return private_key_from_file(path).public_key()
    return public_key_of(content)


@dataclass(frozen=True)
class ServiceKeys:
    """The keys that sign: the current one, during a change the one before, and the anchor's public half."""

    current: CommandSigner
    previous: CommandSigner | None = None
    anchor: Ed25519PublicKey | None = None

    @cached_property
    def public(self) -> dict[str, str]:
        """The public halves as statements list them, by their ids."""
        own = [self.current] + ([self.previous] if self.previous else [])
        return {one.key_id: listed(one.public_key) for one in own}

    @property
    def public_pems(self) -> dict[str, str]:
        return {key_id: public_pem(listed_key(key)) for key_id, key in self.public.items()}

    @property
    def anchor_pem(self) -> str | None:
        return public_pem(self.anchor) if self.anchor else None

    def signer_for(self, kids: list[str] | None) -> CommandSigner:
        """Return the key to sign with for a terminal that trusts ``kids``: the current one if it can be.

        A terminal of which nothing is known was registered by an earlier version, so with the key that is now the
        previous one. Where neither is trusted it is the current one: a terminal takes `keys` from a key that the
        statement lists, and refuses the rest until it has.
        """
        if self.previous is None or (kids is not None and self.current.key_id in kids):
            return self.current
        return self.previous if kids is None or self.previous.key_id in kids else self.current


def keys_from_files(
    current: tuple[Path, str], previous: tuple[Path, str] | None = None, anchor: Path | None = None
) -> ServiceKeys:
    """Read the keys of a service, each from a file with its id.

    Raises:
        OSError, TypeError, ValueError: a file cannot be read or holds another kind of key.
    """
    return ServiceKeys(
        CommandSigner.from_file(current[0], key_id=current[1]),
        CommandSigner.from_file(previous[0], key_id=previous[1]) if previous else None,
        public_from_file(anchor) if anchor else None,
    )
