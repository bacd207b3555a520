"""The same request again gives the same bytes and changes nothing: the Idempotency-Key contract.

The key's row is inserted first and in the transaction of the effect, so a crash leaves neither, and a second
request with that key waits on the row until the first has ended. A refusal rolls the row back: the same key
may succeed once its cause is gone.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.database import Actor, Step, add_last, in_transaction_of, reading, sqlstate, together
from app.http.policies import Person
from app.http.refusals import FirstRequestStillRunning, IdempotencyKeyReused, IdempotencyKeyUnusable
from app.http.transaction import actor_behind
from app.settings import Settings

REPLAYED_HEADER = "Idempotent-Replayed"

Effect = Callable[..., tuple[int, BaseModel]]

_LOCK_TIMEOUT = "55P03"
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,200}")

_TAKE = text("""
    INSERT INTO idempotency_keys (scope, key, request_hash, created_by)
    VALUES (:scope, :key, :request_hash, :created_by)
        ON CONFLICT DO NOTHING RETURNING true
""")
_KEEP = text("UPDATE idempotency_keys SET status = :status, body = :body WHERE scope = :scope AND key = :key")
_STORED = text("SELECT request_hash, status, body FROM idempotency_keys WHERE scope = :scope AND key = :key")


@dataclass(frozen=True, kw_only=True)
class KeyedRequest:
    """A request that its sender can safely send again, with all that a route needs to answer it once."""

    key: str
    route: str
    body_hash: bytes
    person: Person
    actor: Actor
    now: datetime
    settings: Settings
    engine: Engine

    @property
    def scope(self) -> str:
        return f"{self.route} {self.person.id}"

    async def once(self, effect: Effect, *, ahead: Sequence[Step[Any]] = ()) -> Response:
        """Run ``effect`` in a thread and a transaction if this key is new, else give the stored answer again.

        Args:
            effect: changes state in the session that it is given and returns status and answer; the answers of
                ``ahead`` follow the session.
            ahead: the effect's first statements, to travel with the one that takes the key.

        Raises:
            IdempotencyKeyReused: the key came with another body before.
            FirstRequestStillRunning: another request with this key holds it for longer than the lock timeout.
        """
        return await asyncio.to_thread(self._answer, effect, ahead)

    def _answer(self, effect: Effect, ahead: Sequence[Step[Any]]) -> Response:
        try:
            return in_transaction_of(self.engine, self.actor, answer_first, request=self, effect=effect, ahead=ahead)
        except _AnsweredBefore:
            with reading(self.engine, self.actor) as session:
                return _replay(session, request=self)


class _AnsweredBefore(Exception):
    """Undo what has travelled with the key, and look for the stored answer."""


async def keyed_request(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Required. Made and saved by the sender before sending: 1 to 200 visible ASCII "
            "characters. The same key with the same body gives the same answer and changes nothing.",
        ),
    ] = None,
) -> KeyedRequest:
    remedy = "send a fresh UUID, keep it, and use it again when you retry this same request"
    if key is None:
        raise IdempotencyKeyUnusable("the header Idempotency-Key is missing", remedy=remedy)
    if not _VISIBLE_ASCII.fullmatch(key):
        raise IdempotencyKeyUnusable("the Idempotency-Key is not 1 to 200 visible ASCII characters", remedy=remedy)
    body_hash = hashlib.sha256(await request.body()).digest()
    state = request.app.state
    return KeyedRequest(
        key=key,
        route=f"{request.method} {request.scope['path']}",
        body_hash=body_hash,
        person=request.state.person,
        actor=actor_behind(request),
        now=state.settings.clock.now(),
        settings=state.settings,
        engine=state.engine,
    )


#: Ask for this in a route that moves value, and for no session or moment besides: one dependency, one visit to the
#: thread pool.
Keyed = Annotated[KeyedRequest, Depends(keyed_request)]


def answer_first(
    session: Session, *, request: KeyedRequest, effect: Effect, ahead: Sequence[Step[Any]] = ()
) -> Response:
    """Take the key, do the effect, keep the answer."""
    answers = _take_key(session, request=request, ahead=ahead)
    status, answer = effect(session, *answers)
    body = answer.model_dump_json(by_alias=True).encode()
    kept = {"scope": request.scope, "key": request.key, "status": status, "body": body}
    add_last(session, Step(statement=_KEEP, values=kept, read=bool))
    return Response(body, status_code=status, media_type="application/json")


def _take_key(session: Session, *, request: KeyedRequest, ahead: Sequence[Step[Any]]) -> list[Any]:
    row = {
        "scope": request.scope,
        "key": request.key,
        "request_hash": request.body_hash,
        "created_by": request.person.id,
    }
    try:
        _, *answers = together(session, Step(statement=_TAKE, values=row, read=_refuse_second), *ahead)
    except OperationalError as error:
        if sqlstate(error) != _LOCK_TIMEOUT:
            raise
        raise FirstRequestStillRunning(
            "a request with this Idempotency-Key, or another about the same customer, has not finished yet",
            remedy="send the same request again in a second; its answer will then be replayed",
        ) from error
    return answers


def _refuse_second(rows: list[Any]) -> None:
    if not rows:
        raise _AnsweredBefore


def _replay(session: Session, *, request: KeyedRequest) -> Response:
    stored = session.execute(_STORED, {"scope": request.scope, "key": request.key}).one()
    if stored.request_hash != request.body_hash:
        raise IdempotencyKeyReused(
            "this Idempotency-Key came with another request body before",
            remedy="send the first body again to see its answer, or make a fresh key for a new request",
        )
    return Response(
        stored.body,
        status_code=stored.status,
        media_type="application/json",
        headers={REPLAYED_HEADER: "true"},
    )
