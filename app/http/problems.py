"""Every refusal as an RFC 9457 problem document."""

import json
import re
import traceback
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.database import new_id, sqlstate
from app.errors import Conflict, DomainError, Forbidden, NotFound, Refused
from app.http.refusals import (
    BadRequest,
    BodyTooLarge,
    DatabaseBusy,
    DatabaseUnreachable,
    HttpRefusal,
    MethodNotAllowed,
    NoSuchPage,
    NotAllowed,
    NotSignedIn,
    OtherHttpError,
    Unexpected,
    Unreadable,
)

PROBLEM_JSON = "application/problem+json"

_STATUS_OF_KIND = {NotFound: 404, Conflict: 409, Forbidden: 403, Refused: 409}
_BUSY_SQLSTATES = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # lock timeout
    "57014",  # statement timeout
}
_UNREACHABLE_SQLSTATES = {"57P01", "57P02", "57P03", "53300"}  # shut down, crashed, starting, full
_CONNECTION_CLASS = "08"

_log = structlog.get_logger(__name__)


def status_of(problem: type[DomainError]) -> int:
    """Return the HTTP status of a refusal: its own when it exists in HTTP only, else that of its kind."""
    if issubclass(problem, HttpRefusal):
        return problem.status
    for kind, status in _STATUS_OF_KIND.items():
        if issubclass(problem, kind):
            return status
    return 400


def render(error: DomainError, *, path: str) -> Response:
    """Write a refusal as a problem document; its facts become members."""
    status = error.status if isinstance(error, HttpRefusal) else status_of(type(error))
    standard = {
        "type": f"/problems/{error.slug()}",
        "title": error.title,
        "status": status,
        "detail": error.detail,
        "remedy": error.remedy,
        "instance": path,
    }
    # Twice, so that the standard members stand first and no fact can take their place.
    body = json.dumps({**standard, **error.facts, **standard}, ensure_ascii=False, default=_plain)
    headers = {**error.headers, **error.more_headers} if isinstance(error, HttpRefusal) else None
    return Response(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)


def handle_problems(app: FastAPI) -> None:
    """Answer every error of this application with a problem document."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(DBAPIError, _on_database_error)
    app.add_exception_handler(PoolTimeoutError, _on_pool_timeout)


class UnhandledErrors:
    """ASGI middleware: what nobody foresaw is logged whole and answered with nothing but its id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            answer = _unexpected(error, path=scope["path"])
            if started:
                raise
            await answer(scope, receive, send)


def _unexpected(error: Exception, *, path: str) -> Response:
    error_id = str(new_id())
    # As text, because some renderers of exceptions print local variables, and those hold tokens and passwords.
    trace = "".join(traceback.format_exception(error))
    _log.error("unhandled error", error_id=error_id, path=path, trace=trace)
    return render(
        Unexpected(
            "the service met an error that it did not foresee",
            remedy="try again; if it stays, give this id to the people who run the service",
            id=error_id,
        ),
        path=path,
    )


async def _on_domain_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, DomainError):
        raise error
    return render(error, path=request.url.path)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [_wrong_place(found) for found in error.errors()]
    places = ", ".join(dict.fromkeys(found["where"] for found in errors))
    refusal = Unreadable(
        f"not in the right form: {places}",
        remedy="correct what `errors` names; /docs shows each field with an example",
        errors=errors,
    )
    return render(refusal, path=request.url.path)


def _wrong_place(found: dict[str, Any]) -> dict[str, str]:
    """Say where and what; the value itself stays out, for it may be a password."""
    location: Sequence[Any] = found["loc"]
    message = str(found["msg"])
    if found["type"] == "json_invalid":
        place, message = "body", f"not JSON at character {location[-1]}: {found['ctx']['error']}"
    else:
        place = ".".join(str(step) for step in location)
    return {"where": place, "what": message}


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return render(_refusal_of(error, request=request), path=request.url.path)


def _refusal_of(error: HTTPException, *, request: Request) -> HttpRefusal:
    headers = error.headers or {}
    path = request.url.path
    match error.status_code:
        case 404:
            return NoSuchPage(f"there is nothing at {path}", remedy="see /docs for what there is")
        case 405:
            allowed = ", ".join(methods_at(request.app, path)) or headers.get("Allow", "")
            return MethodNotAllowed(
                f"{path} does not take {request.method}",
                remedy=f"use {allowed}",
                more_headers={**headers, "Allow": allowed},
            )
        case 401:
            return NotSignedIn(str(error.detail), remedy="sign in again", more_headers=headers)
        case 403:
            return NotAllowed(str(error.detail), remedy="ask an administrator for the role that may")
        case 413:
            return BodyTooLarge(str(error.detail), remedy="send less in one request")
        case 400:
            return BadRequest(str(error.detail), remedy="see /docs for the form of this request")
    refusal = OtherHttpError(str(error.detail), remedy="see /docs", more_headers=headers)
    refusal.status = error.status_code
    return refusal


def methods_at(app: FastAPI, path: str) -> list[str]:
    """Return every method that an address takes; the router itself tells those of one of its routes only."""
    routes = [route for route in iter_route_contexts(app.routes) if route.path is not None and route.methods]
    found = [route for route in routes if route.path == path] or [
        route for route in routes if _pattern(str(route.path)).match(path)
    ]
    return sorted({method for route in found for method in route.methods or ()})


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    return compile_path(template)[0]


async def _on_database_error(request: Request, error: Exception) -> Response:
    state = sqlstate(error)
    path = request.url.path
    if state in _BUSY_SQLSTATES:
        _log.warning("database busy", sqlstate=state, path=path)
        return render(_busy(), path=path)
    if _is_unreachable(error, state=state):
        _log.error("database unreachable", sqlstate=state, path=path, error=str(getattr(error, "orig", error)))
        refusal = DatabaseUnreachable(
            "the database does not answer", remedy="send the same request again in some seconds"
        )
        return render(refusal, path=path)
    return _unexpected(error, path=path)


def _is_unreachable(error: Exception, *, state: str | None) -> bool:
    if state is None:
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        return lost or isinstance(error, OperationalError | InterfaceError)
    return state in _UNREACHABLE_SQLSTATES or state.startswith(_CONNECTION_CLASS)


async def _on_pool_timeout(request: Request, error: Exception) -> Response:
    _log.warning("no free database connection", path=request.url.path, error=str(error))
    return render(_busy(), path=request.url.path)


def _busy() -> DatabaseBusy:
    return DatabaseBusy(
        "others hold what this request needs; nothing was changed",
        remedy="send the same request again in a second",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
