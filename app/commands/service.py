"""Changes to commands: issue, call back, note what terminals answer and what evidence proves."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, select, text, update
from sqlalchemy.orm import Session

from app.clock import Clock
from app.commands import books
from app.commands.models import Command, CommandStep
from app.commands.rules import (
    ARM_VALID_S,
    CUT_VALID_S,
    IN_DOUBT,
    OPEN,
    PROVABLE,
    RECALLABLE,
    AckStep,
    CommandClass,
    CommandState,
    Evidence,
    Op,
    Pending,
    Proof,
    after_ack,
    class_of,
    proof,
    slot_of,
)
from app.database import Step, new_id, together
from app.errors import Conflict
from app.terminals import service as terminals

# The new command is written from what `gone` counted, so that the slot is free by then.
_ADD = text("""
    WITH gone AS (
        UPDATE commands
           SET state = CASE WHEN state = ANY(:in_doubt) THEN 'unknown' WHEN state = 'executed' THEN state
                            ELSE 'superseded' END,
               ended_at = CASE WHEN state = ANY(:in_doubt) THEN NULL ELSE CAST(:now AS timestamptz) END,
               outcome = 'a newer command of the same slot was issued'
         WHERE terminal_id = :terminal_id AND slot = :slot AND ended_at IS NULL AND state <> 'unknown'
           AND NOT (op = 'credit' AND state = 'executed')
     RETURNING id, state
    ), added AS (
        INSERT INTO commands (id, terminal_id, supply_point_id, op, args, slot, version, command_class, stage, reason,
               decision_id, requested_by, approval_id, state, issued_at, expires_at, due_at, attempts)
        SELECT :id, :terminal_id, :supply_point_id, :op, CAST(:args AS jsonb), :slot, :version, :command_class,
               :stage, :reason, CAST(:decision_id AS uuid), CAST(:requested_by AS uuid), CAST(:approval_id AS uuid),
               :state, :now, CAST(:expires_at AS timestamptz), :now, 0
          FROM (SELECT count(*) FROM gone) AS free
    )
    SELECT id, state FROM gone
""")

_ADD_STEP = text("""
    INSERT INTO command_steps (id, command_id, step, at, detail) VALUES (:id, :command_id, :step, :at, '{}')
""")

_OVERTAKEN = text("""
    SELECT command.id FROM commands AS command
     WHERE command.id = ANY(:ids)
       AND EXISTS (SELECT FROM commands AS newer
                    WHERE newer.terminal_id = command.terminal_id AND newer.slot = command.slot
                      AND newer.version > command.version AND newer.verified_at IS NOT NULL)
""")


class NotRecallable(Conflict):
    """A command is called back only while nothing that acts has been sent, and a credit never is."""

    title = "The command cannot be called back"

    def __init__(self, *, command_id: UUID, op: Op, state: CommandState) -> None:
        if op is Op.CREDIT:
            detail = "It carries what the books say that the terminal must hold, bought or taken back."
            remedy = "Let it arrive; take a wrong purchase back at the counter, and withdraw a wrong refund."
        elif state in IN_DOUBT:
            detail = f"It is {state}: the terminal may be acting on it."
            remedy = "Order the opposite, such as allow_close or lift_limit; it goes first."
        else:
            detail = f"It is {state} already."
            remedy = "Order the opposite where its effect is to be undone."
        super().__init__(detail, remedy=remedy, command_id=str(command_id), state=state.value)


@dataclass(frozen=True, kw_only=True)
class NewCommand:
    """A command to be issued. ``version`` is given where it was taken together with an order number."""

    terminal_id: str
    supply_point_id: UUID
    op: Op
    args: dict[str, Any]
    reason: str
    stage: str | None = None
    decision_id: UUID | None = None
    requested_by: UUID | None = None
    approval_id: UUID | None = None
    limit_w: int | None = None
    version: int | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of a terminal to one step of a command."""

    terminal_id: str
    command_id: UUID
    step: AckStep
    code: str | None
    at: datetime
    detail: dict[str, Any] = field(default_factory=dict)


class Changed(NamedTuple):
    """A command whose state has just changed."""

    command_id: UUID
    supply_point_id: UUID
    op: Op
    state: CommandState
    terminal_id: str


def issue(session: Session, new: NewCommand, *, clock: Clock, now: datetime) -> Command:
    """Issue a command into its slot, under the supply point's lock; an open one there makes way.

    An open command of the same slot that says the same is returned as it is, so that asking twice is harmless.
    """
    slot = slot_of(new.op, new.args)
    same = session.scalar(
        select(Command).where(
            Command.terminal_id == new.terminal_id,
            Command.slot == slot,
            Command.op == new.op,
            Command.args == new.args,
            Command.state.in_(OPEN),
        )
    )
    if same is not None:
        return same
    return session.get_one(Command, add(session, new, clock=clock, now=now))


def add(session: Session, new: NewCommand, *, clock: Clock, now: datetime) -> UUID:
    """Write a command into its slot and end what is open there; returns its id.

    What is open is superseded, or unknown where the terminal may be acting on it. What was carried out and is not
    proved yet loses its proof: the state that would show it is about to change.
    """
    version = new.version or terminals.next_version(session, new.terminal_id)
    command_id, step = to_add(replace(new, version=version), clock=clock, now=now)
    (ended,) = together(session, step)
    note_made_way(session, ended, now=now)
    return command_id


def to_add(new: NewCommand, *, clock: Clock, now: datetime) -> tuple[UUID, Step[list[Any]]]:
    """Return the id that a command with a version will have, and the step that writes it into its slot.

    The step answers with the commands that it ended, for :func:`note_made_way`.
    """
    command_class = class_of(new.op, new.args, limit_w=new.limit_w)
    command_id = new_id()
    values = {
        "id": command_id,
        "terminal_id": new.terminal_id,
        "supply_point_id": new.supply_point_id,
        "op": new.op,
        "args": json.dumps(new.args),
        "slot": slot_of(new.op, new.args),
        "version": new.version,
        "command_class": command_class,
        "stage": new.stage,
        "reason": new.reason,
        "decision_id": new.decision_id,
        "requested_by": new.requested_by,
        "approval_id": new.approval_id,
        "state": CommandState.WAITING,
        "expires_at": now + clock.lived(CUT_VALID_S) if command_class is CommandClass.CUT else None,
        "in_doubt": sorted(IN_DOUBT),
        "now": now,
    }
    return command_id, Step(statement=_ADD, values=values, read=list)


def note_made_way(session: Session, ended: Iterable[Any], *, now: datetime) -> None:
    """Note of each command that a newer one ended how it ended."""
    for row in ended:
        session.execute(_ADD_STEP, {"id": new_id(), "command_id": row.id, "step": row.state, "at": now})


def call_back_cuts(session: Session, supply_point_id: UUID, *, because: str, now: datetime) -> list[UUID]:
    """Cancel every cut that has not been operated yet; returns their ids. Those in doubt are met by a restore."""
    called_back = session.scalars(
        update(Command)
        .where(
            Command.supply_point_id == supply_point_id,
            Command.command_class == CommandClass.CUT,
            Command.state.in_(RECALLABLE),
        )
        .values(state=CommandState.CANCELLED, outcome=because, ended_at=now)
        .returning(Command.id)
    ).all()
    for command_id in called_back:
        _note_step(session, command_id, step=CommandState.CANCELLED, at=now)
    return list(called_back)


def call_back(session: Session, command: Command, *, because: str, now: datetime) -> None:
    """Cancel one command whose row the caller holds.

    Raises:
        NotRecallable: it has ended, the terminal may be acting on it, or it carries energy that was paid for.
    """
    state = CommandState(command.state)
    if command.op == Op.CREDIT or state not in RECALLABLE:
        raise NotRecallable(command_id=command.id, op=Op(command.op), state=state)
    end(session, command, CommandState.CANCELLED, outcome=because, now=now)


def note_answers(
    session: Session, answers: Sequence[Answer], *, now: datetime
) -> tuple[list[Changed], list[tuple[Answer, str]]]:
    """Apply answers in the order in which they came.

    Returns:
        The commands whose state changed, and the answers that fit no command of that terminal, with the reason.
    """
    wanted = {answer.command_id for answer in answers}
    found = {command.id: command for command in books.locked(session, Command.id.in_(wanted))}
    known = books.Known()
    changed: list[Changed] = []
    stray: list[tuple[Answer, str]] = []
    for answer in answers:
        command = found.get(answer.command_id)
        if command is None or command.terminal_id != answer.terminal_id:
            stray.append((answer, "the answer is for a command that this terminal was never given"))
            continue
        state = after_ack(
            CommandState(command.state),
            command_class=CommandClass(command.command_class),
            step=answer.step,
            code=answer.code,
        )
        if state is not None:
            _apply(command, state, answer, now=now)
            known.commands[command.id] = command
            changed.append(_changed(command))
        known.steps.append(
            books.row_of(
                command.id,
                answer.step,
                at=now,
                code=answer.code,
                terminal_at=answer.at,
                detail=answer.detail,
            )
        )
    known.write(session)
    return changed, stray


def _apply(command: Command, state: CommandState, answer: Answer, *, now: datetime) -> None:
    command.state = state
    # Who published it may have died before it could say so; the answer shows that it was sent.
    command.sent_at = command.sent_at or now
    match state:
        case CommandState.RECEIVED:
            command.received_at = now
        case CommandState.ARMED:
            command.armed_at = now
            command.due_at = now
            command.nonce = answer.detail.get("nonce")
            command.armed_power_w = answer.detail.get("active_power_w")
        case CommandState.DELAYING:
            command.delaying_until = answer.detail.get("until") or now
            command.due_at = command.delaying_until
        case CommandState.EXECUTED:
            command.executed_at = now
            command.received_at = command.received_at or now
            # What nothing can prove is over now; the rest waits for its proof, even if it had been given up.
            command.ended_at = None if command.op in PROVABLE else now
        case CommandState.REFUSED:
            command.ended_at = now
            command.outcome = f"the terminal refused: {answer.code}"
        case _:
            pass


def weigh(session: Session, evidence: dict[str, Evidence], *, clock: Clock, now: datetime) -> list[Changed]:
    """Hold what terminals show of themselves against the commands that are not proved yet."""
    if not evidence:
        return []
    rows = books.locked(session, and_(Command.terminal_id.in_(list(evidence)), Command.ended_at.is_(None)))
    known = books.Known()
    changed = []
    for command in rows:
        found = proof(_pending(command, clock=clock), evidence[command.terminal_id])
        if found is not Proof.NOTHING:
            _prove(command, found, now=now)
            known.commands[command.id] = command
            known.steps.append(books.row_of(command.id, found.value, at=now, detail={"by": "evidence"}))
            changed.append(_changed(command))
    known.write(session)
    _end_overtaken(session, [command for command in rows if command.state == CommandState.EXECUTED], now=now)
    return changed


def _end_overtaken(session: Session, executed: Sequence[Command], *, now: datetime) -> None:
    """End what was carried out and undone by a newer command before anything showed it: nothing ever will."""
    waiting = {command.id: command for command in executed if command.ended_at is None}
    if not waiting:
        return
    known = books.Known()
    for command_id in session.scalars(_OVERTAKEN, {"ids": list(waiting)}):
        waiting[command_id].ended_at = now
        known.commands[command_id] = waiting[command_id]
        known.steps.append(books.row_of(command_id, "overtaken", at=now))
    known.write(session)


def _pending(command: Command, *, clock: Clock) -> Pending:
    delay = timedelta(minutes=int(command.args.get("alarm_delay_min") or 0))
    operated_at = command.operate_sent_at
    return Pending(
        command_id=str(command.id),
        op=Op(command.op),
        args=command.args,
        state=CommandState(command.state),
        executed_at=command.executed_at,
        armed_power_w=command.armed_power_w,
        doubt_ends_at=operated_at + clock.lived(2 * ARM_VALID_S) + delay if operated_at else None,
    )


def _prove(command: Command, found: Proof, *, now: datetime) -> None:
    command.state = CommandState(found.value)
    if found in (Proof.EXECUTED, Proof.VERIFIED):
        command.executed_at = command.executed_at or now
        command.received_at = command.received_at or now
        command.sent_at = command.sent_at or now
    if found is Proof.VERIFIED:
        command.verified_at = now
    if found is not Proof.EXECUTED or command.op not in PROVABLE:
        command.ended_at = now
    if found is Proof.FAILED:
        command.outcome = "the terminal came back without having carried it out"


def _changed(command: Command) -> Changed:
    state = CommandState(command.state)
    return Changed(command.id, command.supply_point_id, Op(command.op), state, command.terminal_id)


def _note_step(
    session: Session, command_id: UUID, *, step: str, at: datetime, detail: dict[str, Any] | None = None
) -> None:
    session.add(CommandStep(command_id=command_id, step=step, at=at, detail=detail or {}))


def end(session: Session, command: Command, state: CommandState, *, outcome: str, now: datetime) -> None:
    """End a command that was given up: expired, cancelled or unknown, with what is to be known of it."""
    command.state = state
    command.outcome = outcome
    command.ended_at = now if state is not CommandState.UNKNOWN else None
    _note_step(session, command.id, step=state, at=now, detail={"outcome": outcome})
    session.flush()
