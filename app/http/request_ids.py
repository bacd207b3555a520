"""Each request has an id: in its answer, in every log line that it causes, and for who writes down what it did."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.database import new_id
from app.logs import concerning

HEADER = "X-Request-Id"

_HEADER = HEADER.lower().encode()
#: What a proxy or a client may call a request; anything else could forge lines of a log, and gets a fresh id.
_USABLE = re.compile(rb"[A-Za-z0-9._:-]{8,64}")


class RequestIds:
    """ASGI middleware: takes the caller's usable id or makes one; ``request.state.request_id`` tells it to routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _named(scope) or str(new_id())
        answered = (_HEADER, request_id.encode())
        scope.setdefault("state", {})["request_id"] = request_id
        # The server gives each request a context of its own, which its threads inherit: nothing is left to take back.
        concerning(request_id=request_id)

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], answered]
            await send(message)

        await self._app(scope, receive, with_id)


def _named(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER and _USABLE.fullmatch(value):
            return str(value, "ascii")
    return None
