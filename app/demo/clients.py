"""People of the demonstration as HTTP clients: they sign in, ask, order and wait for facts."""

from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from app.clock import monotonic_s, sleep
from app.demo.people_and_places import PASSWORD

T = TypeVar("T")
Json = dict[str, Any]

_POLL_S = 0.05
_ASKED_AT_MOST = 5


class Failed(Exception):
    """A step did not come true; the text says what was waited for and what was seen last."""


class Clerk:
    """One signed-in person."""

    def __init__(self, http_url: str, *, name: str) -> None:
        self.name = name
        self._http = httpx.Client(base_url=f"{http_url}/api/v1", timeout=15)
        answer = self._http.post("/auth/token", data={"username": name, "password": PASSWORD})
        self._http.headers["Authorization"] = f"Bearer {_read(answer)['access_token']}"

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> Json:
        return _read(self._http.get(path, params=query))

    def items(self, path: str, **query: str | int) -> list[Json]:
        found: list[Json] = self.get(path, **query)["items"]
        return found

    def post(self, path: str, body: Json, *, key: str | None = None) -> httpx.Response:
        """Send a request that changes something; ``key`` is its Idempotency-Key."""
        answer = self._http.post(path, json=body, headers={"Idempotency-Key": key} if key else None)
        _read(answer)
        return answer


def _read(answer: httpx.Response) -> Json:
    if not answer.is_success:
        raise Failed(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    body: Json = answer.json()
    return body


def order_by_two(operator: Clerk, approver: Clerk, order: Json, *, key: str) -> str:
    """Have one person ask for a cut and another approve what they have looked at; returns the command's id.

    What changes meanwhile, and on a fast clock much does, ends a request; then it is asked for anew.
    """
    for again in range(_ASKED_AT_MOST):
        asked = operator.post("/approvals/orders", {"orders": [order]}, key=f"{key}-{again}").json()
        seen = approver.get(f"/approvals/{asked['id']}")
        if seen["changed"]:
            continue
        try:
            answer = approver.post(f"/approvals/{asked['id']}/approve", {"digest": seen["digest"]}, key=key)
        except Failed as failure:
            if "changed-since" in str(failure):
                continue
            raise
        (command_id,) = answer.json()["result"]["command_ids"]
        return str(command_id)
    raise Failed(f"{order['action']} was asked for {_ASKED_AT_MOST} times, and each time something had changed")


def wait_for(what: str, look: Callable[[], T | None], *, within_s: float) -> T:
    """Look again and again until something is there.

    Raises:
        Failed: it was not there in time.
    """
    until_s = monotonic_s() + within_s
    while True:
        found = look()
        if found is not None:
            return found
        if monotonic_s() > until_s:
            raise Failed(f"not seen within {within_s:.0f} s: {what}")
        sleep(_POLL_S)
