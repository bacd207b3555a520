"""The story of a request: asked for, approved and done in one step; or refused, withdrawn, lapsed; or done alone."""

from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from app.approvals import books, queries
from app.approvals.books import Approved, Asked, Looked
from app.approvals.models import Approval
from app.approvals.rules import (
    LAPSES_AFTER_S,
    MOST_ASKED,
    REVIEW_WITHIN_S,
    ApprovalState,
    ChangedSince,
    Kind,
    NothingToReview,
    NotWhatWasSeen,
    NotYourRequest,
    OwnRequest,
    RequestOver,
    ReviewFirst,
    TooManyAsked,
    digest_of,
    what_changed,
)
from app.audit import service as audit
from app.audit.rules import Deed
from app.customers import service as customers
from app.database import new_id
from app.errors import DomainError
from app.load_control.service import Pace
from app.orders.rules import CutRefused

log = structlog.get_logger()

_WHAT_IS_WANTED = "what would be done"


def ask(session: Session, asked: Asked, *, pace: Pace, now: datetime) -> Approval:
    """Ask for something; it is refused at once where it could not be done now.

    Raises:
        TooManyAsked: too many requests of this person wait already.
        NeedsNobody, OrderedTwice, CutRefused: and whatever the feature raises that would do it.
    """
    waiting = queries.asked_by(session, asked.requested_by)
    if waiting >= MOST_ASKED:
        raise TooManyAsked(asked=waiting)
    approval = _written_down(asked, _possible(session, asked, pace=pace, now=now), pace=pace, now=now)
    session.add(approval)
    session.flush()
    _record(session, approval, "asked", now=now)
    return approval


def order_alone(session: Session, asked: Asked, *, pace: Pace, now: datetime) -> Approval:
    """Do at one supply point, at once, what two persons should stand behind; another reviews it within a day.

    The interlocks hold all the same: it spares the second person, not the customer's notice.

    Raises:
        ReviewFirst: the last thing that this person did alone was not reviewed yet.
        And everything that :func:`ask` raises.
    """
    unreviewed = queries.unreviewed_of(session, asked.requested_by)
    if unreviewed is not None and unreviewed.review_due_at is not None:
        raise ReviewFirst(approval_id=unreviewed.id, review_due_at=unreviewed.review_due_at)
    customers.lock_supply_points(session, books.points_of(session, asked))
    approval = _written_down(asked, _possible(session, asked, pace=pace, now=now), pace=pace, now=now)
    session.add(approval)
    session.flush()
    approved = Approved(approval_id=approval.id, by=asked.requested_by)
    result = books.carry_out(session, asked, approved, pace=pace, now=now)
    approval.state, approval.result = ApprovalState.ALONE, result
    approval.review_due_at = now + pace.clock.lived(REVIEW_WITHIN_S)
    session.flush()
    _record(session, approval, "bypassed", now=now)
    log.error(
        "the glass was broken: one person cuts without approval",
        approval_id=approval.id,
        requested_by=approval.requested_by,
        reason=approval.reason,
    )
    return approval


def approve(
    session: Session, approval_id: UUID, *, digest: str, approver_id: UUID, pace: Pace, now: datetime
) -> Approval:
    """Approve what was asked for, and do it in the same transaction.

    ``digest`` is the one that the approver was shown.

    Raises:
        NoSuchApproval, RequestOver: there is nothing to approve.
        OwnRequest: the approver has asked for it.
        NotWhatWasSeen: the digest is another's.
        ChangedSince: something that was to be met has changed.
        CutRefused: an interlock stands against a cut now.
    """
    approval = queries.approval_seen(session, approval_id).approval
    asked = _asked(approval)
    customers.lock_supply_points(session, books.points_of(session, asked))
    _still_asked(session, approval, now=now)
    if approval.requested_by == approver_id:
        raise OwnRequest
    bound = digest_of(asked.kind, wanted=approval.wanted, standing=approval.standing)
    if not digest == bound == approval.digest:
        raise NotWhatWasSeen(digest=digest)
    changed = _changed(approval, _possible(session, asked, pace=pace, now=now))
    if changed:
        raise ChangedSince(changed=changed)
    approved = Approved(approval_id=approval.id, by=approver_id)
    approval.result = books.carry_out(session, asked, approved, pace=pace, now=now)
    _decide(session, approval, ApprovalState.APPROVED, by=approver_id, because=None, now=now)
    return approval


def refuse(session: Session, approval_id: UUID, *, because: str, approver_id: UUID, now: datetime) -> Approval:
    """Refuse what was asked for.

    Raises:
        NoSuchApproval, RequestOver: there is nothing to refuse.
        OwnRequest: who asked withdraws instead.
    """
    approval = _still_asked(session, queries.approval_seen(session, approval_id).approval, now=now)
    if approval.requested_by == approver_id:
        raise OwnRequest
    _decide(session, approval, ApprovalState.REFUSED, by=approver_id, because=because, now=now)
    return approval


def withdraw(session: Session, approval_id: UUID, *, by: UUID, now: datetime) -> Approval:
    """Take back what one has asked for oneself.

    Raises:
        NoSuchApproval, RequestOver: there is nothing to withdraw.
        NotYourRequest: another person has asked for it.
    """
    seen = queries.approval_seen(session, approval_id)
    approval = _still_asked(session, seen.approval, now=now)
    if approval.requested_by != by:
        raise NotYourRequest(requested_by=seen.requested_by)
    _decide(session, approval, ApprovalState.WITHDRAWN, by=by, because=None, now=now)
    return approval


def review(session: Session, approval_id: UUID, *, finding: str, by: UUID, now: datetime) -> Approval:
    """Say what was found of something that one person did alone.

    Raises:
        NoSuchApproval, NothingToReview: two persons stand behind it, or it was reviewed.
        OwnRequest: the reviewer has done it.
    """
    seen = queries.approval_seen(session, approval_id)
    approval = seen.approval
    session.refresh(approval, with_for_update=True)
    if approval.state != ApprovalState.ALONE or approval.reviewed_at is not None:
        raise NothingToReview(state=ApprovalState(approval.state), reviewed_by=seen.reviewed_by)
    if approval.requested_by == by:
        raise OwnRequest
    approval.finding, approval.reviewed_by, approval.reviewed_at = finding, by, now
    session.flush()
    _record(session, approval, "reviewed", now=now)
    return approval


def look_at(session: Session, approval: Approval, *, pace: Pace, now: datetime) -> tuple[Looked | None, list[str]]:
    """Return what would be met now, if it can be done at all, and what has changed since it was asked for."""
    try:
        looked = books.look(session, _asked(approval), pace=pace, now=now)
    except DomainError as error:
        return None, [error.detail]
    return looked, _changed(approval, looked)


def lapse_if_over(session: Session, approval_id: UUID, *, pace: Pace, now: datetime) -> bool:
    """End a request whose time is over, or whose matter has changed; tells whether it did.

    It looks without locks, since sales wait for those, and takes them only where there is something to end.
    """
    approval = queries.approval_seen(session, approval_id).approval
    if _why_over(session, approval, pace=pace, now=now) is None:
        return False
    customers.lock_supply_points(session, books.points_of(session, _asked(approval)))
    session.refresh(approval, with_for_update=True)
    because = _why_over(session, approval, pace=pace, now=now)
    if because is None:
        return False
    _decide(session, approval, ApprovalState.LAPSED, by=None, because=because, now=now)
    return True


def _why_over(session: Session, approval: Approval, *, pace: Pace, now: datetime) -> str | None:
    if approval.state != ApprovalState.ASKED:
        return None
    if now >= approval.lapses_at:
        return "nobody decided in time"
    _, changed = look_at(session, approval, pace=pace, now=now)
    return f"changed since it was asked for: {', '.join(changed)}" if changed else None


def _asked(approval: Approval) -> Asked:
    return Asked(
        kind=Kind(approval.kind),
        wanted=approval.wanted,
        reason=approval.reason,
        requested_by=approval.requested_by,
    )


def _possible(session: Session, asked: Asked, *, pace: Pace, now: datetime) -> Looked:
    looked = books.look(session, asked, pace=pace, now=now)
    for one in looked.against:
        if one.reasons:
            raise CutRefused(cut=one.cut, interlocks=one.reasons)
    return looked


def _changed(approval: Approval, looked: Looked) -> list[str]:
    changed = what_changed(approval.standing, looked.standing)
    if not changed and looked.wanted != approval.wanted:
        return [_WHAT_IS_WANTED]
    return changed


def _written_down(asked: Asked, looked: Looked, *, pace: Pace, now: datetime) -> Approval:
    return Approval(
        id=new_id(),
        kind=asked.kind,
        wanted=looked.wanted,
        standing=looked.standing,
        digest=digest_of(asked.kind, wanted=looked.wanted, standing=looked.standing),
        reason=asked.reason,
        state=ApprovalState.ASKED,
        requested_by=asked.requested_by,
        requested_at=now,
        lapses_at=now + pace.clock.lived(LAPSES_AFTER_S),
    )


def _still_asked(session: Session, approval: Approval, *, now: datetime) -> Approval:
    session.refresh(approval, with_for_update=True)
    if approval.state != ApprovalState.ASKED:
        raise RequestOver(state=ApprovalState(approval.state), since=approval.decided_at)
    if now >= approval.lapses_at:
        raise RequestOver(state=ApprovalState.LAPSED, since=approval.lapses_at)
    return approval


def _decide(
    session: Session, approval: Approval, state: ApprovalState, *, by: UUID | None, because: str | None, now: datetime
) -> None:
    approval.state = state
    approval.decided_by, approval.decided_at, approval.decided_because = by, now, because
    session.flush()
    _record(session, approval, state.value, now=now)


def _record(session: Session, approval: Approval, action: str, *, now: datetime) -> None:
    said: dict[str, Any] = {
        "kind": approval.kind,
        "wanted": approval.wanted,
        "digest": approval.digest,
        "reason": approval.reason,
        "because": approval.decided_because,
        "finding": approval.finding,
        "result": approval.result,
    }
    deed = Deed(action=f"approval.{action}", subject_kind="approval", subject=str(approval.id), after=said)
    audit.record(session, deed, at=now)
