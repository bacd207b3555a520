"""Plays the service against one terminal, step by step."""

import json
from collections.abc import Callable
from typing import Any

from uuid_utils.compat import uuid7

from app.clock import monotonic_s, sleep
from app.conformance import tokens
from app.conformance.ear import Ear, Sent
from app.conformance.judge import Judge, wanted
from app.conformance.known import CaseFailed, at_its_step
from app.conformance.line import CannotRun, Frame, Line
from app.conformance.spans import Span
from app.conformance.stands import NotRun, Stand
from app.conformance.steps import (
    PATIENCE,
    Device,
    Expect,
    ExpectMessage,
    Send,
    StateWanted,
    Tell,
    TerminalCase,
    TerminalStep,
    TypeCode,
)
from app.conformance.tokens import Keys, written
from app.mqtt import topics
from app.mqtt.messages import AckStep, Step
from app.mqtt.site_codes import SiteCode

#: A terminal that was thrown off may wait for a minute before it comes back.
_BACK_WITHIN = Span(90, 0)


class TerminalPlayer:
    """Holds one line to one terminal; cases are played one after the other."""

    def __init__(self, line: Line, *, terminal_id: str, keys: Keys, stand: Stand) -> None:
        self._line = line
        self._terminal_id = terminal_id
        self._keys = keys
        self._stand = stand
        self._pace = stand.pace
        self._ear = Ear(line, pace=stand.pace)
        self._judge = Judge(self._ear)
        self._known = self._ear.known
        self._acts: dict[str, Callable[[Any], None]] = {
            "send": self._send,
            "cut": self._cut,
            "type_code": self._type_code,
            "tell": self._tell,
            "device": self._device,
            "wait": self._wait,
            "state_is": self._state_is,
            "state_becomes": self._judge.state_becomes,
            "expect": self._judge.expect,
            "expect_event": self._judge.expect_event,
            "expect_message": self._judge.expect_message,
            "expect_nothing": self._judge.expect_nothing,
            "expect_resent": self._judge.expect_resent,
            "count": self._judge.count,
        }

    @property
    def frames(self) -> list[Frame]:
        """What went to and fro in the present case."""
        return self._ear.frames

    def meet(self) -> None:
        """Wait for a birth, without which nothing is known of the terminal.

        Raises:
            CannotRun: none comes.
        """

        def session() -> str | None:
            self._ear.look()
            return self._known.session

        until_s = monotonic_s() + self._pace.patience_s(_BACK_WITHIN)
        if self._line.wait_for(session, until_s=until_s) is None:
            raise CannotRun(
                f"{self._terminal_id} was not born within {_BACK_WITHIN.machine_s:.0f} s.",
                remedy="Let the terminal connect anew to this broker after the kit has started.",
            )

    def play(self, case: TerminalCase) -> None:
        """Play a case from a quiet terminal on.

        Raises:
            CaseFailed: the terminal is not as the contract says.
            NotRun: the case says nothing about this terminal, or nobody can do what it asks for.
            CannotRun: there is no ground to judge on.
        """
        self._ear.begin()
        self._calm()
        self._ear.begin()
        self._meets_needs(case)
        try:
            with at_its_step() as at:
                for at.step, step in enumerate(case.steps, start=1):
                    self._acts[step.verb](step.said)
                self._ear.look()
        finally:
            self._take_back_retained()

    def _meets_needs(self, case: TerminalCase) -> None:
        rounds = len(self._known.fitted)
        for need in case.needs:
            if (need == "one_round" and rounds < 1) or (need == "two_rounds" and rounds < 2):  # noqa: PLR2004
                raise NotRun(f"it needs {need.replace('_', ' ')}, and the terminal has {rounds}")
            if need == "load" and self._known.power_w <= 0:
                raise NotRun("it needs a load, and the terminal measures none")
            if need == "keypad":
                self._keys.code(SiteCode(order_no=1, paid_until_wh=0), bent="no")

    def _calm(self) -> None:
        """Bring the terminal to where every case begins: told the time, remote, nothing limited or tripped."""
        self._tell(Tell(clock="now"))
        self._judge.expect_message(ExpectMessage(kind="heartbeat", echo="last"))
        self._tell(Tell.model_validate({"receipt": {}}))
        state = self._known.state
        quiet: list[tuple[bool, dict[str, Any]]] = [
            (state["control_enabled"] or state["mode"] == "local", _order("control", enabled=False, mode="remote")),
            (state.get("limit_w") is not None, _order("limit", power_w=None)),
            (state["guarantee"] != "off", {"cut": {"op": "guarantee", "args": {"on": False}}}),
            *((state["rounds"][number - 1] == "0", _order("close", round=number)) for number in self._known.fitted),
            (state["stage"] == "alarm", _order("warn", stage="none")),
        ]
        for due, written_step in quiet:
            if due:
                step = TerminalStep.model_validate(written_step)
                self._acts[step.verb](step.said)
                self._judge.expect(Expect(answer=AckStep.EXECUTED))

    def _send(self, said: Send) -> None:
        for number in range(said.times):
            if number:
                self._judge.expect(Expect(answer=AckStep.EXECUTED))
            self._send_once(said)

    def _send_once(self, said: Send) -> None:
        self._ear.act()
        course = self._ear.course
        claims = self._claims(said)
        before = course.sent.get(said.again or "")
        name = said.again or said.name or said.op
        course.sent[name] = Sent(
            claims=claims,
            since=course.acted,
            nonce=before.nonce if before else None,
            outcome=before.outcome if before else None,
        )
        course.last = name
        token = self._keys.sign(claims, how=said.signed)
        shown = f"signed {said.signed}: {json.dumps(claims, ensure_ascii=False)}"
        topic = topics.down(self._terminal_id, "command")
        if said.retained:
            self._retain(topic, token)
        else:
            self._line.publish(topic, token, shown=shown)

    def _retain(self, topic: str, payload: bytes) -> None:
        """Have the broker keep a message, over a line of its own: a broker that keeps none ends it."""
        line = Line(
            self._line.address, client_id=f"retain-{self._terminal_id}", listens_to=topics.all_up(self._terminal_id)
        )
        line.open()
        try:
            line.publish(topic, payload, retained=True)
            self._ear.course.retained = bool(payload)
        except CannotRun as refusal:
            raise NotRun(f"the broker keeps no retained message, so none can reach the terminal: {refusal}") from None
        finally:
            line.close()

    def _take_back_retained(self) -> None:
        if self._ear.course.retained:
            self._retain(topics.down(self._terminal_id, "command"), b"")

    def _claims(self, said: Send) -> dict[str, Any]:
        known, now = self._known, self._pace.now()
        earlier = self._ear.course.sent[said.again].claims if said.again else {}
        op = said.op or earlier["op"]
        args = earlier.get("args", {}) if said.again and not said.args else said.args
        args = {**earlier.get("args", {}), **tokens.resolved(op, args, known=known, pace=self._pace)}
        known.version += said.version == "next" and not said.again
        version = {"next": known.version, "last": known.version, "old": 1}[said.version]
        claims: dict[str, Any] = {
            "id": earlier.get("id") or str(uuid7()),
            "terminal_id": self._terminal_id if said.terminal == "this" else "ANOTHER-TERMINAL",
            "op": op,
            "args": args,
            "slot": said.slot or tokens.slot_of(op, args),
            "version": earlier.get("version", version),
            "step": said.step,
            "issued_at": written(now),
            "expires_at": written(now + self._pace.on_clock(said.expires_in)),
            "reason": "conformance",
        }
        if said.step is not Step.DO or tokens.is_bound_to_session(op):
            claims |= self._binding(said)
        if said.step is Step.OPERATE and said.nonce != "none":
            given = self._ear.course.sent[said.again].nonce if said.again else None
            claims["nonce"] = given if said.nonce == "given" and given else "0000000000000000"
        if said.codes_upto is not None:
            claims["last_order_no"] = known.order_no + (said.codes_upto == "next")
        if said.unknown_members:
            claims |= {"unheard_of": {"deep": [1, 2]}, "args": {**args, "unheard_of": "too"}}
        return claims

    def _binding(self, said: Send) -> dict[str, Any]:
        session = {
            "current": self._known.session,
            "previous": self._known.previous_session,
            "other": tokens.a_session_of_nobody(),
        }.get(said.session)
        uptime_s = {"ample": self._known.uptime_s + 3600, "past": 0}.get(said.uptime)
        bound = {"session": session, "max_uptime_s": uptime_s}
        return {name: value for name, value in bound.items() if value is not None}

    def _cut(self, said: Send) -> None:
        self._send(said.model_copy(update={"step": Step.ARM}))
        self._judge.expect(Expect(answer=AckStep.ARMED))
        self._send(Send(again=self._ear.course.last, step=Step.OPERATE, codes_upto=said.codes_upto))
        self._judge.expect(Expect(answer=AckStep.EXECUTED))

    def _type_code(self, said: TypeCode) -> None:
        self._ear.act()
        course, state = self._ear.course, self._known.state
        name = said.again or said.name or "code"
        if not said.again:
            code = SiteCode(
                order_no=self._known.order_no + 1,
                paid_until_wh=state["paid_until_wh"] + said.more_wh,
                release_rounds=said.release,
                lift_limit=said.lift,
            )
            course.digits[name] = self._keys.code(code, bent=said.bent)
            args = {"order_no": code.order_no, "paid_until_wh": code.paid_until_wh}
            course.sent[name] = Sent(claims={"id": name, "args": args}, since=course.acted)
        for _ in range(said.times):
            self._stand.type_code(course.digits[name])

    def _tell(self, said: Tell) -> None:
        self._ear.act()
        if said.clock is not None:
            self._judge.challenge = tokens.a_session_of_nobody()[:16]
            at = written(self._pace.now()) if said.clock == "now" else "1970-01-01T00:00:00.000Z"
            self._down("clock", {"at": at, "challenge": self._judge.challenge})
        if said.request is not None:
            self._down("request", {"want": said.request})
        if said.receipt is not None:
            last = self._known.last_seq
            left = {"none": 0, "newest": 1, "two_newest": 2}[said.receipt.missing]
            missing = [[last - left + 1, last]] if left else []
            self._ear.course.left_out = set(range(last - left + 1, last + 1))
            self._ear.course.receipted |= set(range(1, last - left + 1))
            if self._known.spool_id:
                self._down("receipt", {"spool_id": self._known.spool_id, "upto": last, "missing": missing})

    def _down(self, kind: str, members: dict[str, Any]) -> None:
        self._line.publish(topics.down(self._terminal_id, kind), json.dumps(members).encode())

    def _device(self, said: Device) -> None:
        self._ear.act()
        self._stand.do(said.action, seconds=said.seconds)

    def _wait(self, span: Span) -> None:
        sleep(self._pace.real_s(span))

    def _state_is(self, said: StateWanted) -> None:
        self._tell(Tell(request="state"))
        since = self._ear.course.acted
        self._ear.until(
            lambda: self._ear.heard("heartbeat", since=since) or None,
            within=PATIENCE,
            expected="a heartbeat when the state is asked for",
            came=lambda: "no heartbeat",
        )
        if not self._judge.shows(said):
            raise CaseFailed(expected=f"state {wanted(said)}", came=json.dumps(self._known.state))


def _order(op: str, **args: Any) -> dict[str, Any]:
    return {"send": {"op": op, "args": args}}
