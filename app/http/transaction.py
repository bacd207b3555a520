"""What a route may ask for: one transaction around its work, the moment, the settings."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.clock import Clock
from app.database import Actor, reading, transaction_of
from app.settings import Settings

_machine = Clock()
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def actor_behind(request: Request) -> Actor:
    """Return who asks, and from where, as the route's policy has let pass."""
    person = getattr(request.state, "person", None)
    return Actor(
        staff_member_id=person.id if person else None,
        name=person.sign_in_name if person else "nobody",
        address=request.client.host if request.client else None,
        request_id=getattr(request.state, "request_id", None),
    )


def open_transaction(request: Request) -> Iterator[Session]:
    reads = request.method in _SAFE_METHODS or getattr(request.state, "changes_nothing", False)
    begin = reading if reads else transaction_of
    with begin(request.app.state.engine, actor_behind(request)) as session:
        yield session


class _ChangesNothing:
    """A dependency that says of a route that it only asks, whatever its method."""

    async def __call__(self, request: Request) -> None:
        request.state.changes_nothing = True


def changes_nothing() -> Any:
    """Return the dependency for a route that is no GET and writes nothing, such as a quote."""
    return Depends(_ChangesNothing())


async def settings_in_force(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def moment(request: Request) -> datetime:
    now: datetime = request.app.state.settings.clock.now()
    return now


async def machine_moment() -> datetime:
    return _machine.now()


async def engine_of(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


#: A session whose transaction is committed before the answer goes out. With the other scope, "request", the
#: answer would be on its way already and a failed commit would still look like a success.
Db = Annotated[Session, Depends(open_transaction, scope="function")]
#: Contract time at the start of the request.
Now = Annotated[datetime, Depends(moment)]
#: Machine time at the start of the request, for sign-ins and keys, which a fast clock must not end.
MachineNow = Annotated[datetime, Depends(machine_moment)]
#: For a route whose work is more than one transaction.
AppEngine = Annotated[Engine, Depends(engine_of)]
AppSettings = Annotated[Settings, Depends(settings_in_force)]
