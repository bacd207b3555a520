"""Holds what came against what a case expects; silent when it is so, and full of detail when it is not."""

import json
from typing import Any
from uuid import UUID

from app.clock import monotonic_s
from app.conformance.ear import FINAL, Ear, shown
from app.conformance.known import CaseFailed, spooled
from app.conformance.steps import Count, Expect, ExpectEvent, ExpectMessage, Nothing, Resent, StateWanted


class Judge:
    """The expectations of the vocabulary, one method each."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self.challenge = ""

    def expect(self, said: Expect) -> None:
        name = said.of or self._ear.course.last
        sent = self._ear.course.sent[name]
        expected = " ".join(filter(None, (said.answer, said.code))) + f" for {name}"
        earlier = sent.outcome

        def answers() -> list[dict[str, Any]]:
            acks = self._ear.heard("ack", since=sent.since)
            return [ack for ack in acks if ack.get("command_id") == sent.claims["id"]]

        def found() -> dict[str, Any] | None:
            for ack in answers():
                if ack["step"] == said.answer and ack.get("code") == said.code:
                    return ack
                if ack["step"] in FINAL or (ack["step"] == "armed" and said.answer == "refused"):
                    raise CaseFailed(expected=expected, came=_brief(ack))
            return None

        came = lambda: ", ".join(map(_brief, answers())) or "no answer"  # noqa: E731
        ack = self._ear.until(found, within=said.within, expected=expected, came=came)
        detail = ack.get("detail", {})
        wrong = {member: detail.get(member) for member, value in said.detail.items() if detail.get(member) != value}
        if wrong:
            raise CaseFailed(expected=f"{expected} with detail {said.detail}", came=json.dumps(detail))
        if (
            said.as_before
            and earlier is not None
            and (ack["at"], detail) != (earlier["at"], earlier.get("detail", {}))
        ):
            raise CaseFailed(expected=f"the stored outcome, {json.dumps(earlier)}", came=json.dumps(ack))

    def expect_event(self, said: ExpectEvent) -> None:
        def found() -> dict[str, Any] | None:
            events = self._ear.new_events(said.type, since=self._ear.course.acted, seen=self._ear.course.seen)
            return next((event for event in events if _holds(said.detail, event.get("detail", {}))), None)

        came = lambda: _listed(self._ear.heard("event", since=self._ear.course.acted), "no event")  # noqa: E731
        detail = f" {said.detail}" if said.detail else ""
        self._ear.until(found, within=said.within, expected=f"event {said.type}{detail}", came=came)

    def expect_message(self, said: ExpectMessage) -> None:
        since = self._ear.course.acted
        earlier = self._ear.known.session

        def fits(members: dict[str, Any]) -> bool:
            session = {"current": self._ear.known.session, "previous": self._ear.known.previous_session}
            held = said.session is None or members["session"] in {session[said.session], earlier}
            return (
                held
                and _holds(said.members, members)
                and (said.echo is None or members.get("echo") == self.challenge)
            )

        def found() -> dict[str, Any] | None:
            return next((members for members in self._ear.heard(said.kind, since=since) if fits(members)), None)

        came = lambda: _listed(self._ear.heard(said.kind, since=since), f"no {said.kind}")  # noqa: E731
        wanted = said.model_dump(mode="json", exclude_defaults=True, exclude={"within"})
        members = self._ear.until(found, within=said.within, expected=f"{said.kind} {json.dumps(wanted)}", came=came)
        self._judge(said, members, since=since)

    def _judge(self, said: ExpectMessage, members: dict[str, Any], *, since: int) -> None:
        if said.first:
            before = [frame for frame in self._ear.line.frames[since:] if not frame.ours and frame.kind != "death"]
            if before[0].kind != said.kind:
                raise CaseFailed(expected=f"{said.kind} as the first message", came=f"{before[0].kind} before it")
            if members["session"] == self._ear.known.previous_session:
                raise CaseFailed(expected="a new session with each connection", came="the one before")
        if said.new_spool and members["spool"]["id"] == self._ear.course.spool_id:
            raise CaseFailed(expected="a spool under a new id", came=json.dumps(members["spool"]))
        results = members.get("results", [])
        if said.results is not None and len(results) != said.results:
            raise CaseFailed(expected=f"{said.results} results", came=f"{len(results)} results")
        named = {UUID(result["command_id"]) for result in results}
        for name, wanted in ((said.names, True), (said.does_not_name, False)):
            if name is not None and (UUID(self._ear.course.sent[name].claims["id"]) in named) is not wanted:
                how = "with" if wanted else "without"
                raise CaseFailed(expected=f"results {how} the outcome of {name}", came=json.dumps(results))

    def expect_nothing(self, said: Nothing) -> None:
        sent = self._ear.course.sent.get(said.of or self._ear.course.last)
        since = self._ear.course.acted

        def unwanted() -> dict[str, Any] | None:
            if said.event is not None:
                return next(iter(self._ear.new_events(said.event, since=since, seen=self._ear.course.seen)), None)
            if said.kind is not None:
                return next(iter(self._ear.heard(said.kind, since=since)), None)
            command_id = sent.claims["id"] if sent else None
            acks = [ack for ack in self._ear.heard("ack", since=since) if ack.get("command_id") == command_id]
            return next((ack for ack in acks if said.answer is None or ack["step"] == said.answer), None)

        def looked() -> Any:
            self._ear.look()
            return unwanted()

        came = self._ear.line.wait_for(looked, until_s=monotonic_s() + max(self._ear.pace.real_s(said.during), 0.5))
        if came is not None:
            what = said.event or said.kind or said.answer or "answer"
            raise CaseFailed(expected=f"no {what} for {shown(said.during)}", came=json.dumps(came))

    def expect_resent(self, said: Resent) -> None:
        since, spool_id = self._ear.course.acted, self._ear.known.spool_id
        before = {
            place: frame.payload for place, frame in spooled(self._ear.line.frames[self._ear.course.began : since])
            if place[0] == spool_id
        }  # fmt: skip
        left = self._ear.course.left_out if said.what == "missing" else set()
        due = {
            place: payload for place, payload in before.items()
            if (place[1] in left) or (said.what == "all" and place[1] not in self._ear.course.receipted)
        }  # fmt: skip
        if not due:
            raise CaseFailed(expected="reports or events without a receipt", came="none, so none can come again")

        def again() -> dict[tuple[str, int], bytes]:
            return {place: frame.payload for place, frame in spooled(self._ear.line.frames[since:])}

        def found() -> bool | None:
            return True if due.keys() <= again().keys() else None

        came = lambda: f"numbers {sorted(seq for _, seq in again())}"  # noqa: E731
        numbers = sorted(seq for _, seq in due)
        self._ear.until(found, within=said.within, expected=f"numbers {numbers} again", came=came)
        for place, payload in due.items():
            if again()[place] != payload:
                raise CaseFailed(expected=payload.decode(), came=again()[place].decode())

    def state_becomes(self, said: StateWanted) -> None:
        came = lambda: json.dumps(self._ear.known.state)  # noqa: E731
        shown = lambda: self.shows(said) or None  # noqa: E731
        self._ear.until(shown, within=said.within, expected=f"state {wanted(said)}", came=came)

    def shows(self, said: StateWanted) -> bool:
        known, state = self._ear.known, self._ear.known.state
        plain = ("control_enabled", "mode", "stage", "guarantee")
        held = all(getattr(said, name) in {None, state[name]} for name in plain)
        held &= said.limited is None or said.limited is (state.get("limit_w") is not None)
        held &= said.order_no is None or state["order_no"] == (
            known.order_no if said.order_no == "last" else said.order_no
        )
        if said.paid_until is not None:
            paid_until_wh = self._ear.course.paid_until_wh
            if said.paid_until != "unchanged":
                paid_until_wh = self._ear.course.sent[said.paid_until].claims["args"]["paid_until_wh"]
            held &= state["paid_until_wh"] == paid_until_wh
        for nth, wanted in enumerate((said.first_round, said.second_round)):
            held &= wanted is None or known.position(nth) == wanted
        return held

    def count(self, said: Count) -> None:
        self._ear.look()
        seen = {place for place, _ in spooled(self._ear.line.frames[: self._ear.course.began])}
        events = self._ear.new_events(said.event, since=self._ear.course.began, seen=seen)
        if len(events) != said.times:
            raise CaseFailed(expected=f"{said.times} × event {said.event}", came=_listed(events, "none"))


def _holds(wanted: Any, came: Any) -> bool:
    """Say whether all that is wanted is there; members that nobody named may be anything."""
    if isinstance(wanted, dict) and isinstance(came, dict):
        return all(_holds(value, came.get(name)) for name, value in wanted.items())
    return bool(wanted == came)


def wanted(said: StateWanted) -> str:
    return json.dumps(said.model_dump(mode="json", exclude_none=True, exclude={"within"}))


def _brief(ack: dict[str, Any]) -> str:
    note = ack.get("detail", {}).get("note")
    return " ".join(filter(None, (ack["step"], ack.get("code"), f"({note})" if note else None)))


def _listed(found: list[dict[str, Any]], nothing: str) -> str:
    return "; ".join(json.dumps(one, ensure_ascii=False) for one in found[-3:]) or nothing
