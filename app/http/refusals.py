"""What the edge itself refuses, before any rule of the trade is asked; these know their status."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from app.errors import DomainError

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class HttpRefusal(DomainError):
    """A refusal that exists in HTTP only.

    Args:
        detail: what was wrong.
        remedy: what would be right.
        more_headers: beside those of the class, such as ``Allow``.
        facts: members of the problem document.
    """

    status: int = 400
    headers: ClassVar[Mapping[str, str]] = _NO_HEADERS

    def __init__(
        self, detail: str, *, remedy: str, more_headers: Mapping[str, str] = _NO_HEADERS, **facts: Any
    ) -> None:
        super().__init__(detail, remedy=remedy, **facts)
        self.more_headers = more_headers


class BadRequest(HttpRefusal):
    title = "The request cannot be read"


class NotSignedIn(HttpRefusal):
    title = "A sign-in is needed"
    status = 401
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class NotAllowed(HttpRefusal):
    title = "This person may not do that"
    status = 403


class NoSuchPage(HttpRefusal):
    title = "There is nothing at this address"
    status = 404


class MethodNotAllowed(HttpRefusal):
    title = "This address does not take this method"
    status = 405


class BodyTooLarge(HttpRefusal):
    title = "The request body is too large"
    status = 413


class HeadTooLarge(HttpRefusal):
    title = "The request's address or headers are too large"
    status = 431


class TooManyRequests(HttpRefusal):
    """Each person and each address may send so many a second; ``Retry-After`` says when the next may come."""

    title = "Too many requests"
    status = 429


class TooManyAttempts(HttpRefusal):
    """Too many sign-ins failed for this name or from this address; until ``Retry-After`` no password is compared."""

    title = "Too many sign-ins have failed"
    status = 429


class Unreadable(HttpRefusal):
    """The request does not parse; ``errors`` says where and what would be right."""

    title = "The request does not have the right form"
    status = 422


class IdempotencyKeyUnusable(HttpRefusal):
    title = "An Idempotency-Key is needed"


class IdempotencyKeyReused(HttpRefusal):
    """The key was used before with another request, so one of the two would be lost."""

    title = "The Idempotency-Key belongs to another request"
    status = 422


class FirstRequestStillRunning(HttpRefusal):
    """A request with the same key has not finished; its answer will be replayed."""

    title = "The first request with this Idempotency-Key is still running"
    status = 409
    headers = MappingProxyType({"Retry-After": "1"})


class CursorUnreadable(HttpRefusal):
    title = "The cursor was not made by this service"


class Unexpected(HttpRefusal):
    """A fault of the service; its log has the whole story under the ``id``."""

    title = "Something went wrong in the service"
    status = 500


class DatabaseBusy(HttpRefusal):
    """Others hold what this request needs; nothing was changed."""

    title = "The service is busy"
    status = 503
    headers = MappingProxyType({"Retry-After": "1"})


class DatabaseUnreachable(HttpRefusal):
    """Nothing was changed, or, if the line broke at the very end, a retry with the same key tells."""

    title = "The database does not answer"
    status = 503
    headers = MappingProxyType({"Retry-After": "5"})


class StandingUnknown(HttpRefusal):
    """The service has not heard from its database for some seconds, so it cannot tell which sign-ins have ended."""

    title = "The service cannot tell who is signed in"
    status = 503
    headers = MappingProxyType({"Retry-After": "5"})


class OtherHttpError(HttpRefusal):
    title = "The request was refused"
