"""The HTTP process: the API with its edge, its documentation and its health."""

import asyncio
import functools
import gc
import signal
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any
from uuid import UUID

import anyio.to_thread
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine, Row
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

import app.access.routes
import app.approvals.routes
import app.audit.routes
import app.brake.routes
import app.calendars.routes
import app.campaigns.routes
import app.cheques.routes
import app.closings.routes
import app.customers.routes
import app.emergency.routes
import app.exchanges.routes
import app.http.documentation
import app.http.health
import app.imports.routes
import app.key_changes.routes
import app.load_control.routes
import app.models  # foreign keys by name need every table known
import app.orders.routes
import app.policies.routes
import app.purchases.routes
import app.receipts.routes
import app.refunds.routes
import app.shift_closing.routes
import app.shifts.routes
import app.site_codes.routes
import app.staff.routes
import app.terminal_reports.routes
import app.terminals.routes
from app.access import queries as access_queries
from app.access import service as access
from app.access.rules import CLIENT_ROLES
from app.clock import Clock
from app.database import connect, reading, transaction, watch_pool
from app.http.documentation import serve_documentation
from app.http.health import RequestMetrics, route_templates
from app.http.limits import BodyLimit, Door, SecurityHeaders
from app.http.policies import Person
from app.http.problems import UnhandledErrors, handle_problems
from app.http.rates import Rates
from app.http.request_ids import RequestIds
from app.http.rights import refuse_unprotected, rights_document, rights_of
from app.http.server import BoundedHttp
from app.http.standing import LiveKey, Reading, WatchedStanding
from app.logs import log_as_json
from app.migrations import head
from app.roles import Role
from app.settings import Settings

log = structlog.get_logger()

API = "/api/v1"

#: The routers of the features, each under ``/api/v1``; one is asked after the other, so the counter comes first.
ROUTERS = [
    app.purchases.routes.router,
    app.receipts.routes.router,
    app.shifts.routes.router,
    app.refunds.routes.router,
    app.closings.routes.router,
    app.emergency.routes.router,
    app.shift_closing.routes.router,
    app.cheques.routes.router,
    app.access.routes.router,
    app.staff.routes.router,
    app.customers.routes.router,
    app.terminals.routes.router,
    app.exchanges.routes.router,
    app.key_changes.routes.router,
    app.load_control.routes.router,
    app.orders.routes.router,
    app.site_codes.routes.router,
    app.approvals.routes.router,
    app.campaigns.routes.router,
    app.brake.routes.router,
    app.calendars.routes.router,
    app.policies.routes.router,
    app.terminal_reports.routes.router,
    app.audit.routes.router,
    app.imports.routes.router,
]

_GRACE_S = 10
#: A busy machine needs longer than the server's own five seconds to start a process, and would begin again for ever.
_CHILD_STARTS_WITHIN_S = 60
_ALLOCATIONS_BETWEEN_COLLECTIONS = 20_000

_DESCRIPTION = """
Prepaid and load-control purchase of electricity for large customers 大用户预付费及负控购电.

Sign in with *Authorize*. Money is in whole fen, energy in whole Wh, moments are UTC. What moves value asks for
an `Idempotency-Key`. Every refusal is a problem document (RFC 9457) that says what was wrong and what would be
right; [all problems](/problems).
"""
_BEFORE_RIGHTS = """\
# Who may call what 权限表

Made by `wattgate rights` from the routes themselves. A test calls every one of them as everybody and holds the
answers against this table.

A tick lets pass, an empty field refuses: 401 where nobody is signed in, 403 where the role may not. A client's API
key passes where one of its scopes has a tick (*by scope*), and everywhere that its own column has one. A tick is no
more than the door: a rule behind it may still refuse.

`/docs`, its assets and `/openapi.json` are read by everybody. Commands of `wattgate` ask for no role: who may run
them is a matter of the machine's accounts, and of who may read the settings.

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
    rates = Rates(person_per_s=settings.requests_per_s, address_per_s=settings.open_requests_per_s)
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
            Middleware(RequestIds),
            Middleware(SecurityHeaders, https_only=settings.https_only),
            Middleware(RequestMetrics),
            Middleware(UnhandledErrors),
            Middleware(Door, max_head_bytes=settings.max_head_bytes, rates=rates),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    service.state.settings = settings
    service.state.token_secret = settings.token_secret.get_secret_value()
    service.state.owns_engine = engine is None
    service.state.engine = engine or connect(
        settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
    )
    service.state.rates = rates
    # A connection of its own: were it to wait for one, a busy hour would look like a lost database.
    service.state.standing_engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    service.state.standing = _standing(service.state.standing_engine)
    watch_pool(service.state.engine)
    service.state.migration_head = head()
    add_routes(service)
    handle_problems(service)
    service.state.route_templates = route_templates(service)
    return service


def add_routes(service: FastAPI) -> None:
    """Give a service all its routes.

    Raises:
        UnprotectedRoute: a route has no policy.
    """
    service.router.routes.extend(_routes())
    service.state.open_routes = serve_documentation(service)
    refuse_unprotected(service, open_routes=service.state.open_routes)


@functools.cache
def _routes() -> tuple[BaseRoute, ...]:
    """Put the routes together, once in a process: to learn what each asks for takes most of the time of a start.

    They know nothing of the service that has them; what is its own, they find in the state of ``request.app``.
    """
    whole = APIRouter()
    for router in ROUTERS:
        whole.include_router(router, prefix=API)
    whole.include_router(app.http.health.router)
    whole.include_router(app.http.documentation.router)
    return tuple(whole.routes)


def document_of_rights() -> str:
    """Write who may call what, as the routes themselves say; ``docs/rights.md`` is its output."""
    service = FastAPI(docs_url=None, redoc_url=None)
    add_routes(service)
    return rights_document(rights_of(service), roles=list(Role), key_roles=CLIENT_ROLES, before=_BEFORE_RIGHTS)


def serve(settings: Settings) -> None:
    """Run the HTTP process until it is told to end; requests under way are finished first."""
    # The server raises the signal again once it has stopped in order; an ordered stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
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
        log_config=None,  # as app.logs has it
        access_log=False,  # /metrics counts requests; the audit record says who did what
        server_header=False,
        http=BoundedHttp,
        ws="none",
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_worker_healthcheck=_CHILD_STARTS_WITHIN_S,
    )
    log.info("the service has stopped")


def application_of_this_process() -> FastAPI:
    log_as_json()
    return create_app(Settings())


@asynccontextmanager
async def _lifespan(service: FastAPI) -> AsyncIterator[None]:
    # Once more: routes may have been added since the service was put together.
    refuse_unprotected(service, open_routes=service.state.open_routes)
    # As many routes at once as connections: one more would only wait for a connection while holding a thread.
    connections = service.state.settings.database_pool_size
    anyio.to_thread.current_default_thread_limiter().total_tokens = connections
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(connections))
    await asyncio.to_thread(service.state.standing.start)
    # What lives as long as the process is not looked through again and again for rubbish.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
    yield
    await asyncio.to_thread(service.state.standing.stop)
    service.state.standing_engine.dispose()
    if service.state.owns_engine:
        service.state.engine.dispose()


def _standing(engine: Engine) -> WatchedStanding:
    """Join what the edge asks with what the database knows; the edge itself knows no feature."""
    machine = Clock()

    def read() -> Reading:
        now = machine.now()
        with reading(engine) as session:
            return Reading(
                ended=access_queries.ended_early(session, now=now),
                keys={row.id: _live(row) for row in access_queries.live_keys(session, now=now)},
            )

    def note_used(key_ids: Collection[UUID]) -> None:
        with transaction(engine) as session:
            access.note_used(session, key_ids=key_ids, now=machine.now())

    return WatchedStanding(read=read, note_used=note_used)


def _live(row: Row[Any]) -> LiveKey:
    client = Person(id=row.client_id, sign_in_name=row.sign_in_name, roles=frozenset(row.roles))
    return LiveKey(client=client, digest=row.digest, expires_at=row.expires_at, networks=tuple(row.networks))
