"""Work that a test interrupts: a sale and a batch, as the service and the worker do them, in a child's reach."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from ladder import CONTRACT, PACE
from running import settings_for
from sqlalchemy import Engine
from sqlalchemy.orm import configure_mappers

from app.database import Actor
from app.http.idempotency import REPLAYED_HEADER, KeyedRequest
from app.http.policies import Person
from app.purchases.routes import create_purchase
from app.purchases.schemas import SaleRequest
from app.roles import Role
from app.terminal_reports.ingest import Frame, Ingest

# Once for all children, who are forked from a process that has imported this.
configure_mappers()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A sale as a till asks for it."""

    cashier_id: UUID
    now: datetime
    body: str = json.dumps({"contract_no": CONTRACT, "amount_yuan": "90000.37"})
    key: str = "saved-before-it-was-sent"


def sell(engine: Engine, tell: Callable[[str], None], asked: Asked, database_url: str) -> None:
    """What the service does with the request, from the route on; tells the answer."""
    settings = settings_for(database_url)
    request = KeyedRequest(
        key=asked.key,
        route="POST /api/v1/purchases",
        body_hash=sha256(asked.body.encode()).digest(),
        person=Person(id=asked.cashier_id, sign_in_name="cashier", roles=frozenset({Role.CASHIER})),
        actor=Actor(staff_member_id=asked.cashier_id, name="cashier"),
        now=asked.now,
        settings=settings,
        engine=engine,
    )
    answer = asyncio.run(create_purchase(SaleRequest.model_validate_json(asked.body), request))
    tell(f"{answer.status_code} {answer.headers.get(REPLAYED_HEADER)} {bytes(answer.body).decode()}")


def take(engine: Engine, tell: Callable[[str], None], frames: list[Frame]) -> None:
    """What the worker does with a batch, from the queue on; tells what is published."""

    def publish(topic: str, payload: bytes) -> None:
        tell(f"{topic.rsplit('/', 1)[1]} {payload.decode()}")

    ingest = Ingest(engine, pace=PACE, publish=publish)
    for frame in frames:
        ingest.put(*frame)
    ingest.start()
    ingest.stop()
