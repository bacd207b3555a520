"""HTTP in: who looks after the service reads which keys may sign, and which terminals know."""

from fastapi import APIRouter

from app.http.policies import allow
from app.http.transaction import Db
from app.key_changes import queries
from app.key_changes.schemas import KeysShown
from app.roles import Role

router = APIRouter(prefix="/key-statements", tags=["terminals"])


@router.get("", summary="Which keys may sign, and which terminals know", dependencies=[allow(Role.ADMINISTRATOR)])
def read_key_statements(session: Db) -> KeysShown:
    """Every key statement of the anchor, how many terminals hold which, and how far the last one has come."""
    return KeysShown.of(list(queries.statements(session)), queries.holdings(session), queries.on_the_way(session))
