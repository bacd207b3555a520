"""The API's own description: OpenAPI with its problems, the page that shows it offline, a page on each problem."""

import html
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.errors import Conflict, DomainError, Forbidden, NotFound, Refused
from app.http.pages import page_of, policy_of
from app.http.policies import TOKEN_PATH, anyone
from app.http.problems import PROBLEM_JSON, status_of
from app.http.refusals import HttpRefusal, NoSuchPage
from app.http.rights import rights_of

router = APIRouter(prefix="/problems", include_in_schema=False, dependencies=[anyone()])

_ASSETS = Path(fastapi_offline.__file__).with_name("static")
_KINDS = {DomainError, NotFound, Conflict, Forbidden, Refused, HttpRefusal}

_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457. A problem may have more members: the facts of the refusal.",
    "required": ["type", "title", "status", "detail", "remedy", "instance"],
    "properties": {
        "type": {"type": "string", "description": "names the problem; a page explains it"},
        "title": {"type": "string", "description": "the same for all problems of the type"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was wrong this time"},
        "remedy": {"type": "string", "description": "what would be right"},
        "instance": {"type": "string", "description": "the address that was asked"},
    },
    "example": {
        "type": "/problems/not-signed-in",
        "title": "A sign-in is needed",
        "status": 401,
        "detail": "the access token has expired",
        "remedy": "sign in at POST /api/v1/auth/token and send the token as 'Authorization: Bearer …'",
        "instance": "/api/v1/staff",
    },
}
_EVERYWHERE = {
    "429": "Too many requests, or too many sign-ins have failed; `Retry-After` says when the next may come",
    "431": "The address and the headers are too large",
    "500": "The service met an error that it did not foresee; only an id is told",
    "503": "The service is busy, has no database, or cannot tell who is signed in; nothing was changed",
}
_WITH_A_PERSON = {"401": "No access token, or one that has expired", "403": "The role may not do this"}
_OF_A_WRITE = {
    "404": "Something the request names does not exist",
    "409": "A rule refuses it, or it clashes with what is there",
}
_OF_A_PATH = {"404": "There is no such thing"}
_OF_A_KEY = {"400": "The body cannot be read, or the Idempotency-Key is missing or unusable"}
_OF_A_BODY = {
    "400": "The body cannot be read",
    "413": "The body is too large",
    "422": "The request does not have the right form; `errors` says where",
}
_OF_A_CURSOR = {"400": "The cursor was not made by this service"}
_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
_KEY_SCHEME = "ApiKey"
_KEY_SCHEME_SAYS = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "wgk_…",
    "description": "A key of an integration client, sent as `Authorization: Bearer wgk_…`",
}


def serve_documentation(app: FastAPI) -> list[object]:
    """Add ``/docs`` from files of our own, and problems to every operation of OpenAPI.

    Returns:
        the routes and mounts that show it, which everybody may read and which have no policy.
    """
    known = {id(route) for route in app.routes if getattr(route, "path", None) != app.openapi_url}
    app.mount("/docs/assets", StaticFiles(directory=_ASSETS), name="docs-assets")
    app.add_route("/docs/oauth2-redirect", _oauth2_redirect, include_in_schema=False)
    app.add_route("/docs", _docs_page(app), include_in_schema=False)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return [route for route in app.routes if id(route) not in known]


def _docs_page(app: FastAPI) -> Any:
    page = _with_policy(
        get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            oauth2_redirect_url="/docs/oauth2-redirect",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
        )
    )

    async def show(_request: Any) -> HTMLResponse:
        return page

    return show


async def _oauth2_redirect(_request: Any) -> HTMLResponse:
    return _with_policy(get_swagger_ui_oauth2_redirect_html())


def _with_policy(page: HTMLResponse) -> HTMLResponse:
    page.headers["Content-Security-Policy"] = policy_of(bytes(page.body).decode())
    return page


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = _PROBLEM_SCHEMA
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schema["components"].setdefault("securitySchemes", {})[_KEY_SCHEME] = _KEY_SCHEME_SAYS
        with_keys = {(right.method, right.path) for right in rights_of(app) if right.needs_person and right.keys}
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                _add_problems(operation, path=path, method=method)
                if (method.upper(), path) in with_keys:
                    operation["security"] = [*operation["security"], {_KEY_SCHEME: []}]
        app.openapi_schema = schema
    return app.openapi_schema


def _add_problems(operation: dict[str, Any], *, path: str, method: str) -> None:
    expected = dict(_EVERYWHERE)
    if operation.get("security"):
        expected |= _WITH_A_PERSON
    elif path == TOKEN_PATH:
        expected["401"] = "The name and the password do not belong together"
    if method != "get":
        expected |= _OF_A_WRITE
    if "{" in path:
        expected |= _OF_A_PATH
    responses = operation["responses"]
    # What a route declares of its own, such as a 401 of the sign-in, is a problem as well.
    expected |= {status: told["description"] for status, told in responses.items() if status[0] in "45"}
    parameters = {each["name"]: each for each in operation.get("parameters", [])}
    if "cursor" in parameters:
        expected |= _OF_A_CURSOR
    if "requestBody" in operation:
        expected |= _OF_A_BODY
    if key := parameters.get("Idempotency-Key"):
        # Optional for FastAPI, so that its absence is refused in our own words.
        key |= {"required": True, "schema": _KEY_SCHEMA}
        expected |= _OF_A_KEY
    if "422" in responses:
        expected["422"] = _OF_A_BODY["422"]
    for status, description in sorted(expected.items()):
        responses[status] = {
            "description": description,
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


@router.get("", response_class=HTMLResponse)
async def list_problems() -> HTMLResponse:
    """Show every problem that this service can answer with."""
    return _page("Problems", entries=sorted(_problems(DomainError), key=lambda problem: problem.slug()))


@router.get("/{slug}", response_class=HTMLResponse)
async def show_problem(slug: str) -> HTMLResponse:
    """Explain the problem whose ``type`` ends in this word."""
    found = [problem for problem in _problems(DomainError) if problem.slug() == slug]
    if not found:
        raise NoSuchPage(f"there is no problem {slug!r}", remedy="see /problems for all of them")
    return _page(found[0].title, entries=found)


def _problems(kind: type[DomainError]) -> Iterator[type[DomainError]]:
    for problem in kind.__subclasses__():
        if problem not in _KINDS:
            yield problem
        yield from _problems(problem)


def _page(title: str, *, entries: list[type[DomainError]]) -> HTMLResponse:
    rows = "".join(
        f'<tr id="{problem.slug()}"><td><a href="/problems/{problem.slug()}">{problem.slug()}</a></td>'
        f"<td>{status_of(problem)}</td><td>{html.escape(problem.title)}</td>"
        f"<td>{html.escape(inspect.cleandoc(problem.__dict__.get('__doc__') or ''))}</td></tr>"
        for problem in entries
    )
    return page_of(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>body{font:16px/1.5 system-ui;margin:2rem;max-width:70rem}td,th{padding:.3rem 1rem .3rem 0;"
        "text-align:left;vertical-align:top}</style>"
        f"<h1>{html.escape(title)}</h1><table><tr><th>type</th><th>status</th><th>title</th><th></th></tr>"
        f"{rows}</table><p>Each answer says under <code>detail</code> what was wrong and under "
        "<code>remedy</code> what would be right.</p></html>"
    )
