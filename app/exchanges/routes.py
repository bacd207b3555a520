"""HTTP in: a terminal takes another's place."""

import base64
import hashlib
import hmac
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.customers.queries import supply_point
from app.exchanges import queries, service
from app.exchanges.schemas import TerminalExchanged, TerminalExchangeShown, TerminalToExchange
from app.http.idempotency import Keyed, KeyedRequest
from app.http.paging import Page, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.transaction import Db
from app.load_control.service import Pace
from app.mqtt.site_codes import key_text
from app.roles import Role
from app.terminals.routes import keys_of, pin, site_keys_for, site_secret_of
from app.terminals.schemas import TerminalRegistered

router = APIRouter(prefix="/supply-points/{supply_point_id}", tags=["terminals"])


@router.post(
    "/terminal-exchange",
    summary="Exchange the terminal",
    status_code=201,
    response_model=TerminalExchanged,
    dependencies=[allow(Role.OPERATOR, Role.ADMINISTRATOR)],
)
async def exchange_terminal(supply_point_id: UUID, wanted: TerminalToExchange, request: Keyed) -> Response:
    """The old terminal is retired and the new one takes its place; what is paid for and unused stays, to the Wh.

    The answer holds the new terminal's credential; it is shown to who asked, again only under the same
    `Idempotency-Key`.
    """
    settings = request.settings
    keys, secret = keys_of(settings), site_secret_of(settings)
    credential = _credential(request, wanted.terminal_id)
    pace = Pace.of(settings)

    def exchange(session: Session) -> tuple[int, TerminalExchanged]:
        asked = wanted.wanted(supply_point_id, credential=credential, by=request.person.id)
        shown = TerminalExchangeShown.of(service.exchange(session, asked, pace=pace, now=request.now))
        pinned = pin(session, [wanted.terminal_id], keys)
        site_keys_for(session, [wanted.terminal_id], secret)
        # What is kept for a retry holds no secret: not the credential and not the site key; they are put in below.
        registered = TerminalRegistered.of(
            wanted.terminal_id, credential="", pinned=pinned, site_key=secret.id if secret else None
        )
        return 201, TerminalExchanged(exchange=shown, registered=registered)

    stored = await request.once(exchange)
    kept = TerminalExchanged.model_validate_json(bytes(stored.body))
    made_of = kept.registered.site_key
    site_key = key_text(secret.key_of(wanted.terminal_id)) if secret and secret.id == made_of else None
    registered = kept.registered.model_copy(update={"credential": credential, "site_key": site_key})
    body = kept.model_copy(update={"registered": registered}).model_dump_json().encode()
    headers = {name: value for name, value in stored.headers.items() if name != "content-length"}
    return Response(body, status_code=stored.status_code, headers=headers)


def _credential(request: KeyedRequest, terminal_id: str) -> str:
    """Make the credential of the request itself, so that a retry shows it again and it is stored nowhere in clear."""
    secret = request.settings.token_secret.get_secret_value().encode()
    said = f"terminal credential\n{request.scope}\n{request.key}\n{terminal_id}".encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, said, hashlib.sha256)).decode().rstrip("=")


@router.get("/terminal-exchanges", summary="Terminals that were exchanged here", dependencies=[signed_in()])
def list_exchanges(supply_point_id: UUID, session: Db, paging: Paging) -> Page[TerminalExchangeShown]:
    """Newest first."""
    supply_point(session, supply_point_id)
    rows = queries.list_exchanges(session, supply_point_id, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.id, show=TerminalExchangeShown.of)
