"""Reads for an import: what is there already, asked once for a whole file."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, any_, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.customers.models import Customer, SupplyContract, SupplyPoint
from app.imports.facts import Kind, Reading
from app.imports.models import ImportedFile
from app.openings.rules import Ground
from app.staff.models import Office, StaffMember
from app.terminals.models import Terminal


class Import(NamedTuple):
    """A file that was taken over, and the sign-in name of the person who answers for it."""

    file: ImportedFile
    imported_by: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the lines of a file refer to and must not repeat."""

    offices: dict[str, UUID]
    customers: set[str]
    contracts: set[str]
    points: dict[str, UUID]
    occupied: set[UUID]
    terminals: set[str]
    grounds: dict[str, Ground]


def numbers(reading: Reading, column: str, *kinds: Kind) -> list[Any]:
    """Return what the records say in a column, each once; nothing for other kinds of files."""
    if reading.layout.kind not in kinds:
        return []
    return sorted({record.values[column] for record in reading.records if column in record.values})


def known(session: Session, reading: Reading, *, grounds: dict[str, Ground]) -> Known:
    """Ask what is there, in a few statements for the whole file; ``grounds`` the openings have locked."""
    points = _points(session, numbers(reading, "point_no", Kind.CONTRACTS, Kind.TERMINALS))
    customer_nos = numbers(reading, "customer_no", Kind.CUSTOMERS, Kind.CONTRACTS)
    contract_nos = numbers(reading, "contract_no", Kind.CONTRACTS)
    terminal_ids = numbers(reading, "terminal_id", Kind.TERMINALS)
    return Known(
        offices=_offices(session, numbers(reading, "office_code", Kind.CUSTOMERS)),
        customers=_there(session, Customer.customer_no, customer_nos),
        contracts=_there(session, SupplyContract.contract_no, contract_nos),
        points=points,
        occupied=_there(session, Terminal.supply_point_id, points.values()),
        terminals=_there(session, Terminal.id, terminal_ids),
        grounds=grounds,
    )


def imported(session: Session, *, kind: str, sha256: str) -> Import | None:
    row = session.execute(_imports().where(ImportedFile.kind == kind, ImportedFile.sha256 == sha256)).first()
    return None if row is None else Import(*row)


def list_imports(session: Session, *, limit: int, before_id: UUID | None) -> list[Import]:
    """Return up to ``limit`` imports, the latest first, before the one with ``before_id``."""
    wanted = _imports().order_by(ImportedFile.id.desc()).limit(limit)
    if before_id is not None:
        wanted = wanted.where(ImportedFile.id < before_id)
    return [Import(*row) for row in session.execute(wanted)]


def _among(column: Any, wanted: Collection[Any]) -> Any:
    """Compare with an array, which is one parameter however many there are."""
    return column == any_(literal(list(wanted), ARRAY(column.type)))


def _imports() -> Select[ImportedFile, str]:
    return select(ImportedFile, StaffMember.sign_in_name).join(
        StaffMember, StaffMember.id == ImportedFile.imported_by
    )


def _offices(session: Session, codes: Collection[str]) -> dict[str, UUID]:
    rows = session.execute(select(Office.code, Office.id).where(_among(Office.code, codes)))
    return {row.code: row.id for row in rows}


def _points(session: Session, point_nos: Collection[str]) -> dict[str, UUID]:
    rows = session.execute(
        select(SupplyPoint.point_no, SupplyPoint.id).where(_among(SupplyPoint.point_no, point_nos))
    )
    return {row.point_no: row.id for row in rows}


def _there(session: Session, column: Any, wanted: Collection[Any]) -> set[Any]:
    return set(session.scalars(select(column).where(_among(column, wanted)))) if wanted else set()
