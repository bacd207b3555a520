"""Sends due commands: claim in one short transaction, publish outside any, record in another."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import structlog
from sqlalchemy import Engine, and_, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.clock import Clock, monotonic_s
from app.commands import books, queries, service
from app.commands.models import Command, CommandStep
from app.commands.rules import (
    ANSWER_WITHIN_S,
    ARM_VALID_S,
    CUT_VALID_S,
    OPEN,
    RECALLABLE,
    CommandClass,
    CommandState,
    Op,
    next_try_s,
)
from app.database import in_transaction
from app.mqtt import topics
from app.mqtt.keys import ServiceKeys
from app.mqtt.messages import CommandClaims, Step
from app.mqtt.signing import CommandSigner
from app.terminals.models import Terminal, TerminalLive
from app.terminals.queries import kids_trusted

log = structlog.get_logger()

_AT_ONCE = 500
_BROKER_TAKES_WITHIN_S = 2.0
#: A step that was claimed longer ago is not published: we were asleep, and another may have claimed it since.
_PUBLISHED_WITHIN_S = 5.0
_HELD_AGAIN_S = 30
#: What gives supply back waits no longer than this for commands that are claimed one by one.
_RESTORES_WAIT_S = 1.0
#: A further try waits this long at most for answers that have come and are not recorded yet.
_ANSWERS_WAITED_FOR_S = 10.0
_SENDABLE = sorted(OPEN - {CommandState.OPERATING, CommandState.DELAYING})


class Publication(Protocol):
    def taken(self, *, within_s: float) -> bool:
        """Tell whether the broker has taken the message."""


Publish = Callable[[str, bytes], Publication]
#: Names what forbids a cut, or a credit that lowers, now and with the supply point locked: reasons with ``code``,
#: ``zh`` and ``en``; empty when nothing does.
ReasonsAgainst = Callable[[Session, Command, datetime], list[dict[str, Any]]]
#: Has control decide anew about supply points whose cut came to nothing.
LookAgain = Callable[[Session, list[UUID], datetime], None]


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A signed step, ready to be published."""

    command_id: UUID
    terminal_id: str
    step: Step
    token: bytes


class _Claimed(NamedTuple):
    """What is needed of a command to sign it."""

    id: UUID
    terminal_id: str
    op: str
    args: dict[str, Any]
    slot: str
    version: int
    stage: str | None
    reason: str
    attempts: int

    @classmethod
    def columns(cls) -> list[InstrumentedAttribute[Any]]:
        return [getattr(Command, name) for name in cls._fields]


class Dispatcher:
    """Sends what is due, in rounds. Several may run side by side: each command is claimed by one."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        signer: CommandSigner,
        publish: Publish,
        reasons_against: ReasonsAgainst,
        look_again: LookAgain = lambda _session, _supply_point_ids, _now: None,
        previous_signer: CommandSigner | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._keys = ServiceKeys(signer, previous_signer)
        self._publish = publish
        self._reasons_against = reasons_against
        self._look_again = look_again
        self._random = random.SystemRandom()

    def give_up(self) -> None:
        """End what nobody answers; to be called while the broker is away as well."""
        in_transaction(self._engine, self._give_up)

    def run_once(self, *, unread_s: float = 0.0) -> int:
        """Send every due command once; returns how many steps the broker took.

        ``unread_s`` is for how long the oldest answer has been waiting to be recorded.
        """
        # What gives supply back goes first and waits for no cut; each cut goes as soon as it is claimed, since a
        # nonce lives for seconds only, and one that cannot be claimed keeps nothing else from leaving.
        sent, restored_s = self._send_harmless(unread_s), monotonic_s()
        for command_id in in_transaction(self._engine, queries.due_harmful, clock=self._clock, limit=_AT_ONCE):
            if monotonic_s() - restored_s > _RESTORES_WAIT_S:
                sent += self._send_harmless(unread_s)
                restored_s = monotonic_s()
            try:
                sent += self._claim_and_send(partial(self._claim_harmful, command_id=command_id))
            except Exception:
                log.exception("a command could not be claimed; it stays due", command_id=str(command_id))
        return sent

    def _send_harmless(self, unread_s: float) -> int:
        waited_for_s = min(unread_s, _ANSWERS_WAITED_FOR_S)
        return self._claim_and_send(partial(self._claim_harmless, answers_s=waited_for_s))

    def _give_up(self, session: Session) -> None:
        """Expire cuts whose time is over, and call unknown those that were operated and have not been answered."""
        now = self._clock.now()
        given_up = queries.unanswered(session, clock=self._clock, now=now, limit=_AT_ONCE)
        for command in given_up:
            if command.state in RECALLABLE:
                outcome = "it was not armed in time; nothing was cut"
                service.end(session, command, CommandState.EXPIRED, outcome=outcome, now=now)
            else:
                outcome = "no answer in time: neither done nor not done, until the terminal shows"
                service.end(session, command, CommandState.UNKNOWN, outcome=outcome, now=now)
            log.warning(
                "command given up", command_id=command.id, terminal_id=command.terminal_id, state=command.state
            )
        if given_up:
            self._look_again(session, [command.supply_point_id for command in given_up], now)

    def _claim_harmless(self, session: Session, *, answers_s: float) -> list[Outgoing]:
        now = self._clock.now()
        rows = session.execute(
            select(*_Claimed.columns())
            .join(TerminalLive, TerminalLive.terminal_id == Command.terminal_id)
            .where(
                Command.command_class != CommandClass.CUT,
                Command.state.in_(_SENDABLE),
                Command.due_at <= now,
                # What was sent before may have its answer among those that wait to be recorded.
                or_(Command.attempts == 0, Command.due_at <= now - self._clock.lived(answers_s)),
                # A restore may go down a link that is not proved yet: it can only give supply back.
                or_(
                    and_(TerminalLive.online, TerminalLive.commandable),
                    and_(TerminalLive.online, Command.command_class == CommandClass.RESTORE),
                ),
                not_(queries.may_lower(self._clock)),
            )
            .order_by(Command.due_at)
            .limit(_AT_ONCE)
            .with_for_update(of=Command, skip_locked=True)
        ).all()
        claimed = [_Claimed(*row) for row in rows]
        if not claimed:
            return []
        signers = self._signers(session, {one.terminal_id for one in claimed})
        due_at = {one.id: self._next_try_at(attempts=one.attempts + 1, now=now) for one in claimed}
        books.note_tried(session, due_at)
        return [self._told_to_do(one, signer=signers[one.terminal_id], now=now) for one in claimed]

    def _signers(self, session: Session, terminal_ids: set[str]) -> dict[str, CommandSigner]:
        """Choose for each terminal the key that it is known to trust."""
        if self._keys.previous is None:
            return dict.fromkeys(terminal_ids, self._keys.current)
        known = kids_trusted(session, terminal_ids)
        return {terminal_id: self._keys.signer_for(known.get(terminal_id)) for terminal_id in terminal_ids}

    def _signer_of(self, session: Session, command: Command) -> CommandSigner:
        return self._signers(session, {command.terminal_id})[command.terminal_id]

    def _do(self, command: Command, *, signer: CommandSigner, now: datetime) -> Outgoing:
        command.attempts += 1
        command.held, command.held_since = None, None
        command.due_at = self._next_try_at(attempts=command.attempts, now=now)
        return self._told_to_do(command, signer=signer, now=now)

    def _next_try_at(self, *, attempts: int, now: datetime) -> datetime:
        return now + self._clock.lived(next_try_s(attempts=attempts, chance=self._random.random()))

    def _told_to_do(self, command: Command | _Claimed, *, signer: CommandSigner, now: datetime) -> Outgoing:
        expires_at = now + self._clock.lived(queries.RESTORE_VALID_S)
        return self._signed(command, Step.DO, signer=signer, now=now, expires_at=expires_at)

    def _claim_harmful(self, session: Session, command_id: UUID) -> list[Outgoing]:
        """Take the next step of a cut, or send a credit that lowers, if nothing stands against it at this moment."""
        now = self._clock.now()
        seen = session.get(Command, command_id)
        if seen is None:
            return []
        against = self._reasons_against(session, seen, now)
        command = session.get(Command, command_id, with_for_update=True, populate_existing=True)
        if command is None or command.state not in RECALLABLE or command.due_at > now:
            return []
        if against and command.op == Op.CREDIT:
            self._hold(session, command, against, now=now)
            return []
        if against:
            command.held = against
            outcome = "; ".join(reason["en"] for reason in against)
            service.end(session, command, CommandState.CANCELLED, outcome=outcome, now=now)
            self._look_again(session, [command.supply_point_id], now)
            return []
        live = session.get(TerminalLive, command.terminal_id, populate_existing=True)
        if live is None or not (live.online and live.commandable):
            return []
        if command.op == Op.CREDIT:
            return [self._do(command, signer=self._signer_of(session, command), now=now)]
        return self._cut(session, command, live, now=now)

    def _hold(self, session: Session, command: Command, against: list[dict[str, Any]], *, now: datetime) -> None:
        """Keep a credit from leaving for now; it stays open, so that what makes it right again lets it go."""
        codes = [reason["code"] for reason in against]
        if codes != [reason["code"] for reason in command.held or []]:
            detail = {"because": codes}
            session.add(CommandStep(command_id=command.id, step="held", at=now, detail=detail))
            log.warning("command held", command_id=command.id, terminal_id=command.terminal_id, because=codes)
        command.held = against
        command.held_since = command.held_since or now
        command.due_at = now + self._clock.lived(_HELD_AGAIN_S)

    def _cut(self, session: Session, command: Command, live: TerminalLive, *, now: datetime) -> list[Outgoing]:
        """Arm a cut, or operate an armed one."""
        if command.session is not None and command.session != live.session:
            outcome = "the terminal has reconnected since; a cut is decided anew"
            service.end(session, command, CommandState.EXPIRED, outcome=outcome, now=now)
            self._look_again(session, [command.supply_point_id], now)
            return []
        if command.state == CommandState.ARMED:
            return self._operate(session, command, live, now=now)
        command.attempts += 1
        command.session = live.session
        command.due_at = now + self._clock.lived(ANSWER_WITHIN_S)
        expires_at = command.expires_at or now
        return [self._signed_cut(session, command, Step.ARM, live, now=now, expires_at=expires_at)]

    def _operate(self, session: Session, command: Command, live: TerminalLive, *, now: datetime) -> list[Outgoing]:
        armed_at = command.armed_at or now
        if now - armed_at > self._clock.lived(ARM_VALID_S):
            outcome = "the arming lapsed before it could be used"
            service.end(session, command, CommandState.EXPIRED, outcome=outcome, now=now)
            return []
        command.state = CommandState.OPERATING
        command.operate_sent_at = now
        command.due_at = now + self._clock.lived(2 * ANSWER_WITHIN_S)
        expires_at = now + self._clock.lived(ARM_VALID_S)
        return [self._signed_cut(session, command, Step.OPERATE, live, now=now, expires_at=expires_at)]

    def _signed_cut(
        self,
        session: Session,
        command: Command,
        step: Step,
        live: TerminalLive,
        *,
        now: datetime,
        expires_at: datetime,
    ) -> Outgoing:
        # Orders rise under the supply point's lock, which is held: what is given out later comes after this cut.
        last_order_no = session.scalar(select(Terminal.last_order_no).where(Terminal.id == command.terminal_id))
        binding = {
            "session": live.session,
            "max_uptime_s": self._uptime_bound_s(live, now=now),
            "last_order_no": last_order_no,
            "nonce": command.nonce if step is Step.OPERATE else None,
        }
        signer = self._signer_of(session, command)
        return self._signed(command, step, signer=signer, now=now, expires_at=expires_at, **binding)

    def _signed(
        self,
        command: Command | _Claimed,
        step: Step,
        *,
        signer: CommandSigner,
        now: datetime,
        expires_at: datetime,
        **binding: Any,
    ) -> Outgoing:
        claims = CommandClaims(
            id=command.id,
            terminal_id=command.terminal_id,
            op=command.op,
            args=command.args,
            slot=command.slot,
            version=command.version,
            step=step,
            issued_at=now,
            expires_at=expires_at,
            stage=command.stage,
            reason=command.reason[:400],
            **binding,
        )
        return Outgoing(command_id=command.id, terminal_id=command.terminal_id, step=step, token=signer.sign(claims))

    def _uptime_bound_s(self, live: TerminalLive, *, now: datetime) -> int:
        since_told: timedelta = now - (live.uptime_at or now)
        return int((live.uptime_s or 0) + self._clock.real_seconds(since_told) + CUT_VALID_S)

    def _claim_and_send(self, claim: Callable[[Session], list[Outgoing]]) -> int:
        claimed_s = monotonic_s()
        return self._send(in_transaction(self._engine, claim), claimed_s=claimed_s)

    def _send(self, outgoing: list[Outgoing], *, claimed_s: float) -> int:
        """Publish, wait for the broker, and record what it took; what it did not take comes due again."""
        if not outgoing:
            return 0
        under_way: list[tuple[Outgoing, Publication]] = []
        for one in outgoing:
            if monotonic_s() - claimed_s > _PUBLISHED_WITHIN_S:
                log.warning("claimed too long ago to be sent", command_id=str(one.command_id), step=one.step)
                continue
            try:
                under_way.append((one, self._publish(topics.down(one.terminal_id, "command"), one.token)))
            except Exception as error:  # noqa: BLE001 - whatever stops a publish, the next try is in the database
                log.warning("command not sent", command_id=str(one.command_id), error=repr(error))
        until_s = monotonic_s() + _BROKER_TAKES_WITHIN_S
        taken = [one for one, sent in under_way if sent.taken(within_s=max(until_s - monotonic_s(), 0.001))]
        for one in taken:
            log.info("command sent", command_id=one.command_id, terminal_id=one.terminal_id, step=one.step)
        now = self._clock.now()
        for step, group in _by_step(taken):
            ids = [one.command_id for one in group]
            in_transaction(self._engine, books.note_sent, ids, step=step, now=now)
        return len(taken)


def _by_step(outgoing: list[Outgoing]) -> Iterator[tuple[Step, list[Outgoing]]]:
    for step in Step:
        group = [one for one in outgoing if one.step is step]
        if group:
            yield step, group
