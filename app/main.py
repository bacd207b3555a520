"""The HTTP process: the API with its edge, its documentation and its health."""

import asyncio
import gc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.middleware import Middleware

import app.audit.routes
import app.cheques.routes
import app.customers.routes
import app.emergency.routes
import app.http.documentation
import app.http.health
import app.load_control.routes
import app.models  # foreign keys by name need every table known
import app.orders.routes
import app.purchases.routes
import app.receipts.routes
import app.refunds.routes
import app.shift_closing.routes
import app.shifts.routes
import app.staff.routes
import app.terminal_reports.routes
import app.terminals.routes
from app.database import connect
from app.http.documentation import serve_documentation
from app.http.health import RequestMetrics, route_templates
from app.http.limits import BodyLimit, SecurityHeaders
from app.http.policies import refuse_unprotected
from app.http.problems import UnhandledErrors, handle_problems
from app.migrations import head
from app.settings import Settings

API = "/api/v1"

#: The routers of the features, each under ``/api/v1``; one is asked after the other, so the counter comes first.
ROUTERS = [
    app.purchases.routes.router,
    app.receipts.routes.router,
    app.shifts.routes.router,
    app.refunds.routes.router,
    app.emergency.routes.router,
    app.shift_closing.routes.router,
    app.cheques.routes.router,
    app.staff.routes.router,
    app.customers.routes.router,
    app.terminals.routes.router,
    app.load_control.routes.router,
    app.orders.routes.router,
    app.terminal_reports.routes.router,
    app.audit.routes.router,
]

_GRACE_S = 10
_ALLOCATIONS_BETWEEN_COLLECTIONS = 20_000

_DESCRIPTION = """
Prepaid and load-control purchase of electricity for large customers 大用户预付费及负控购电.

Sign in with *Authorize*. Money is in whole fen, energy in whole Wh, moments are UTC. What moves value asks for
an `Idempotency-Key`. Every refusal is a problem document (RFC 9457) that says what was wrong and what would be
right; [all problems](/problems).
"""
_TAGS = [
    {"name": "people", "description": "Sign-in, people and offices 人员与营业厅"},
    {"name": "health", "description": "For the machines that watch the service 运行监视"},
]


def create_app(settings: Settings, *, engine: Engine | None = None) -> FastAPI:
    """Put the service together.

    Args:
        settings: of this process.
        engine: one that the caller owns and closes; without it the service opens and closes its own.

    Raises:
        UnprotectedRoute: a route has no policy.
    """
    service = FastAPI(
        title="Wattgate",
        version=version("wattgate"),
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(RequestMetrics),
            Middleware(UnhandledErrors),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    service.state.settings = settings
    service.state.token_secret = settings.token_secret.get_secret_value()
    service.state.owns_engine = engine is None
    service.state.engine = engine or connect(
        settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
    )
    service.state.migration_head = head()
    for router in ROUTERS:
        service.include_router(router, prefix=API)
    service.include_router(app.http.health.router)
    service.include_router(app.http.documentation.router)
    handle_problems(service)
    serve_documentation(service)
    refuse_unprotected(service)
    service.state.route_templates = route_templates(service)
    return service


def serve(settings: Settings) -> None:
    """Run the HTTP process until it is told to end; requests under way are finished first."""
    if settings.http_workers == 1:
        application: FastAPI | str = create_app(settings)
    else:
        # Each of several processes makes its own service from the same environment.
        application = "app.main:application_of_this_process"
    uvicorn.run(
        application,
        factory=isinstance(application, str),
        workers=settings.http_workers,
        host=settings.http_host,
        port=settings.http_port,
        access_log=False,  # /metrics counts requests; the audit record says who did what
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


def application_of_this_process() -> FastAPI:
    return create_app(Settings())


@asynccontextmanager
async def _lifespan(service: FastAPI) -> AsyncIterator[None]:
    # As many routes at once as connections: one more would only wait for a connection while holding a thread.
    connections = service.state.settings.database_pool_size
    anyio.to_thread.current_default_thread_limiter().total_tokens = connections
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(connections))
    # What lives as long as the process is not looked through again and again for rubbish.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
    yield
    if service.state.owns_engine:
        service.state.engine.dispose()
