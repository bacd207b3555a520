"""What a route may ask for: one transaction around its work, the moment, the settings."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.database import transaction
from app.settings import Settings


def open_transaction(request: Request) -> Iterator[Session]:
    with transaction(request.app.state.engine) as session:
        yield session


async def settings_in_force(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def moment(request: Request) -> datetime:
    now: datetime = request.app.state.settings.clock.now()
    return now


#: A session whose transaction is committed before the answer goes out. With the other scope, "request", the
#: answer would be on its way already and a failed commit would still look like a success.
Db = Annotated[Session, Depends(open_transaction, scope="function")]
#: Contract time at the start of the request.
Now = Annotated[datetime, Depends(moment)]
AppSettings = Annotated[Settings, Depends(settings_in_force)]
