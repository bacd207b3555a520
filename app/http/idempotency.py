"""The same request again gives the same bytes and changes nothing: the Idempotency-Key contract.

The key's row is inserted first and in the transaction of the effect, so a crash leaves neither, and a second
request with that key waits on the row until the first has ended. A refusal rolls the row back: the same key
may succeed once its cause is gone.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.database import Step, sqlstate, together
from app.http.policies import CurrentPerson, Person
from app.http.refusals import FirstRequestStillRunning, IdempotencyKeyReused, IdempotencyKeyUnusable

REPLAYED_HEADER = "Idempotent-Replayed"

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
    """A request that its sender can safely send again."""

    key: str
    route: str
    body_hash: bytes
    person: Person

    @property
    def scope(self) -> str:
        return f"{self.route} {self.person.id}"


async def keyed_request(
    request: Request,
    person: CurrentPerson,
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
    return KeyedRequest(key=key, route=f"{request.method} {request.url.path}", body_hash=body_hash, person=person)


#: Ask for this in a route that moves value, and hand it to :func:`once`.
Keyed = Annotated[KeyedRequest, Depends(keyed_request)]


def once(session: Session, *, request: KeyedRequest, effect: Callable[[], tuple[int, BaseModel]]) -> Response:
    """Run ``effect`` if this key is new, else give the stored answer again.

    Args:
        session: of the request; the key's row and the effect are committed together.
        request: the key, whose it is and what it asks.
        effect: changes state in the same session and returns status and answer.

    Raises:
        IdempotencyKeyReused: the key came with another body before.
        FirstRequestStillRunning: another request with this key holds it for longer than the lock timeout.
    """
    if not _is_first(session, request=request):
        return _replay(session, request=request)
    status, answer = effect()
    body = answer.model_dump_json(by_alias=True).encode()
    session.flush()
    session.execute(_KEEP, {"scope": request.scope, "key": request.key, "status": status, "body": body})
    return Response(body, status_code=status, media_type="application/json")


def _is_first(session: Session, *, request: KeyedRequest) -> bool:
    row = {
        "scope": request.scope,
        "key": request.key,
        "request_hash": request.body_hash,
        "created_by": request.person.id,
    }
    try:
        (is_first,) = together(session, Step(statement=_TAKE, values=row, read=bool))
    except OperationalError as error:
        if sqlstate(error) != _LOCK_TIMEOUT:
            raise
        raise FirstRequestStillRunning(
            "a request with this Idempotency-Key has not finished yet",
            remedy="send the same request again in a second; its answer will then be replayed",
        ) from error
    return bool(is_first)


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
