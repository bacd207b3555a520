"""Signed commands: compact JWS with EdDSA over Ed25519, `kid` and `alg` pinned by the terminal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from app.mqtt.messages import CommandClaims

ALGORITHM = "EdDSA"
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])


class BadSignatureError(ValueError):
    """The command is not signed by a trusted key, or is no command at all."""


class CommandSigner:
    """Signs claims with one private key under one key id."""

    def __init__(self, private_key: Ed25519PrivateKey, *, key_id: str) -> None:
        self._private_key = private_key
        self.key_id = key_id

    @classmethod
    def from_file(cls, path: Path, *, key_id: str) -> "CommandSigner":
        """Read the private key from a PEM file; raises as :func:`private_key_from_file` does."""
        return cls(private_key_from_file(path), key_id=key_id)

    def sign(self, claims: CommandClaims) -> bytes:
        payload = claims.model_dump_json(exclude_none=True).encode()
        headers = {"kid": self.key_id, "typ": "lm-command+jws"}
        return _JWS.encode(payload, self._private_key, algorithm=ALGORITHM, headers=headers).encode()

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self._private_key.public_key()

    def public_key_pem(self) -> str:
        return public_pem(self.public_key)


def new_private_key_pem() -> bytes:
    """Make a fresh Ed25519 private key in PEM."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def private_key_from_file(path: Path) -> Ed25519PrivateKey:
    """Read a private key in PEM.

    Raises:
        TypeError: the file holds a key of another kind, or one under a password.
        ValueError: it holds no private key.
    """
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"{path} must hold an Ed25519 private key; make one with `wattgate keygen`")
    return key


def public_pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def public_key_of(pem: str) -> Ed25519PublicKey:
    """Read a public key in PEM.

    Raises:
        TypeError: a key of another kind.
        ValueError: no key.
    """
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("the public key must be Ed25519")
    return key


class Verified(NamedTuple):
    """The claims of a command whose signature holds, and the id of the key that signed it."""

    claims: CommandClaims
    key_id: str


def verified(token: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Verified:
    """Check a command against the keys that are trusted, by their ids.

    Raises:
        BadSignatureError: not a JWS, another key or algorithm, a signature that fails, or unreadable claims.
    """
    try:
        key_id = str(_JWS.get_unverified_header(token).get("kid"))
        if key_id not in keys:
            raise BadSignatureError(f"key id {key_id!r} is not trusted")
        payload = _JWS.decode_complete(token, keys[key_id], algorithms=[ALGORITHM])["payload"]
    except jwt.PyJWTError as error:
        raise BadSignatureError(str(error)) from error
    try:
        return Verified(CommandClaims.model_validate_json(payload), key_id)
    except ValidationError as error:
        raise BadSignatureError(f"signed, but no command: {error.error_count()} errors") from error


class CommandVerifier:
    """Checks commands against one key, as a terminal does that was never given another."""

    def __init__(self, public_key_pem: str, *, key_id: str) -> None:
        self._keys = {key_id: public_key_of(public_key_pem)}

    def verify(self, token: bytes) -> CommandClaims:
        """Return the claims of a command; raises as :func:`verified` does."""
        return verified(token, self._keys).claims


def unverified(token: bytes) -> dict[str, Any]:
    """Return what a token claims to be, to be trusted in nothing; empty where it cannot be read."""
    try:
        claimed = json.loads(_JWS.decode_complete(token, options={"verify_signature": False})["payload"])
    except (jwt.PyJWTError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return claimed if isinstance(claimed, dict) else {}


def unverified_command_id(token: bytes) -> str | None:
    """Return the id that an unverifiable command claims to have, for the refusal; trust nothing else in it."""
    claimed = unverified(token)
    return str(claimed["id"]) if "id" in claimed else None
