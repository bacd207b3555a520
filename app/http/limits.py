"""What every answer carries and how much a request may bring: plain ASGI middleware, for its speed."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problems import render
from app.http.rates import Rates
from app.http.refusals import HeadTooLarge, HttpRefusal

_POLICY = b"content-security-policy"
_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
#: An answer that is no page may load, run and frame nothing.
_NOTHING = (_POLICY, b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
_NO_STORE = (b"cache-control", b"no-store")
_ONLY_HTTPS = (b"strict-transport-security", b"max-age=31536000")
_API = "/api/"
_HEALTH = frozenset({"/healthz", "/readyz", "/metrics"})
_MOST_HEADERS = 100


class SecurityHeaders:
    """Tell browsers not to guess, frame, leak or run anything; and nobody to keep answers of the API."""

    def __init__(self, app: ASGIApp, *, https_only: bool) -> None:
        self._app = app
        self._https_only = https_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        extra = [*_ALWAYS, _NO_STORE] if scope["path"].startswith(_API) else _ALWAYS
        if self._https_only or scope["scheme"] == "https":
            extra = [*extra, _ONLY_HTTPS]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *extra]
                if not any(name == _POLICY for name, _ in headers):
                    headers.append(_NOTHING)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, with_headers)


class Door:
    """Refuse what is too large to read, and who asks too often without saying who they are."""

    def __init__(self, app: ASGIApp, *, max_head_bytes: int, rates: Rates) -> None:
        self._app = app
        self._max_head_bytes = max_head_bytes
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._look_at(scope)
            except HttpRefusal as refusal:
                await render(refusal, path=scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _look_at(self, scope: Scope) -> None:
        headers = scope["headers"]
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        says_who = False
        for name, value in headers:
            size += len(name) + len(value)
            says_who = says_who or name == b"authorization"
        if size > self._max_head_bytes or len(headers) > _MOST_HEADERS:
            raise HeadTooLarge(
                f"address and headers may have {self._max_head_bytes} bytes and {_MOST_HEADERS} headers at most",
                remedy="send fewer and shorter headers and parameters",
            )
        if not says_who and scope["path"] not in _HEALTH:
            client = scope.get("client")
            self._rates.take_for_address("" if client is None else client[0])


class BodyLimit:
    """Refuse a body that is larger than ``max_bytes``, whether it says so or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _content_length(scope)
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            if announced > self._max_bytes:
                raise self._too_large()
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"a request body may have {self._max_bytes} bytes at most")


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
