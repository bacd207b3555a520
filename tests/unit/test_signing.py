"""A terminal obeys one key; whatever else arrives is refused and never breaks it."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from app.mqtt.messages import CommandClaims, Step
from app.mqtt.signing import (
    BadSignatureError,
    CommandSigner,
    CommandVerifier,
    new_private_key_pem,
    public_pem,
    unverified_command_id,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = CommandSigner(KEY, key_id="wattgate-1")
VERIFIER = CommandVerifier(SIGNER.public_key_pem(), key_id="wattgate-1")
CLAIMS = CommandClaims(
    id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    terminal_id="SH-0001",
    op="trip",
    args={"round": 2, "alarm_delay_min": 0},
    slot="round-2",
    version=5,
    step=Step.OPERATE,
    issued_at=datetime(2026, 1, 31, 8, tzinfo=UTC),
    expires_at=datetime(2026, 1, 31, 8, 1, tzinfo=UTC),
    session="0123456789abcdef" * 2,
    nonce="n",
    reason="停电",
)
TOKEN = SIGNER.sign(CLAIMS)
DEEP = b"[" * 6000


def part(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def token_of(header: bytes, payload: bytes, signature: bytes = b"x" * 64) -> bytes:
    return b".".join(part(one) for one in (header, payload, signature))


def signed(payload: bytes, *, key: Ed25519PrivateKey = KEY, **headers: str) -> bytes:
    jws = jwt.PyJWS(algorithms=["EdDSA"])
    return jws.encode(payload, key, algorithm="EdDSA", headers={"kid": "wattgate-1", **headers}).encode()


def refused_id(token: bytes) -> str | None:
    """Return the id in the refusal of a token that must be refused."""
    with pytest.raises(BadSignatureError):
        VERIFIER.verify(token)
    return unverified_command_id(token)


def test_a_signed_command_is_read_as_it_was_meant() -> None:
    assert VERIFIER.verify(TOKEN) == CLAIMS


def test_a_command_names_its_key_and_its_kind() -> None:
    assert jwt.get_unverified_header(TOKEN) == {"alg": "EdDSA", "kid": "wattgate-1", "typ": "lm-command+jws"}


def test_a_signer_reads_its_key_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    path.write_bytes(new_private_key_pem())
    signer = CommandSigner.from_file(path, key_id="k2")
    assert signer.key_id == "k2"
    assert CommandVerifier(signer.public_key_pem(), key_id="k2").verify(signer.sign(CLAIMS)) == CLAIMS
    with pytest.raises(BadSignatureError, match="Signature verification failed"):
        CommandVerifier(SIGNER.public_key_pem(), key_id="k2").verify(signer.sign(CLAIMS))


def test_every_new_key_is_another() -> None:
    assert new_private_key_pem() != new_private_key_pem()


def test_a_key_of_another_make_is_refused_on_both_sides(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    path = tmp_path / "other.pem"
    path.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(TypeError, match="wattgate keygen"):
        CommandSigner.from_file(path, key_id="k")
    pem = other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TypeError, match="must be Ed25519"):
        CommandVerifier(pem.decode(), key_id="k")


def test_a_public_key_is_written_as_pem() -> None:
    assert public_pem(KEY.public_key()) == SIGNER.public_key_pem()
    assert SIGNER.public_key_pem().startswith("-----BEGIN PUBLIC KEY-----\n")


def test_a_command_under_another_key_id_is_refused_and_its_id_told() -> None:
    token = CommandSigner(KEY, key_id="wattgate-2").sign(CLAIMS)
    with pytest.raises(BadSignatureError, match="'wattgate-2' is not trusted"):
        VERIFIER.verify(token)
    assert unverified_command_id(token) == str(CLAIMS.id)


@pytest.mark.parametrize(
    "token",
    [
        jwt.encode({"id": "x"}, "a shared secret, long enough to sign with", "HS256", headers={"kid": "wattgate-1"}),
        jwt.encode({"id": "x"}, SIGNER.public_key_pem()[:1] * 32, "HS256", headers={"kid": "wattgate-1"}),
        jwt.encode({"id": "x"}, "", "none", headers={"kid": "wattgate-1"}),
    ],
    ids=["shared secret", "guessed secret", "unsigned"],
)
def test_another_algorithm_is_refused(token: str) -> None:
    with pytest.raises(BadSignatureError, match="alg"):
        VERIFIER.verify(token.encode())


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 255))
def test_a_command_that_was_tampered_with_is_never_obeyed_as_another(at: int, change: int) -> None:
    garbled = TOKEN[:at] + bytes([TOKEN[at] ^ change]) + TOKEN[at + 1 :]
    try:
        claims = VERIFIER.verify(garbled)
    except BadSignatureError:
        return
    assert claims == CLAIMS  # some bits of the last character of a part carry nothing


@given(st.binary(max_size=300))
@example(b"")
@example(b"..")
@example(b"\xff.\xfe.\xfd")
@example(b"a.b.c.d")
def test_any_bytes_are_refused(token: bytes) -> None:
    assert refused_id(token) is None


@pytest.mark.parametrize(
    "header",
    [b"7", b"[]", b"{", b"\xff", b'{"alg":"EdDSA","kid":7}', b'{"alg":["EdDSA"]}', b'{"alg":{}}', b"9" * 5000, DEEP],
    ids=lambda header: repr(header[:24]),
)
def test_any_header_is_refused(header: bytes) -> None:
    assert refused_id(token_of(header, b"{}")) is None


@pytest.mark.parametrize(
    "payload",
    [b"", b"7", b"[]", b"null", b'"id"', b"{}", b'{"id":', b"\xff", b'{"id":' + b"9" * 5000 + b"}", DEEP],
    ids=lambda payload: repr(payload[:24]),
)
def test_a_payload_that_names_no_command_is_refused_whether_signed_or_not(payload: bytes) -> None:
    assert refused_id(token_of(b'{"alg":"EdDSA","kid":"wattgate-1"}', payload)) is None
    assert refused_id(signed(payload)) is None


def test_signed_claims_that_are_no_command_are_refused_and_the_id_told() -> None:
    claims = json.loads(CLAIMS.model_dump_json()) | {"version": 0}
    with pytest.raises(BadSignatureError, match="signed, but no command: 1 errors"):
        VERIFIER.verify(signed(json.dumps(claims).encode()))
    assert refused_id(signed(b'{"id":"c-1"}')) == "c-1"
