"""What stands against the records of a file in what is there already; everything, not only the first."""

from collections.abc import Callable, Iterable

from app.customers.rules import check_limit
from app.errors import DomainError
from app.imports.facts import Fault, Kind, Reading, Record
from app.imports.queries import Known
from app.imports.rules import fault
from app.openings.rules import Opening, granted_wh


def clashes(reading: Reading, known: Known, *, may_price: bool) -> list[Fault]:
    """Return every fault of every record against what is known; ``may_price`` says whether its prices are taken."""
    match reading.layout.kind:
        case Kind.CUSTOMERS:
            return _check_customers(reading, known)
        case Kind.CONTRACTS:
            return _check_contracts(reading, known, may_price=may_price)
        case Kind.TERMINALS:
            return _check_terminals(reading, known)
        case Kind.OPENING_BALANCES:
            return _check_openings(reading, known)


def refused(reading: Reading, record: Record, refusal: DomainError) -> Fault:
    """Name the line of a record that a rule or a service refuses."""
    key = reading.layout.key
    value = str(record.values.get(key.name, ""))
    return fault("refused", line=record.line, column=key, value=value, detail=refusal.detail, remedy=refusal.remedy)


def _check_customers(reading: Reading, known: Known) -> list[Fault]:
    faults = []
    for record in reading.records:
        faults += _must_be_new(reading, record, "customer_no", known.customers)
        faults += _must_be_there(reading, record, "office_code", known.offices)
    return faults


def _check_contracts(reading: Reading, known: Known, *, may_price: bool) -> list[Fault]:
    faults = []
    for record in reading.records:
        values = record.values
        faults += _must_be_new(reading, record, "contract_no", known.contracts)
        faults += _must_be_new(reading, record, "point_no", known.points)
        faults += _must_be_there(reading, record, "customer_no", known.customers)
        if values.get("yuan_per_kwh") is not None and not may_price:
            column = reading.layout.column("yuan_per_kwh")
            faults.append(fault("price_not_yours", line=record.line, column=column))
        if "limit_w" in values and "capacity_kva" in values:
            try:
                check_limit(limit_w=values["limit_w"], capacity_kva=values["capacity_kva"])
            except DomainError as refusal:
                faults.append(refused(reading, record, refusal))
    return faults


def _check_terminals(reading: Reading, known: Known) -> list[Fault]:
    faults = []
    for record in reading.records:
        faults += _must_be_new(reading, record, "terminal_id", known.terminals)
        faults += _must_be_there(reading, record, "point_no", known.points)
        if known.points.get(record.values.get("point_no", "")) in known.occupied:
            column = reading.layout.column("point_no")
            faults.append(fault("occupied", line=record.line, column=column, value=record.values["point_no"]))
    return faults


def _check_openings(reading: Reading, known: Known) -> list[Fault]:
    faults = []
    whole = len(reading.layout.columns)
    for record in reading.records:
        faults += _must_be_there(reading, record, "contract_no", known.grounds)
        ground = known.grounds.get(record.values.get("contract_no", ""))
        if ground is not None and len(record.values) == whole:
            try:
                granted_wh(Opening(**record.values), ground)
            except DomainError as refusal:
                faults.append(refused(reading, record, refusal))
    return faults


def _must_be_new(reading: Reading, record: Record, name: str, there: Iterable[str]) -> list[Fault]:
    return _told_if(reading, record, name, "taken", wanted=lambda value: value in there)


def _must_be_there(reading: Reading, record: Record, name: str, there: Iterable[str]) -> list[Fault]:
    return _told_if(reading, record, name, "unknown", wanted=lambda value: value not in there)


def _told_if(reading: Reading, record: Record, name: str, code: str, *, wanted: Callable[[str], bool]) -> list[Fault]:
    value = record.values.get(name)
    if value is None or not wanted(value):
        return []
    return [fault(code, line=record.line, column=reading.layout.column(name), value=value)]
