"""Is it alive, is it ready, how is it doing: for the machines that watch the service."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.clock import monotonic_s
from app.http.policies import anyone

router = APIRouter(tags=["health"], dependencies=[anyone(limited=False)])

_seconds = Histogram(
    "wattgate_http_request_seconds",
    "How long HTTP requests took, by method, route and status; its count is the number of requests",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
_UNMATCHED = "unmatched"
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestMetrics:
    """ASGI middleware: counts and times requests under the template of their route, never under raw paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = monotonic_s()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            templates: dict[Callable[..., Any], str] = scope["app"].state.route_templates
            route = templates.get(scope.get("endpoint", _unmatched), _UNMATCHED)
            method = scope["method"] if scope["method"] in _METHODS else _UNMATCHED
            _seconds.labels(method, route, status).observe(monotonic_s() - started_s)


def route_templates(app: FastAPI) -> dict[Callable[..., Any], str]:
    """Return the full path template of each route by its function."""
    return {
        route.endpoint: route.path
        for route in iter_route_contexts(app.routes)
        if route.endpoint is not None and route.path is not None
    }


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


@router.get("/healthz", summary="The process is alive")
async def is_alive() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", summary="The database answers and has this version's tables")
def is_ready(request: Request, engine: Annotated[Engine, Depends(_engine)]) -> Response:
    wanted = request.app.state.migration_head
    try:
        with engine.connect() as connection:
            found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError:
        return JSONResponse(
            {"status": "not ready", "because": "the database does not answer, or was never migrated"}, 503
        )
    if found != wanted:
        because = f"the database is at migration {found}, this version needs {wanted}: run `wattgate migrate`"
        return JSONResponse({"status": "not ready", "because": because}, 503)
    return JSONResponse({"status": "ready", "migration": found})


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _unmatched() -> None:
    """Stand for the endpoint of a request that reached none."""
