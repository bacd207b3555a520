"""What a route may ask for: one transaction around its work, the moment, the settings."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.clock import Clock
from app.database import transaction
from app.settings import Settings

_machine = Clock()


def open_transaction(request: Request) -> Iterator[Session]:
    with transaction(request.app.state.engine) as session:
        yield session


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
