"""HTTP in: customers, their contracts, and the purchase prices of these."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.customers import queries, service
from app.customers.schemas import (
    NUMBER_PATTERN,
    ContractShown,
    CustomerShown,
    CustomerToRegister,
    CustomerWholeShown,
    PriceShown,
    PriceToSet,
)
from app.http.paging import Page, Paging, page_of
from app.http.policies import CurrentPerson, allow, signed_in
from app.http.transaction import Db, Now
from app.roles import Role
from app.staff.queries import get_office

router = APIRouter(tags=["customers"])

CustomerNoInPath = Annotated[str, Path(pattern=NUMBER_PATTERN, max_length=100, examples=["C0001"])]
ContractNoInPath = Annotated[str, Path(pattern=NUMBER_PATTERN, max_length=100, examples=["HT-2026-0001"])]


@router.post(
    "/customers",
    summary="Register a customer",
    status_code=201,
    dependencies=[allow(Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR)],
)
def register_customer(wanted: CustomerToRegister, session: Db, now: Now) -> CustomerWholeShown:
    """Take a customer in with its contacts; a second one with the same number is refused."""
    office = get_office(session, code=wanted.office_code)
    service.register_customer(session, wanted.to_register(office_id=office.id), now=now)
    return CustomerWholeShown.whole(queries.customer_whole(session, wanted.customer_no))


@router.get("/customers", summary="Find customers", dependencies=[signed_in()])
def list_customers(
    session: Db,
    paging: Paging,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=100,
            pattern=r"^[^\x00]*$",
            description="part of a number, of a name, or of a contact's telephone number",
            examples=["钢铁"],
        ),
    ] = None,
) -> Page[CustomerShown]:
    """Customers in the order of their numbers."""
    rows = queries.list_customers(session, containing=q, limit=paging.rows_wanted, after=paging.after)
    return page_of(rows, request=paging, key=lambda row: row.customer_no, show=CustomerShown.of)


@router.get("/customers/{customer_no}", summary="A customer whole", dependencies=[signed_in()])
def read_customer(customer_no: CustomerNoInPath, session: Db) -> CustomerWholeShown:
    """Contacts, supply points, and the open contract of each."""
    return CustomerWholeShown.whole(queries.customer_whole(session, customer_no))


@router.get("/contracts", summary="List contracts", dependencies=[signed_in()])
def list_contracts(
    session: Db,
    paging: Paging,
    customer_no: Annotated[str | None, Query(pattern=NUMBER_PATTERN, max_length=100, examples=["C0001"])] = None,
    *,
    open_only: Annotated[bool, Query(description="leave out contracts that were closed")] = False,
) -> Page[ContractShown]:
    """Contracts in the order of their numbers."""
    rows = queries.list_contracts(
        session, customer_no=customer_no, open_only=open_only, limit=paging.rows_wanted, after=paging.after
    )
    return page_of(rows, request=paging, key=lambda row: row.contract.contract_no, show=ContractShown.of)


@router.get("/contracts/{contract_no}", summary="A contract", dependencies=[signed_in()])
def read_contract(contract_no: ContractNoInPath, session: Db) -> ContractShown:
    return ContractShown.of(queries.contract_at_point(session, contract_no))


@router.post(
    "/contracts/{contract_no}/prices",
    summary="Set the purchase price",
    status_code=201,
    dependencies=[allow(Role.TARIFF_KEEPER)],
)
def set_price(
    contract_no: ContractNoInPath, wanted: PriceToSet, session: Db, now: Now, person: CurrentPerson
) -> PriceShown:
    """The price in force before ends where this one begins."""
    return PriceShown.of(service.set_price(session, contract_no, wanted.to_set(), set_by=person.id, now=now))


@router.get("/contracts/{contract_no}/prices", summary="Purchase prices of a contract", dependencies=[signed_in()])
def list_prices(contract_no: ContractNoInPath, session: Db, paging: Paging) -> Page[PriceShown]:
    """In the order in which they were set, the latest first."""
    contract = queries.contract_by_no(session, contract_no)
    rows = queries.list_prices(session, contract.id, limit=paging.rows_wanted, before_id=paging.after_id)
    return page_of(rows, request=paging, key=lambda row: row.id, show=PriceShown.of)
