"""Plays one terminal against a service, step by step, and judges what the service tells."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
from pydantic import ValidationError
from uuid_utils.compat import uuid7

from app.clock import monotonic_s, sleep
from app.conformance.known import CaseFailed, at_its_step
from app.conformance.line import Address, CannotRun, Frame, Line
from app.conformance.played_terminal import POWER_W, PlayedTerminal
from app.conformance.spans import Span
from app.conformance.stands import Desk
from app.conformance.steps import (
    Connect,
    ExpectDown,
    ExpectReceipt,
    NothingDown,
    ServiceAction,
    ServiceCase,
    ServiceStep,
    TellUp,
)
from app.mqtt import topics
from app.mqtt.messages import AckStep, ClockChallenge, Message, Receipt, Request
from app.mqtt.signing import BadSignatureError, CommandVerifier

_DOWN_MODELS: dict[str, type[Message]] = {"receipt": Receipt, "clock": ClockChallenge, "request": Request}
_OVERSIZED = b'{"filling": "' + b"x" * (topics.MAX_PAYLOAD_BYTES + 1) + b'"}'
_NONSENSE = {
    "no_json": ("report", b"\xff{ this is nothing"),
    "wrong_type": ("report", b'{"seq": "one"}'),
    "oversized": ("report", _OVERSIZED),
    "unknown_kind": ("gossip", b"{}"),
}

_TRIES = 3
_TRY_AGAIN_AFTER_S = 1.5


def verifier_from(path: Path, *, key_id: str) -> CommandVerifier:
    """Read the public key that registration has shown.

    Raises:
        CannotRun: there is none in that file.
    """
    remedy = "Give --public-key the PEM file with the public key that the terminal got at registration."
    try:
        return CommandVerifier(path.read_text(encoding="utf-8"), key_id=key_id)
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}.", remedy=remedy) from error
    except (ValueError, TypeError) as error:
        raise CannotRun(f"{path} holds no Ed25519 public key in PEM.", remedy=remedy) from error


class ServicePlayer:
    """One terminal that does what the steps say, good or bad."""

    def __init__(self, address: Address, *, terminal_id: str, verifier: CommandVerifier, desk: Desk) -> None:
        self._address = address
        self._terminal_id = terminal_id
        self._verifier = verifier
        self._desk = desk
        self._terminal = PlayedTerminal()
        self._line: Line | None = None
        self._mark = 0
        self._told_before: list[Frame] = []
        self._named: dict[str, dict[str, Any]] = {}

    @property
    def frames(self) -> list[Frame]:
        return self._told_before + ([] if self._line is None else self._line.frames)

    def play(self, case: ServiceCase) -> None:
        """Play a case from a terminal on that is not connected.

        Raises:
            CaseFailed: the service is not as the contract says.
            NotRun: nobody can do what it asks for.
            CannotRun: there is no ground to judge on.
        """
        self._told_before, self._named = [], {}
        self._terminal.begin_spool()
        try:
            with at_its_step() as at:
                for at.step, step in enumerate(case.steps, start=1):
                    self._take(step)
        finally:
            self.leave("goodbye")

    def leave(self, how: str) -> None:
        if self._line is None:
            return
        self._told_before += self._line.frames
        if how == "goodbye":
            self._line.close()
        else:
            self._line.vanish()
        self._line = None

    def _take(self, step: ServiceStep) -> None:
        acts: dict[str, Callable[[Any], None]] = {
            "connect": self._connect,
            "disconnect": self.leave,
            "tell": self._tell,
            "expect": self._expect,
            "expect_receipt": self._expect_receipt,
            "expect_nothing": self._expect_nothing,
            "service": self._act,
            "wait": lambda span: sleep(span.whole.total_seconds()),
        }
        acts[step.verb](step.said)

    # What the played terminal does.

    def _connect(self, said: Connect) -> None:
        self.leave("vanish")
        session = self._terminal.open_session()
        death = (topics.up(self._terminal_id, "death"), json.dumps({"session": session}).encode())
        self._line = self._open(death)
        if said.birth:
            self._say("birth", self._terminal.birth(first_kept=said.first_kept))
        if said.birth and said.echo:
            self._heartbeat(echo=True)
        # A restore may come before the echo, so what this connection has heard so far counts.
        self._mark = 0

    def _open(self, will: tuple[str, bytes]) -> Line:
        """Connect, once more after a while where the broker still holds the connection before."""
        listens_to = topics.all_down(self._terminal_id)
        for try_no in range(_TRIES):
            line = Line(self._address, client_id=self._terminal_id, listens_to=listens_to, will=will)
            try:
                line.open()
            except CannotRun:
                line.close()
                if try_no == _TRIES - 1:
                    raise
                sleep(_TRY_AGAIN_AFTER_S)
            else:
                return line
        raise AssertionError("unreachable: the last try returns or raises")

    def _tell(self, said: TellUp) -> None:
        if said.heartbeat is not None:
            self._heartbeat(echo=said.heartbeat == "with_echo")
        for seq in said.report:
            self._say_bytes("report", self._terminal.report(seq))
        if said.nonsense == "float":
            told = json.loads(self._terminal.report(10_000))
            self._terminal.reports.pop(10_000)
            self._say("report", {**told, "seq": 9_999, "supplied_wh": float(told["supplied_wh"])})
        elif said.nonsense is not None:
            self._say_bytes(*_NONSENSE[said.nonsense])
        if said.of_stranger:
            self._say("ack", self._terminal.ack(str(uuid7()), step=said.step))
        if said.ack is not None:
            claims = self._named[said.ack]
            if said.step is AckStep.EXECUTED:
                self._terminal.execute(claims)
            self._say("ack", self._terminal.ack(claims["id"], step=said.step))

    def _heartbeat(self, *, echo: bool) -> None:
        echoed: dict[str, Any] = {}
        if echo:
            clock = self._wait(lambda: next(iter(self._heard("clock")), None), within=Span(15, 0), what="clock")
            echoed = {"echo": clock["challenge"]}
        self._say("heartbeat", {**self._terminal.presence(), **echoed, "active_power_w": POWER_W})

    def _say(self, kind: str, members: dict[str, Any]) -> None:
        self._say_bytes(kind, json.dumps(members).encode())

    def _say_bytes(self, kind: str, payload: bytes) -> None:
        line = self._connected()
        self._mark = len(line.frames)
        line.publish(topics.up(self._terminal_id, kind), payload)

    def _act(self, action: ServiceAction) -> None:
        if self._line is not None:
            self._mark = len(self._line.frames)
        self._desk.do(action, terminal_id=self._terminal_id)

    def _connected(self) -> Line:
        if self._line is None:
            raise CannotRun("The case tells something without a connection.", remedy="Give it a connect step first.")
        return self._line

    # What it expects.

    def _heard(self, *kinds: str, since: int = 0) -> list[dict[str, Any]]:
        frames = self._connected().frames[since:]
        return [self._read(frame) for frame in frames if not frame.ours and frame.kind in kinds]

    def _read(self, frame: Frame) -> dict[str, Any]:
        if frame.qos != topics.QOS or frame.retained:
            raise CaseFailed(expected="dn messages with QoS 1, never retained", came=f"{frame.kind}, QoS {frame.qos}")
        try:
            if frame.kind == "command":
                return self._verifier.verify(frame.payload).model_dump(mode="json")
            _DOWN_MODELS[frame.kind].model_validate_json(frame.payload)
        except (BadSignatureError, ValidationError, KeyError, jwt.PyJWTError) as error:
            raise CaseFailed(expected=f"a sound dn/{frame.kind}", came=f"{error}: {frame.shown}") from error
        members: dict[str, Any] = json.loads(frame.payload)
        return members

    def _wait(self, found: Callable[[], Any], *, within: Span, what: str) -> Any:
        came = self._connected().wait_for(found, until_s=monotonic_s() + within.whole.total_seconds())
        if came is None:
            kinds = ("receipt", "clock", "request", "command")
            heard = "; ".join(
                json.dumps(one, ensure_ascii=False) for one in self._heard(*kinds, since=self._mark)[-3:]
            )
            raise CaseFailed(expected=f"{what} within {within.machine_s:g} s", came=heard or "nothing")
        return came

    def _expect(self, said: ExpectDown) -> None:
        wanted = {"want": said.want, "op": said.op, "step": said.step}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        same_id = self._named[said.same_id_as]["id"] if said.same_id_as else None

        def found() -> dict[str, Any] | None:
            for members in self._heard(said.kind, since=self._mark):
                if all(members.get(name) == value for name, value in wanted.items()):
                    return members
            return None

        members = self._wait(found, within=said.within, what=f"dn/{said.kind} {wanted or ''}")
        if same_id is not None and UUID(members["id"]) != UUID(same_id):
            raise CaseFailed(expected=f"the command {same_id} again", came=json.dumps(members))
        if said.step in {"arm", "operate"} and members["session"] != self._terminal.session:
            raise CaseFailed(expected=f"a cut for session {self._terminal.session}", came=json.dumps(members))
        if said.name is not None:
            self._named[said.name] = members

    def _expect_receipt(self, said: ExpectReceipt) -> None:
        missing = [list(span) for span in said.missing]

        def found() -> dict[str, Any] | None:
            for receipt in self._heard("receipt", since=self._mark):
                told = (receipt["spool_id"], receipt["upto"], receipt.get("missing", []))
                if told == (self._terminal.spool_id, said.upto, missing):
                    return receipt
            return None

        self._wait(found, within=said.within, what=f"receipt upto {said.upto}, missing {missing},")

    def _expect_nothing(self, said: NothingDown) -> None:
        def unwanted() -> dict[str, Any] | None:
            heard = self._heard(said.kind, since=self._mark)
            return next((one for one in heard if said.op is None or one.get("op") == said.op), None)

        until_s = monotonic_s() + said.during.whole.total_seconds()
        came = self._connected().wait_for(unwanted, until_s=until_s)
        if came is not None:
            raise CaseFailed(expected=f"no dn/{said.kind}", came=json.dumps(came))
