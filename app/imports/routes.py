"""HTTP in: files of customers, contracts, terminals and opening balances."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database import in_transaction_of
from app.errors import Refused
from app.http.idempotency import Keyed
from app.http.paging import Page, Paging, page_of
from app.http.policies import allow, signed_in
from app.http.problems import PROBLEM_JSON
from app.http.refusals import HttpRefusal
from app.http.transaction import Db, actor_behind, changes_nothing
from app.imports import queries, service
from app.imports.columns import LAYOUTS
from app.imports.facts import IMPORTERS, Kind
from app.imports.reader import read_table
from app.imports.rules import understand
from app.imports.schemas import FaultShown, ImportChecked, ImportDone, ImportShown, TerminalsImported
from app.imports.service import Imported, Importer, LinesAtFault, Upload
from app.load_control.service import Pace
from app.roles import Role
from app.settings import Settings
from app.terminals.routes import keys_of, pin, site_keys_for, site_secret_of
from app.terminals.rules import Pinned
from app.terminals.schemas import TerminalRegistered

router = APIRouter(prefix="/imports", tags=["imports"])

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
USUAL_ZONE = "Asia/Shanghai"

T = TypeVar("T")


class FileTypeUnknown(HttpRefusal):
    title = "The kind of file is not taken"
    status = 415


class FileFaulty(HttpRefusal):
    """Nothing was imported; ``faults`` names each line, why, and what would be right."""

    title = "The file has faulty lines"
    status = 422


class ZoneUnknown(Refused):
    title = "There is no such time zone"

    def __init__(self, *, zone: str) -> None:
        super().__init__(f"There is no time zone {zone!r}.", remedy=f"Use a name such as {USUAL_ZONE}.", zone=zone)


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ZoneUnknown: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ZoneUnknown(zone=name) from None


def understood(kind: Kind, content: bytes, *, file_name: str, zone: str) -> Upload:
    """Read a file before any transaction begins: it may take longer than a transaction may sit idle."""
    reading = understand(LAYOUTS[kind], read_table(content), zone=zone_named(zone))
    return Upload(file_name=file_name, sha256=hashlib.sha256(content).hexdigest(), reading=reading)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A file as it was sent, and by whom."""

    content: bytes
    file_name: str
    zone: str
    request: Request

    def take_over(self, session: Session, kind: Kind, *, dry_run: bool = False) -> Imported:
        state = self.request.app.state
        settings: Settings = state.settings
        person = self.request.state.person
        upload = understood(kind, self.content, file_name=self.file_name, zone=self.zone)
        by = Importer(id=person.id, sign_in_name=person.sign_in_name, roles=person.roles)
        pace = Pace.of(settings)
        try:
            return service.take_over(session, upload, by=by, pace=pace, now=settings.clock.now(), dry_run=dry_run)
        except LinesAtFault as refusal:
            shown = [FaultShown.of(one) for one in refusal.faults]
            raise FileFaulty(refusal.detail, remedy=refusal.remedy, faults=shown) from None

    async def do(self, work: Callable[[Session], T]) -> T:
        """Run the work in a thread and a transaction of its own."""
        engine: Engine = self.request.app.state.engine
        return await asyncio.to_thread(in_transaction_of, engine, actor_behind(self.request), work)


async def _sent(
    request: Request,
    file_name: Annotated[
        str, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="kept for the record")
    ] = "",
    zone: Annotated[
        str, Query(max_length=60, pattern=r"^[A-Za-z0-9_+/-]+$", description="in which dates begin")
    ] = USUAL_ZONE,
) -> Sent:
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in (CSV, XLSX):
        raise FileTypeUnknown(
            f"a body of {media_type or 'no type'} is not taken", remedy=f"send Content-Type: {CSV} or {XLSX}"
        )
    return Sent(content=await request.body(), file_name=file_name, zone=zone, request=request)


File = Annotated[Sent, Depends(_sent)]
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (CSV, XLSX)},
    }
}
_TAKEN: dict[str, Any] = {
    "openapi_extra": _BODY,
    "responses": {
        415: {
            "description": "The body is neither CSV nor XLSX",
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
}


@router.post(
    "/{kind}/check",
    summary="Would a file be imported",
    dependencies=[allow(Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR, Role.OPERATOR), changes_nothing()],
    **_TAKEN,
)
async def check_import(kind: Kind, file: File) -> ImportChecked:
    """Does all that the import does and undoes it: every line at fault is named, and nothing is written."""
    return ImportChecked.of(await file.do(lambda session: file.take_over(session, kind, dry_run=True)))


@router.post(
    "/customers",
    summary="Import customers with their contacts",
    status_code=201,
    dependencies=[allow(*IMPORTERS[Kind.CUSTOMERS])],
    **_TAKEN,
)
async def import_customers(file: File) -> ImportDone:
    """All lines or none. The body is the file; larger ones go by `wattgate import`."""
    return ImportDone.of(await file.do(lambda session: file.take_over(session, Kind.CUSTOMERS)))


@router.post(
    "/contracts",
    summary="Import contracts with supply points, thresholds and prices",
    status_code=201,
    dependencies=[allow(*IMPORTERS[Kind.CONTRACTS])],
    **_TAKEN,
)
async def import_contracts(file: File) -> ImportDone:
    """All lines or none. Prices need a tariff keeper or an administrator."""
    return ImportDone.of(await file.do(lambda session: file.take_over(session, Kind.CONTRACTS)))


@router.post(
    "/terminals",
    summary="Import terminals with their rounds",
    status_code=201,
    dependencies=[allow(*IMPORTERS[Kind.TERMINALS])],
    **_TAKEN,
)
async def import_terminals(file: File) -> TerminalsImported:
    """All lines or none. The answer holds the credentials in clear, once."""
    settings: Settings = file.request.app.state.settings
    keys, secret = keys_of(settings), site_secret_of(settings)

    def take_over(session: Session) -> tuple[Imported, Pinned, dict[str, str]]:
        done = file.take_over(session, Kind.TERMINALS)
        names = [name for name, _ in done.credentials]
        return done, pin(session, names, keys), site_keys_for(session, names, secret)

    done, pinned, site_keys = await file.do(take_over)
    registered = [
        TerminalRegistered.of(name, credential=credential, pinned=pinned, site_key=site_keys.get(name))
        for name, credential in done.credentials
    ]
    return TerminalsImported.with_credentials(done, registered)


@router.post(
    "/opening-balances",
    summary="Import opening balances",
    status_code=201,
    response_model=ImportDone,
    dependencies=[allow(*IMPORTERS[Kind.OPENING_BALANCES])],
    **_TAKEN,
)
async def import_opening_balances(file: File, request: Keyed) -> Response:
    """All lines or none. Moves money and energy, so it asks for an `Idempotency-Key` as a sale does."""

    def effect(session: Session) -> tuple[int, ImportDone]:
        return 201, ImportDone.of(file.take_over(session, Kind.OPENING_BALANCES))

    return await request.once(effect)


@router.get("", summary="What was imported", dependencies=[signed_in()])
def list_imports(session: Db, paging: Paging) -> Page[ImportShown]:
    """The latest first."""
    rows = queries.list_imports(session, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.file.id, show=ImportShown.of)
