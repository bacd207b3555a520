"""Schemathesis reads the OpenAPI document of the running service and sends it what it should, and should not, take.

All its checks are on, for nobody, for one role, and for one who has every role. A new route is taken along without
a word here. `make fuzz` sends more, and for each role; FUZZ_EXAMPLES and FUZZ_SEED say otherwise.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from databases import Database
from desk import API, Desk, a_desk
from factories import PASSWORD, a_contract, a_customer, a_live_terminal, a_notice, a_purchase, a_state, a_terminal
from people import bearer
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from app.clock import Clock
from app.database import transaction
from app.mqtt.signing import new_private_key_pem
from app.notices.rules import NoticeKind
from app.roles import Role
from app.staff.queries import get_office
from app.staff.service import NewStaffMember, hire

pytestmark = [pytest.mark.hostile, pytest.mark.no_cover, pytest.mark.takes(seconds=15)]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "3"))
LONG = EXAMPLES > 3
SEED = int(os.environ.get("FUZZ_SEED", "1"))
#: So often an id or a number in a request is one that exists.
KNOWN = 0.7


#: Checks that one route cannot pass, each with the reason.
SPECIAL: list[dict[str, Any]] = [
    # `GET /purchases/quote` reads the receipt of a purchase of that number, and says that this is no such number.
    {"include-name": "POST /api/v1/purchases/quote", "checks": {"unsupported_method": {"enabled": False}}},
    # `GET /refunds/quote` reads the refund of that id, and says that this is no id.
    {"include-name": "POST /api/v1/refunds/quote", "checks": {"unsupported_method": {"enabled": False}}},
    # `GET /approvals/orders` reads the request of that id, and says that this is no id.
    {"include-name-regex": r"^POST /api/v1/approvals/[a-z-]+$", "checks": {"unsupported_method": {"enabled": False}}},
]


@dataclass(frozen=True, kw_only=True)
class Utility:
    """A running service with a few customers in all states, and the names of what is there."""

    desk: Desk
    known: dict[str, list[str]]


@pytest.fixture
def utility(database: Database, tmp_path: Path) -> Iterator[Utility]:
    now = Clock().now()
    key = tmp_path / "key.pem"
    key.write_bytes(new_private_key_pem())
    known: dict[str, list[str]] = {}

    def there_is(**names: Any) -> None:
        for name, value in names.items():
            known.setdefault(name, []).append(str(value))

    with a_desk(database, signing_key_file=key) as desk:
        with transaction(database.engine) as session:
            for number in range(1, 4):
                customer = a_customer(session)
                contract = a_contract(session, customer=customer)
                point = contract.supply_point_id
                terminal = a_terminal(session, supply_point_id=point)
                a_live_terminal(session, terminal_id=terminal.id, now=now, state=a_state())
                sold = a_purchase(session, contract=contract, now=now, paid_fen=8_000_000 * number)
                notice = a_notice(
                    session,
                    supply_point_id=point,
                    kind=NoticeKind.WRITTEN,
                    issued_at=now,
                    cut_not_before=now,
                    served_at=None,
                )
                there_is(customer_no=customer.customer_no, contract_no=contract.contract_no, supply_point_id=point)
                there_is(terminal_id=terminal.id, purchase_no=sold.purchase_no, command_id=sold.command_id)
                there_is(notice_id=notice.id)
            bare = a_contract(session, price=None)
            there_is(contract_no=bare.contract_no, supply_point_id=bare.supply_point_id)
        there_is(office_code=desk.get("/offices").json()["items"][0]["code"])
        yield Utility(desk=desk, known=known)


def settings_of(utility: Utility, headers: dict[str, str], *, examples: int, thorough: bool) -> SchemathesisConfig:
    """All checks, with existing names strewn in; ``thorough`` adds each edge of each value, and chains of calls."""
    return SchemathesisConfig.from_dict(
        {
            "base-url": str(utility.desk.http.base_url),
            "headers": headers,
            "seed": SEED,
            "continue-on-failure": True,
            "dictionaries": {name: {"values": values} for name, values in utility.known.items()},
            "parameters": {
                f"{place}.{name}": {"dictionary": name, "probability": KNOWN}
                for name in utility.known
                for place in ("path", "query", "body")
            },
            "generation": {"deterministic": True, "max-examples": examples, "no-shrink": True, "database": "none"},
            "checks": {"enabled": True},
            "operations": SPECIAL,
            "phases": {"coverage": {"enabled": thorough}, "stateful": {"enabled": thorough}},
            "warnings": False,
        }
    )


def excused(check: str, answer: Any) -> bool:
    """Whether a request that the document allows may be refused all the same.

    A cursor is opaque, so no schema can tell the ones that this service has made, nor which keys were used before for
    another body, as a print of the same receipt in another format. And what JSON Schema cannot say,
    such as "each round is fitted once" or the bounds of a moment, is said in words: Pydantic marks it as value error.
    """
    if check != "positive_data_acceptance" or answer is None:
        return False
    problem = answer.json()
    if problem["type"] in ("/problems/cursor-unreadable", "/problems/idempotency-key-reused"):
        return True
    errors = problem.get("errors", [])
    return bool(errors) and all(one["what"].startswith("Value error, ") for one in errors)


def faults_found(
    utility: Utility, headers: dict[str, str], *, examples: int, thorough: bool
) -> tuple[Counter[str], list[str]]:
    """Run every phase; returns how many requests each status answered, and what was wrong."""
    config = settings_of(utility, headers, examples=examples, thorough=thorough)
    schema = schemathesis.openapi.from_url(f"{utility.desk.http.base_url}/openapi.json", config=config)
    statuses: Counter[str] = Counter()
    faults: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            faults.append(str(event.__dict__ if hasattr(event, "__dict__") else event))
        if isinstance(event, events.ScenarioFinished):
            for interaction in event.recorder.interactions.values():
                if interaction.response is not None:
                    statuses[str(interaction.response.status_code)] += 1
            faults += [
                f"{event.label}: {check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                for case_id, checks in event.recorder.checks.items()
                for check in checks
                if check.failure_info and not excused(check.name, event.recorder.interactions[case_id].response)
            ]
    return statuses, faults


def everybody(utility: Utility) -> dict[str, str]:
    """A header of one person who has every role."""
    new = NewStaffMember(
        sign_in_name="every.role", name_zh="李娜", name_en="Li Na", password=PASSWORD, roles=list(Role)
    )
    with transaction(utility.desk.database.engine) as session:
        person = hire(
            session, new, office=get_office(session, code=utility.known["office_code"][0]), now=Clock().now()
        )
    return bearer(person, settings=utility.desk.settings)


@pytest.mark.parametrize("role", [*Role, None] if LONG else [Role.OPERATOR, None])
def test_the_service_keeps_to_its_document_whatever_is_sent(
    utility: Utility, role: Role | None, record_property: Callable[[str, object], None]
) -> None:
    headers = utility.desk.headers[role] if role else {}
    statuses, faults = faults_found(utility, headers, examples=EXAMPLES if LONG else 1, thorough=LONG)
    record_property("answers", dict(statuses))
    assert "\n\n".join(faults) == ""
    assert statuses["200"] > 0


@pytest.mark.takes(seconds=70)
def test_the_service_keeps_to_its_document_for_one_who_may_do_everything(
    utility: Utility, record_property: Callable[[str, object], None]
) -> None:
    statuses, faults = faults_found(utility, everybody(utility), examples=EXAMPLES, thorough=True)
    record_property("answers", dict(statuses))
    assert "\n\n".join(faults) == ""
    assert {"200", "201", "404", "409", "422"} <= set(statuses)


def test_a_refused_method_is_told_every_method_of_the_address(utility: Utility) -> None:
    answers = {path: utility.desk.http.delete(API + path) for path in ("/contracts", "/purchases/quote", "/staff")}
    assert {answer.status_code for answer in answers.values()} == {405}
    assert {path: answer.headers["Allow"] for path, answer in answers.items()} == {
        "/contracts": "GET, POST",
        "/purchases/quote": "POST",
        "/staff": "GET, POST",
    }


@pytest.mark.parametrize("moment", ["0.5", "1772452800"])
def test_a_moment_in_a_request_is_never_a_number(utility: Utility, moment: str) -> None:
    path = f"/supply-points/{utility.known['supply_point_id'][0]}/reports"
    assert utility.desk.get(path, to=moment).status_code == 422
    assert utility.desk.get(path, to="2026-03-01T08:00:00+08:00").status_code == 200
