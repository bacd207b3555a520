"""Signed commands: compact JWS with EdDSA over Ed25519, `kid` and `alg` pinned by the terminal."""

import json
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from app.mqtt.messages import CommandClaims

ALGORITHM = "EdDSA"
_JWS = jwt.PyJWS(algorithms=[ALGORITHM])


class BadSignatureError(ValueError):
    """The command is not signed by the pinned key, or is no command at all."""


class CommandSigner:
    """Signs claims with one private key under one key id."""

    def __init__(self, private_key: Ed25519PrivateKey, *, key_id: str) -> None:
        self._private_key = private_key
        self.key_id = key_id

    @classmethod
    def from_file(cls, path: Path, *, key_id: str) -> "CommandSigner":
        """Read the private key from a PEM file.

        Raises:
            TypeError: the file holds no Ed25519 private key.
        """
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"{path} must hold an Ed25519 private key; make one with `wattgate keygen`")
        return cls(key, key_id=key_id)

    def sign(self, claims: CommandClaims) -> bytes:
        payload = claims.model_dump_json(exclude_none=True).encode()
        headers = {"kid": self.key_id, "typ": "lm-command+jws"}
        return _JWS.encode(payload, self._private_key, algorithm=ALGORITHM, headers=headers).encode()

    def public_key_pem(self) -> str:
        return public_pem(self._private_key.public_key())


def new_private_key_pem() -> bytes:
    """Make a fresh Ed25519 private key in PEM."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


class CommandVerifier:
    """The terminal's side: checks a command against the one key that it was given at registration."""

    def __init__(self, public_key_pem: str, *, key_id: str) -> None:
        key = serialization.load_pem_public_key(public_key_pem.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise TypeError("the pinned key must be Ed25519")
        self._public_key = key
        self._key_id = key_id

    def verify(self, token: bytes) -> CommandClaims:
        """Return the claims of a command whose signature holds.

        Raises:
            BadSignatureError: not a JWS, another key or algorithm, a signature that fails, or unreadable claims.
        """
        try:
            verified = _JWS.decode_complete(token, self._public_key, algorithms=[ALGORITHM])
        except jwt.PyJWTError as error:
            raise BadSignatureError(str(error)) from error
        if verified["header"].get("kid") != self._key_id:
            raise BadSignatureError(f"key id {verified['header'].get('kid')!r} is not the pinned one")
        try:
            return CommandClaims.model_validate_json(verified["payload"])
        except ValidationError as error:
            raise BadSignatureError(f"signed, but no command: {error.error_count()} errors") from error


def unverified_command_id(token: bytes) -> str | None:
    """Return the id that an unverifiable command claims to have, for the refusal; trust nothing else in it."""
    try:
        unverified = _JWS.decode_complete(token, options={"verify_signature": False})
        return str(json.loads(unverified["payload"])["id"])
    except (jwt.PyJWTError, ValueError, KeyError, TypeError, RecursionError):
        return None
