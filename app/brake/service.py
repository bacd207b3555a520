"""Lets cuts through until an hour has brought too many; then the brake is on until a person releases it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.audit.rules import Deed
from app.brake import queries
from app.brake.models import BrakeLimit, BrakePull, CutLetThrough
from app.brake.queries import NoSuchPlace, PullSeen
from app.brake.rules import BrakeOn, BrakeReleased, Limit, OwnPull, Scope, first_exceeded, in_words, raises
from app.database import new_id
from app.errors import TwoPersonsNeeded
from app.staff.queries import get_staff_member


@dataclass(frozen=True, kw_only=True)
class CutAsked:
    """A cut that nothing else stands against; ``power_w`` is what it would take away, ``last`` that it acts now."""

    command_id: UUID
    supply_point_id: UUID
    operator_id: UUID | None
    power_w: int
    last: bool


def hold_or_let_through(session: Session, cut: CutAsked, *, since: datetime, now: datetime) -> str | None:
    """Return where the brake holds a cut, or None where it may go out; one that acts now is counted then.

    It is asked in the transaction that claims the command. One cut too many pulls the brake; that stays, although
    the cut does not happen.

    Args:
        session: of the claim; the supply point is locked.
        cut: what is about to be sent.
        since: an hour ago.
        now: when it would be sent.
    """
    limits = queries.limits(session, lock=True)
    place = queries.place_of(session, cut.supply_point_id, operator_id=cut.operator_id)
    standings = queries.standings(session, place.scopes, since=since)
    on = next((one.through for one in standings if one.is_on), None)
    if on is not None:
        return in_words(on.scope, on.place)
    too_many = first_exceeded([one.through for one in standings], limits, power_w=cut.power_w)
    if too_many is not None:
        through, limit = too_many
        because = (
            f"{through.cuts} cuts of {through.power_w:,} W went out within an hour, of {limit.cuts} cuts and "
            f"{limit.power_w:,} W that it may bring; one more of {cut.power_w:,} W was asked for"
        )
        _pull(session, through.scope, through.place, by=None, because=because, now=now)
        return in_words(through.scope, through.place)
    if cut.last:
        let = {
            "command_id": cut.command_id,
            "at": now,
            "supply_point_id": cut.supply_point_id,
            "office": place.office,
            "feeder": place.feeder,
            "operator": place.operator,
            "power_w": cut.power_w,
        }
        # Two workers may have seen the same command armed; one of them will find it claimed.
        session.execute(insert(CutLetThrough).values(**let).on_conflict_do_nothing())
    return None


def pull(session: Session, scope: Scope, place: str, *, by: UUID, because: str, now: datetime) -> PullSeen:
    """Hold every cut in a place from now on; those that are armed are called back before they act.

    Raises:
        NoSuchPlace: nothing is called so, so nobody would be protected.
        BrakeOn: it is on there already.
    """
    if not queries.is_known(session, scope, place):
        raise NoSuchPlace(scope=scope, place=place)
    pull_id = _pull(session, scope, place, by=by, because=because, now=now)
    if pull_id is None:
        raise BrakeOn(scope=scope, place=place)
    return queries.pull_seen(session, pull_id)


def release(session: Session, pull_id: UUID, *, by: UUID, because: str, now: datetime) -> PullSeen:
    """Let cuts go on in a place; its hour begins anew.

    Raises:
        NoSuchPull, BrakeReleased: there is nothing to release.
        OwnPull: the approver has pulled it, or it holds their own cuts.
    """
    seen = queries.pull_seen(session, pull_id)
    session.refresh(seen.pull, with_for_update=True)
    if seen.pull.released_at is not None:
        raise BrakeReleased(released_by=str(queries.pull_seen(session, pull_id).released_by))
    own_cuts = (
        seen.pull.scope == Scope.OPERATOR
        and seen.pull.place == get_staff_member(session, staff_member_id=by).sign_in_name
    )
    if seen.pull.pulled_by == by or own_cuts:
        raise OwnPull
    seen.pull.released_at, seen.pull.released_by, seen.pull.released_because = now, by, because
    session.flush()
    said = {"scope": seen.pull.scope, "place": seen.pull.place, "reason": because}
    _record(session, "brake.released", seen.pull.scope, seen.pull.place, before={"on": True}, after=said, now=now)
    return queries.pull_seen(session, pull_id)


def lower_limit(session: Session, limit: Limit, *, by: UUID, because: str, now: datetime) -> Limit:
    """Let an hour bring less than before, or as much.

    Raises:
        TwoPersonsNeeded: it would bring more cuts or more power.
    """
    if raises(limit, above=queries.limit_of(session, limit.scope)):
        raise TwoPersonsNeeded(what="A higher limit of the brake", ask_at="/api/v1/approvals/brake-limits")
    return set_limit(session, limit, by=by, because=because, now=now)


def set_limit(session: Session, limit: Limit, *, by: UUID, because: str, now: datetime) -> Limit:
    """Say what an hour may bring in one scope from now on; who calls it has seen to it that it may be said."""
    row = session.get_one(BrakeLimit, limit.scope, with_for_update=True)
    before = {"cuts_per_hour": row.cuts_per_hour, "power_w_per_hour": row.power_w_per_hour}
    row.cuts_per_hour, row.power_w_per_hour = limit.cuts, limit.power_w
    row.set_by, row.set_at = by, now
    session.flush()
    after = {"cuts_per_hour": limit.cuts, "power_w_per_hour": limit.power_w, "reason": because}
    _record(session, "brake.limit_set", limit.scope, "", before=before, after=after, now=now)
    return limit


def _pull(session: Session, scope: Scope, place: str, *, by: UUID | None, because: str, now: datetime) -> UUID | None:
    pull_id = new_id()
    row = {"id": pull_id, "scope": scope, "place": place, "pulled_at": now, "pulled_by": by, "because": because}
    added = session.scalar(insert(BrakePull).values(**row).on_conflict_do_nothing().returning(BrakePull.id))
    if added is None:
        return None
    _record(session, "brake.pulled", scope, place, before={"on": False}, after={"because": because}, now=now)
    return pull_id


def _record(
    session: Session,
    action: str,
    scope: str,
    place: str,
    *,
    before: Mapping[str, object],
    after: Mapping[str, object],
    now: datetime,
) -> None:
    subject = in_words(Scope(scope), place)
    deed = Deed(action=action, subject_kind="brake", subject=subject, before=dict(before), after=dict(after))
    audit.record(session, deed, at=now)
