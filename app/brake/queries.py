"""Reads of the brake: what an hour has brought where, and where it is on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session, aliased

from app.brake.models import BrakeLimit, BrakePull
from app.brake.rules import LetThrough, Limit, Scope, in_words
from app.errors import NotFound
from app.staff.models import StaffMember

# Where the brake is on for a supply point, whoever orders: to be put into a query that knows `point` and `customer`.
BRAKED = """
    (SELECT trim(pull.scope || ' ' || pull.place) FROM brake_pulls AS pull
      WHERE pull.released_at IS NULL
        AND (pull.scope = 'all' OR (pull.scope = 'feeder' AND pull.place = point.feeder)
             OR (pull.scope = 'office' AND pull.place = (SELECT code FROM offices WHERE id = customer.office_id)))
      ORDER BY pull.pulled_at LIMIT 1)
"""

_WHERE = text("""
    SELECT office.code AS office, point.feeder,
           (SELECT sign_in_name FROM staff_members WHERE id = CAST(:operator_id AS uuid)) AS operator
      FROM supply_points AS point
      JOIN customers AS customer ON customer.id = point.customer_id
      JOIN offices AS office ON office.id = customer.office_id
     WHERE point.id = :point
""")

# A release begins the hour anew: who has released it has looked at what went out before.
_THROUGH = text("""
    SELECT place.scope, place.place,
           EXISTS (SELECT FROM brake_pulls AS pull WHERE pull.scope = place.scope AND pull.place = place.place
                      AND pull.released_at IS NULL) AS is_on,
           counted.cuts, counted.power_w
      FROM unnest(CAST(:scopes AS text[]), CAST(:places AS text[])) AS place (scope, place)
     CROSS JOIN LATERAL (
           SELECT count(*) AS cuts, coalesce(sum(cut.power_w), 0)::bigint AS power_w
             FROM cuts_let_through AS cut
            WHERE cut.at > greatest(:since, (SELECT max(pull.released_at) FROM brake_pulls AS pull
                                              WHERE pull.scope = place.scope AND pull.place = place.place))
              AND CASE place.scope WHEN 'office' THEN cut.office = place.place
                                   WHEN 'feeder' THEN cut.feeder = place.place
                                   WHEN 'operator' THEN cut.operator = place.place
                                   ELSE true END) AS counted
""")

_KNOWN = {
    Scope.OFFICE: text("SELECT EXISTS (SELECT FROM offices WHERE code = :place)"),
    Scope.FEEDER: text("SELECT EXISTS (SELECT FROM supply_points WHERE feeder = :place)"),
    Scope.OPERATOR: text("SELECT EXISTS (SELECT FROM staff_members WHERE sign_in_name = :place)"),
}


class NoSuchPull(NotFound):
    title = "There is no such pull of the brake"

    def __init__(self, *, pull_id: UUID) -> None:
        super().__init__(
            f"The brake was never pulled under the id {pull_id}.",
            remedy="Take the id from GET /api/v1/brake.",
            pull_id=str(pull_id),
        )


class NoSuchPlace(NotFound):
    """A brake on a feeder that does not exist would protect nobody."""

    title = "There is no such place"

    def __init__(self, *, scope: Scope, place: str) -> None:
        super().__init__(
            f"No {scope.value} is called {place!r}.",
            remedy="Name an office by its code, a feeder as supply points do, an operator by the sign-in name.",
            scope=scope.value,
            place=place,
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a cut would happen, and who has ordered it; None: the service."""

    office: str
    feeder: str
    operator: str | None

    @property
    def scopes(self) -> dict[Scope, str]:
        of_all = {Scope.ALL: "", Scope.OFFICE: self.office, Scope.FEEDER: self.feeder}
        return of_all | ({Scope.OPERATOR: self.operator} if self.operator is not None else {})


class Standing(NamedTuple):
    """What one place has let through, and whether the brake is on there."""

    through: LetThrough
    is_on: bool


class PullSeen(NamedTuple):
    """A pull, and the sign-in names behind it; None: the service."""

    pull: BrakePull
    pulled_by: str | None
    released_by: str | None


def place_of(session: Session, supply_point_id: UUID, *, operator_id: UUID | None) -> Place:
    row = session.execute(_WHERE, {"point": supply_point_id, "operator_id": operator_id}).one()
    return Place(office=row.office, feeder=row.feeder, operator=row.operator)


def standings(session: Session, scopes: dict[Scope, str], *, since: datetime) -> list[Standing]:
    """Return what has gone out in each of these places since a moment, or since its last release if that is later."""
    values = {"scopes": [scope.value for scope in scopes], "places": list(scopes.values()), "since": since}
    return [
        Standing(LetThrough(scope=Scope(row.scope), place=row.place, cuts=row.cuts, power_w=row.power_w), row.is_on)
        for row in session.execute(_THROUGH, values)
    ]


def limits(session: Session, *, lock: bool = False) -> list[Limit]:
    """Return what an hour may bring, scope by scope; locked, nobody else lets a cut through until the commit."""
    wanted = select(BrakeLimit).order_by(BrakeLimit.scope)
    rows = session.scalars(wanted.with_for_update() if lock else wanted)
    return [Limit(scope=Scope(row.scope), cuts=row.cuts_per_hour, power_w=row.power_w_per_hour) for row in rows]


def limit_of(session: Session, scope: Scope) -> Limit:
    """Return what an hour may bring in one scope."""
    row = session.get_one(BrakeLimit, scope, populate_existing=True)
    return Limit(scope=scope, cuts=row.cuts_per_hour, power_w=row.power_w_per_hour)


def operator_is_braked(session: Session, operator_id: UUID) -> str | None:
    """Return where the brake is on for who orders by hand, or None where it is off."""
    name = session.scalar(
        select(BrakePull.place)
        .join(StaffMember, StaffMember.sign_in_name == BrakePull.place)
        .where(BrakePull.scope == Scope.OPERATOR, BrakePull.released_at.is_(None), StaffMember.id == operator_id)
    )
    return in_words(Scope.OPERATOR, name) if name is not None else None


def is_known(session: Session, scope: Scope, place: str) -> bool:
    return scope is Scope.ALL or bool(session.scalar(_KNOWN[scope], {"place": place}))


def pull_seen(session: Session, pull_id: UUID) -> PullSeen:
    """Return one pull.

    Raises:
        NoSuchPull: none has the id.
    """
    rows = list_pulls(session, on=None, limit=1, before_id=None, pull_id=pull_id)
    if not rows:
        raise NoSuchPull(pull_id=pull_id)
    return rows[0]


def list_pulls(
    session: Session, *, on: bool | None, limit: int, before_id: UUID | None, pull_id: UUID | None = None
) -> list[PullSeen]:
    """Return up to ``limit`` pulls, newest first, made before the one with ``before_id``; ``on``: not released."""
    pulled, released = aliased(StaffMember), aliased(StaffMember)
    wanted: Any = (
        select(BrakePull, pulled.sign_in_name, released.sign_in_name)
        .outerjoin(pulled, pulled.id == BrakePull.pulled_by)
        .outerjoin(released, released.id == BrakePull.released_by)
        .order_by(BrakePull.id.desc())
        .limit(limit)
    )
    if on is not None:
        wanted = wanted.where(BrakePull.released_at.is_(None) if on else BrakePull.released_at.is_not(None))
    if before_id is not None:
        wanted = wanted.where(BrakePull.id < before_id)
    if pull_id is not None:
        wanted = wanted.where(BrakePull.id == pull_id)
    return [PullSeen(*row) for row in session.execute(wanted)]
