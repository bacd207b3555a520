"""A worker comes, shows that it lives, takes and gives shares, and goes.

Who holds a share is changed only under a lock that the holder's recording excludes: a row lock `FOR UPDATE` of the
holder's row in `workers`, against the `FOR KEY SHARE` of :func:`shares_held`. So no two workers ever record for one
terminal at the same time, not even when one of them was frozen and does not know that it was taken for dead.
"""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database import new_id
from app.errors import Conflict
from app.workers.rules import Alive, shares_wanted


class WorkerNameTaken(Conflict):
    """A broker lets in one connection a client id: two workers of one name would throw each other out for ever."""

    title = "Another worker runs under this name"

    def __init__(self, *, name: str, host: str, pid: int) -> None:
        super().__init__(
            f"A worker named {name!r} runs on {host} as process {pid}.",
            remedy="Stop it, or give this one a name of its own in WATTGATE_WORKER_NAME, and with Mosquitto a user "
            "of its own in WATTGATE_BROKER_USER.",
            name=name,
            host=host,
            pid=pid,
        )


class TakenForDead(Exception):
    """Others have not heard from this worker for its lease and have shared out what it held."""


class Here(NamedTuple):
    """Where a worker runs."""

    name: str
    host: str
    pid: int


class Tended(NamedTuple):
    """What a worker holds now, and which others it has found dead."""

    shares: frozenset[int]
    alive: int
    dead: list[str]


_NAMESAKE = text("""
    SELECT id, host, pid, seen_at > clock_timestamp() - interval '1 second' * :lease_s AS fresh
      FROM workers WHERE name = :name AND ended_at IS NULL FOR UPDATE
""")
_ENTER = text("""
    INSERT INTO workers (id, name, host, pid, started_at, seen_at, hears)
    VALUES (:id, :name, :host, :pid, clock_timestamp(), clock_timestamp(), false)
""")
_END = text("UPDATE workers SET ended_at = clock_timestamp(), ended_why = :why WHERE id = ANY(:ids)")
_HAND_ON = text(
    "UPDATE worker_shares SET worker_id = :heir, taken_at = clock_timestamp() WHERE worker_id = ANY(:ids)"
)
_SEEN = text("""
    UPDATE workers SET seen_at = clock_timestamp(), hears = :hears WHERE id = :id AND ended_at IS NULL RETURNING id
""")
_SILENT = text("""
    SELECT id, name FROM workers
     WHERE ended_at IS NULL AND id <> :id AND seen_at < clock_timestamp() - interval '1 second' * :lease_s
       FOR UPDATE SKIP LOCKED
""")
_ALIVE = text("SELECT id, hears FROM workers WHERE ended_at IS NULL ORDER BY started_at, id")
_HELD = text("SELECT share FROM worker_shares WHERE worker_id = :id ORDER BY share")
_LOCK = text("SELECT FROM workers WHERE id = :id FOR UPDATE")
_GIVE = text("UPDATE worker_shares SET worker_id = NULL WHERE worker_id = :id AND share = ANY(:shares)")
_TAKE = text("""
    UPDATE worker_shares SET worker_id = :id, taken_at = clock_timestamp()
     WHERE share IN (SELECT share FROM worker_shares WHERE worker_id IS NULL
                      ORDER BY share LIMIT :number FOR UPDATE SKIP LOCKED)
 RETURNING share
""")
_MAY_RECORD = text("SELECT id FROM workers WHERE id = :id AND ended_at IS NULL FOR KEY SHARE")


def enter(session: Session, here: Here, *, lease_s: int, gone: Callable[[str, int], bool]) -> UUID:
    """Take a worker in under its name, with what an earlier life of that name still held; returns its id.

    ``gone`` tells of a host and process id whether the caller knows that this process is no more.

    Raises:
        WorkerNameTaken: a worker of that name was alive within its lease.
    """
    own_id = new_id()
    namesake = session.execute(_NAMESAKE, {"name": here.name, "lease_s": lease_s}).first()
    if namesake is not None:
        if namesake.fresh and not gone(namesake.host, namesake.pid):
            raise WorkerNameTaken(name=here.name, host=namesake.host, pid=namesake.pid)
        session.execute(_END, {"ids": [namesake.id], "why": "a new life began under its name"})
    try:
        session.execute(_ENTER, {"id": own_id, **here._asdict()})
    except IntegrityError as error:
        raise WorkerNameTaken(name=here.name, host="another machine", pid=0) from error
    if namesake is not None:
        session.execute(_HAND_ON, {"ids": [namesake.id], "heir": own_id})
    return own_id


def tend(session: Session, own_id: UUID, *, hears: bool, lease_s: int) -> Tended:
    """Show that a worker lives, find others that do not, and take or give shares until all hold their part.

    Raises:
        TakenForDead: others have found this one dead.
    """
    if session.execute(_SEEN, {"id": own_id, "hears": hears}).first() is None:
        raise TakenForDead
    # Who records at this moment holds its row and is skipped; it lives, or its transaction ends for idleness.
    silent = session.execute(_SILENT, {"id": own_id, "lease_s": lease_s}).all()
    if silent:
        dead = [row.id for row in silent]
        session.execute(_END, {"ids": dead, "why": f"silent for {lease_s} s"})
        session.execute(_HAND_ON, {"ids": dead, "heir": None})
    alive = [Alive(*row) for row in session.execute(_ALIVE)]
    held = list(session.scalars(_HELD, {"id": own_id}))
    wanted = shares_wanted(own_id, alive)
    if len(held) > wanted:
        session.execute(_LOCK, {"id": own_id})
        session.execute(_GIVE, {"id": own_id, "shares": held[wanted:]})
        held = held[:wanted]
    elif len(held) < wanted:
        held += session.scalars(_TAKE, {"id": own_id, "number": wanted - len(held)})
    return Tended(shares=frozenset(held), alive=len(alive), dead=[row.name for row in silent])


def leave(session: Session, own_id: UUID) -> None:
    """End a worker in order; the others find its shares free at once."""
    session.execute(_LOCK, {"id": own_id})
    session.execute(_END, {"ids": [own_id], "why": "stopped"})
    session.execute(_HAND_ON, {"ids": [own_id], "heir": None})


def shares_held(session: Session, own_id: UUID) -> frozenset[int]:
    """Return what a worker holds, and keep it so until this transaction ends; nothing if it was taken for dead."""
    if session.execute(_MAY_RECORD, {"id": own_id}).first() is None:
        return frozenset()
    return frozenset(session.scalars(_HELD, {"id": own_id}))
