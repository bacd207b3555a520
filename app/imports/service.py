"""Takes a file over: checks every line against what is there, then does all of it through the features' services."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.customers import service as customers
from app.customers.rules import ControlMode, ImportantUser, NoticePeriods, Threshold, Thresholds
from app.customers.service import NewContact, NewContract, NewCustomer, NewPrice, NewSupplyPoint
from app.database import attempt, new_id, note_undone, rehearsal
from app.errors import Conflict, DomainError, Forbidden, Refused
from app.imports import queries
from app.imports.checks import clashes, refused
from app.imports.facts import IMPORTERS, MOST_FAULTS, PRICE_SETTERS, Fault, Kind, Reading, Record
from app.imports.models import ImportedFile
from app.imports.queries import Known
from app.imports.rules import seconds
from app.load_control.service import Pace, open_supply_point
from app.openings import service as openings
from app.openings.rules import Opening
from app.terminals import service as terminals
from app.terminals.service import NewRound, NewTerminal

Progress = Callable[[int], None]


class ImportedBefore(Conflict):
    title = "The file was imported before"

    def __init__(self, *, file_name: str, imported_by: str, imported_at: datetime) -> None:
        super().__init__(
            f"The same file was imported as {file_name!r} by {imported_by} at {imported_at:%Y-%m-%d %H:%M} UTC.",
            remedy="Nothing is left to do; GET /api/v1/imports lists what was imported.",
            file_name=file_name,
            imported_by=imported_by,
            imported_at=imported_at.isoformat(),
        )


class ImportNotAllowed(Forbidden):
    title = "This person may not import that"

    def __init__(self, *, sign_in_name: str, kind: Kind) -> None:
        needed = " or ".join(sorted(IMPORTERS[kind]))
        super().__init__(
            f"{sign_in_name} may not import {kind}.", remedy=f"Have somebody import it who is {needed}.", kind=kind
        )


class LinesAtFault(Refused):
    """Nothing was taken over; ``faults`` names each line at fault, with the reason and what would be right."""

    title = "Lines of the file are at fault"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(faults, key=lambda one: one.line)[:MOST_FAULTS]
        more = " or more" if len(self.faults) == MOST_FAULTS else ""
        super().__init__(
            f"{len(self.faults)}{more} faults were found; nothing was imported.",
            remedy="Correct each line that `faults` names, and import the whole file again.",
        )


@dataclass(frozen=True, kw_only=True)
class Importer:
    """Who answers for an import."""

    id: UUID
    sign_in_name: str
    roles: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to be taken over."""

    file_name: str
    sha256: str
    reading: Reading

    @property
    def kind(self) -> Kind:
        return self.reading.layout.kind


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of it; credentials of new terminals are here and nowhere else."""

    id: UUID
    kind: Kind
    rows: int
    records: int
    credentials: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Work:
    session: Session
    reading: Reading
    by: Importer
    pace: Pace
    now: datetime


def take_over(
    session: Session,
    upload: Upload,
    *,
    by: Importer,
    pace: Pace,
    now: datetime,
    dry_run: bool = False,
    progress: Progress = lambda _done: None,
) -> Imported:
    """Take over a file whole, or nothing of it; a dry run does everything and undoes it.

    Args:
        session: of the transaction; after a refusal it must not be committed.
        upload: the file as it was understood.
        by: who answers for it.
        pace: for the commands that tell terminals.
        now: when it is imported.
        dry_run: write nothing.
        progress: is told how many records were just done.

    Raises:
        ImportNotAllowed: the role may not do this.
        ImportedBefore: the same file was taken over already.
        LinesAtFault: names every line at fault.
    """
    if not by.roles & set(IMPORTERS[upload.kind]):
        raise ImportNotAllowed(sign_in_name=by.sign_in_name, kind=upload.kind)
    _refuse_second(session, upload)
    work = _Work(session=session, reading=upload.reading, by=by, pace=pace, now=now)
    with rehearsal(session) if dry_run else nullcontext():
        imported_id = _note(work, upload)
        contract_nos = queries.numbers(upload.reading, "contract_no", Kind.OPENING_BALANCES)
        known = queries.known(session, upload.reading, grounds=openings.ready(session, contract_nos))
        may_price = bool(by.roles & PRICE_SETTERS)
        faults = [*upload.reading.faults, *clashes(upload.reading, known, may_price=may_price)]
        if faults:
            raise LinesAtFault(faults)
        results = _do_all(work, known, progress=progress)
        _record(work, upload)
    if dry_run:
        note_undone(session)
    return Imported(
        id=imported_id,
        kind=upload.kind,
        rows=upload.reading.rows,
        records=len(results),
        credentials=() if dry_run else tuple(each for each in results if each is not None),
    )


def _refuse_second(session: Session, upload: Upload) -> None:
    before = queries.imported(session, kind=upload.kind, sha256=upload.sha256)
    if before is not None:
        file = before.file
        raise ImportedBefore(file_name=file.file_name, imported_by=before.imported_by, imported_at=file.imported_at)


def _note(work: _Work, upload: Upload) -> UUID:
    """Write down the file first: of two imports of it at once, the second waits here for the first."""
    row = ImportedFile(
        id=new_id(),
        kind=upload.kind,
        file_name=upload.file_name,
        sha256=upload.sha256,
        rows=upload.reading.rows,
        imported_by=work.by.id,
        imported_at=work.now,
    )
    try:
        with attempt(work.session):
            work.session.add(row)
    except IntegrityError:
        _refuse_second(work.session, upload)
        raise
    return row.id


def _record(work: _Work, upload: Upload) -> None:
    after = {"file_name": upload.file_name, "sha256": upload.sha256, "rows": upload.reading.rows}
    deed = Deed(action="file.imported", subject_kind="import", subject=upload.kind, after=after)
    audit.record(work.session, deed, at=work.now)


def _do_all(work: _Work, known: Known, *, progress: Progress) -> list[Any]:
    """Do every record; when a service refuses one, go on without it to name all that are refused."""
    kind, records = work.reading.layout.kind, work.reading.records
    at_once = _AT_ONCE.get(kind, 1)
    results: list[Any] = []
    try:
        with attempt(work.session):
            for first in range(0, len(records), at_once):
                some = records[first : first + at_once]
                results += _DO[kind](work, known, some)
                progress(len(some))
    except DomainError:
        raise LinesAtFault(_all_refused(work, known)) from None
    return results


def _all_refused(work: _Work, known: Known) -> list[Fault]:
    """Try each record by itself; a refusal met by the database would otherwise spoil those that follow."""
    do = _DO[work.reading.layout.kind]
    faults: list[Fault] = []
    for record in work.reading.records:
        try:
            with attempt(work.session):
                do(work, known, [record])
        except DomainError as refusal:
            faults.append(refused(work.reading, record, refusal))
        if len(faults) >= MOST_FAULTS:
            break
    return faults


def _do_customers(work: _Work, known: Known, records: Sequence[Record]) -> list[None]:
    many = []
    for record in records:
        values = {**record.values, "office_id": known.offices[record.values["office_code"]]}
        del values["office_code"]
        contacts = tuple(NewContact(**_without_line(part)) for part in record.parts)
        many.append(NewCustomer(**values, contacts=contacts))
    customers.register_customers(work.session, many, now=work.now)
    return [None] * len(many)


def _do_contract(work: _Work, record: Record) -> None:
    values = record.values
    written_s, second_s = seconds(values)
    levels = {
        stage: Threshold(energy_wh=values[f"{stage}_wh"], supply_hours=values[f"{stage}_hours"])
        for stage in ("notice", "warning", "limited")
    }
    new = NewContract(
        contract_no=values["contract_no"],
        customer_no=values["customer_no"],
        supply_point=NewSupplyPoint(
            point_no=values["point_no"],
            name_zh=values["point_zh"],
            name_en=values["point_en"],
            address=values["address"],
            feeder=values["feeder"],
            voltage_v=values["voltage_v"],
        ),
        capacity_kva=values["capacity_kva"],
        limit_w=values["limit_w"],
        control_mode=ControlMode(values["control_mode"]),
        thresholds=Thresholds(**levels, trip=Threshold(energy_wh=values["trip_wh"])),
        notice_periods=NoticePeriods(written_s=written_s, second_s=second_s),
        important_user=ImportantUser(values["important_user"]),
        protected=values["protected"],
    )
    open_supply_point(work.session, new, opening_supplied_wh=values["reading_wh"], now=work.now)
    if values["yuan_per_kwh"] is not None:
        price = NewPrice(
            yuan_per_kwh=values["yuan_per_kwh"],
            valid_from=values["price_from"],
            valid_until=values["price_until"],
        )
        customers.set_price(work.session, new.contract_no, price, set_by=work.by.id, now=work.now)


def _do_terminal(work: _Work, known: Known, record: Record) -> tuple[str, str]:
    values = record.values
    new = NewTerminal(
        terminal_id=values["terminal_id"],
        supply_point_id=known.points[values["point_no"]],
        meter_no=values["meter_no"],
        safe_load_w=values["safe_load_w"],
        rounds=tuple(NewRound(**_without_line(part)) for part in record.parts),
    )
    return new.terminal_id, terminals.register(work.session, new, now=work.now)


def _do_contracts(work: _Work, _known: Known, records: Sequence[Record]) -> list[None]:
    for record in records:
        _do_contract(work, record)
    return [None] * len(records)


def _do_terminals(work: _Work, known: Known, records: Sequence[Record]) -> list[tuple[str, str]]:
    return [_do_terminal(work, known, record) for record in records]


def _do_openings(work: _Work, known: Known, records: Sequence[Record]) -> list[None]:
    for record in records:
        opening = Opening(**record.values)
        ground = known.grounds[opening.contract_no]
        openings.open_locked(work.session, opening, ground, by=work.by.id, pace=work.pace, now=work.now)
    return [None] * len(records)


def _without_line(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "line"}


#: Customers have no books and no counters of their own, so many go in one statement.
_AT_ONCE = {Kind.CUSTOMERS: 200}
_DO: dict[Kind, Callable[[_Work, Known, Sequence[Record]], list[Any]]] = {
    Kind.CUSTOMERS: _do_customers,
    Kind.CONTRACTS: _do_contracts,
    Kind.TERMINALS: _do_terminals,
    Kind.OPENING_BALANCES: _do_openings,
}
