"""Signed commands, sound or bent on purpose."""

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.conformance.known import Known
from app.conformance.line import CannotRun
from app.conformance.spans import read as span_of
from app.conformance.stands import NotRun, Pace
from app.mqtt.signing import private_key_from_file

_SLOTS = {"warn": "warning", "configure": "config"}
_MAY_CUT = {"trip", "limit", "control", "guarantee"}
_LEFT_OUT: dict[str, dict[str, Any]] = {
    "credit": {"order_no": "next", "mode": "append", "value_wh": 0, "alarm_wh": 0, "trip_wh": 0},
    "trip": {"alarm_delay_min": 0, "limit_min": 0},
    "limit": {"alarm_delay_min": 0},
    "close": {"manner": "direct"},
    "warn": {"stage": "conformance", "text": {"zh": "一致性测试", "en": "conformance"}, "sound_hours": "0" * 24},
}
_UNFITTED = "unfitted"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The service's signing key as the terminal has pinned it."""

    private_key: Ed25519PrivateKey
    key_id: str

    @classmethod
    def from_file(cls, path: Path, *, key_id: str) -> "Keys":
        """Read a private key in PEM.

        Raises:
            CannotRun: there is none in that file.
        """
        remedy = "Give --signing-key the PEM file whose public key the terminal has pinned (`wattgate keygen`)."
        try:
            key = private_key_from_file(path)
        except OSError as error:
            raise CannotRun(f"{path}: {error.strerror}.", remedy=remedy) from error
        except (ValueError, TypeError) as error:
            raise CannotRun(f"{path} holds no Ed25519 private key without a password.", remedy=remedy) from error
        return cls(private_key=key, key_id=key_id)

    def sign(self, claims: dict[str, Any], *, how: str) -> bytes:
        """Sign claims as a case says: `properly`, or in one of the ways that must be refused."""
        stranger = Ed25519PrivateKey.generate()
        key, key_id = (stranger if how == "by_stranger" else self.private_key), self.key_id
        if how == "under_foreign_key_id":
            key_id = f"{self.key_id}-foreign"
        headers = {"kid": key_id, "typ": "lm-command+jws"}
        payload = json.dumps(claims, ensure_ascii=False).encode()
        if how == "with_alg_none":
            head = {"alg": "none", **headers}
            return b".".join((_base64(json.dumps(head).encode()), _base64(payload), b""))
        token = jwt.PyJWS(algorithms=["EdDSA"]).encode(payload, key, algorithm="EdDSA", headers=headers).encode()
        if how == "then_tampered":
            head64, _, signature = token.split(b".")
            changed = json.dumps({**claims, "reason": "tampered"}, ensure_ascii=False).encode()
            return b".".join((head64, _base64(changed), signature))
        return token


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def slot_of(op: str, args: dict[str, Any]) -> str:
    return f"round-{args['round']}" if op in {"trip", "close"} else _SLOTS.get(op, op)


def is_bound_to_session(op: str) -> bool:
    return op in _MAY_CUT


def resolved(op: str, args: dict[str, Any], *, known: Known, pace: Pace) -> dict[str, Any]:
    """Put in place of a case's words what they mean at this terminal now.

    Raises:
        NotRun: the terminal has no such round.
    """
    said = {**_LEFT_OUT.get(op, {}), **args}
    if op in {"trip", "close"}:
        said["round"] = _round(said.get("round", "first"), fitted=known.fitted)
    if said.get("order_no") in {"next", "last"}:
        known.order_no += said["order_no"] == "next"
        said["order_no"] = known.order_no
    if "leaves_wh" in said:
        said["paid_until_wh"] = known.supplied_wh + said.pop("leaves_wh")
    if "power_percent" in said:
        said["power_w"] = known.power_w * said.pop("power_percent") // 100
    if "safe_load_percent" in said:
        said["safe_load_w"] = known.power_w * said.pop("safe_load_percent") // 100
    if "until_in" in said:
        said["until"] = written(pace.now() + pace.on_clock(span_of(said.pop("until_in"))))
    if said.get("trip_order") == "as_fitted":
        said["trip_order"] = known.fitted
    return said


def _round(which: Any, *, fitted: list[int]) -> int:
    places = {"first": 0, "second": 1}
    if which == _UNFITTED:
        free = [number for number in range(1, 9) if number not in fitted]
        if not free:
            raise NotRun("every round is fitted at this terminal")
        return free[0]
    if which not in places:
        return int(which)
    if len(fitted) <= places[which]:
        raise NotRun(f"the terminal has no {which} round")
    return fitted[places[which]]


def written(moment: Any) -> str:
    return str(moment.isoformat(timespec="milliseconds")).replace("+00:00", "Z")


def a_session_of_nobody() -> str:
    return secrets.token_hex(16)
