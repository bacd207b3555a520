"""Reads of approvals: one, those that wait, and what one person did alone."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, func, not_, select
from sqlalchemy.orm import Session, aliased

from app.approvals.models import Approval
from app.approvals.rules import ApprovalState
from app.errors import NotFound
from app.staff.models import StaffMember


class NoSuchApproval(NotFound):
    title = "There is no such request"

    def __init__(self, *, approval_id: UUID) -> None:
        super().__init__(
            f"Nothing was asked for under the id {approval_id}.",
            remedy="Take the id from GET /api/v1/approvals.",
            approval_id=str(approval_id),
        )


class ApprovalSeen(NamedTuple):
    """A request and the sign-in names of who asked, decided and reviewed."""

    approval: Approval
    requested_by: str
    decided_by: str | None
    reviewed_by: str | None


def approval_seen(session: Session, approval_id: UUID) -> ApprovalSeen:
    """Return one request.

    Raises:
        NoSuchApproval: nothing was asked for under the id.
    """
    row = session.execute(_seen().where(Approval.id == approval_id)).first()
    if row is None:
        raise NoSuchApproval(approval_id=approval_id)
    return ApprovalSeen(*row)


def list_approvals(
    session: Session, *, state: ApprovalState | None, unreviewed: bool | None, limit: int, before_id: UUID | None
) -> list[ApprovalSeen]:
    """Return up to ``limit`` requests, newest first, made before the one with ``before_id``."""
    wanted = _seen().order_by(Approval.id.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(Approval.state == state)
    if unreviewed is not None:
        is_unreviewed = and_(Approval.state == ApprovalState.ALONE, Approval.reviewed_at.is_(None))
        wanted = wanted.where(is_unreviewed if unreviewed else not_(is_unreviewed))
    if before_id is not None:
        wanted = wanted.where(Approval.id < before_id)
    return [ApprovalSeen(*row) for row in session.execute(wanted)]


def asked_for(session: Session) -> list[UUID]:
    """Return the ids of what waits for an approver, the oldest first."""
    asked = select(Approval.id).where(Approval.state == ApprovalState.ASKED).order_by(Approval.id)
    return list(session.scalars(asked))


def asked_by(session: Session, person_id: UUID) -> int:
    """Count a person's requests that wait; who asks holds the person's row, so that two at once are counted."""
    session.get(StaffMember, person_id, with_for_update={"key_share": True}, populate_existing=True)
    waiting = Approval.requested_by == person_id, Approval.state == ApprovalState.ASKED
    return session.scalar(select(func.count()).select_from(Approval).where(*waiting)) or 0


def unreviewed_of(session: Session, person_id: UUID) -> Approval | None:
    """Return something that a person did alone and nobody has reviewed; holds the person's row."""
    session.get(StaffMember, person_id, with_for_update={"key_share": True}, populate_existing=True)
    return session.scalar(
        select(Approval)
        .where(
            Approval.state == ApprovalState.ALONE,
            Approval.reviewed_at.is_(None),
            Approval.requested_by == person_id,
        )
        .order_by(Approval.review_due_at)
        .limit(1)
    )


def _seen() -> Any:
    asker, decider, reviewer = aliased(StaffMember), aliased(StaffMember), aliased(StaffMember)
    return (
        select(Approval, asker.sign_in_name, decider.sign_in_name, reviewer.sign_in_name)
        .join(asker, asker.id == Approval.requested_by)
        .outerjoin(decider, decider.id == Approval.decided_by)
        .outerjoin(reviewer, reviewer.id == Approval.reviewed_by)
    )
