"""Changes to notices: give, prove the arrival, withdraw."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import true, update
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.notices.models import Notice
from app.notices.rules import NoticeKind, Wording


class NoSuchNotice(NotFound):
    title = "There is no such notice"

    def __init__(self, *, notice_id: UUID) -> None:
        super().__init__(
            f"No notice has the id {notice_id}.",
            remedy="Take the id from the supply point's notices.",
            notice_id=str(notice_id),
        )


class NoticeWithdrawn(Conflict):
    title = "The notice was withdrawn"

    def __init__(self, *, notice_id: UUID, withdrawn_at: datetime) -> None:
        super().__init__(
            f"The notice was withdrawn at {withdrawn_at.isoformat()}, so it cannot be served any more.",
            remedy="Give a new notice where one is needed.",
            notice_id=str(notice_id),
        )


class AlreadyServed(Conflict):
    title = "The notice was served before"

    def __init__(self, *, notice_id: UUID, served_at: datetime) -> None:
        super().__init__(
            f"The notice was served at {served_at.isoformat()}; a proof is recorded once.",
            remedy="Nothing needs to be done.",
            notice_id=str(notice_id),
        )


@dataclass(frozen=True, kw_only=True)
class NewNotice:
    """A notice to be given; ``command_id`` is the terminal's warning that carries it."""

    supply_point_id: UUID
    kind: NoticeKind
    wording: Wording
    cut_not_before: datetime | None
    command_id: UUID | None
    issued_by: UUID | None = None


def give(session: Session, new: NewNotice, *, now: datetime) -> Notice:
    notice = Notice(
        supply_point_id=new.supply_point_id,
        kind=new.kind,
        text_zh=new.wording.zh,
        text_en=new.wording.en,
        cut_not_before=new.cut_not_before,
        issued_at=now,
        issued_by=new.issued_by,
        command_id=new.command_id,
    )
    session.add(notice)
    session.flush()
    return notice


def mark_shown(session: Session, command_ids: Iterable[UUID], *, now: datetime) -> list[UUID]:
    """Record that terminals carried out these warnings, so their notices arrived; returns the supply points."""
    rows = session.execute(
        update(Notice)
        .where(Notice.command_id.in_(list(command_ids)), Notice.served_at.is_(None), Notice.withdrawn_at.is_(None))
        .values(served_at=now, served_how="shown and sounded by the terminal")
        .returning(Notice.supply_point_id)
    )
    return [row.supply_point_id for row in rows]


def mark_handed_over(session: Session, notice_id: UUID, *, how: str, now: datetime) -> Notice:
    """Record that a person served the notice, and how.

    Raises:
        NoSuchNotice: there is none with that id.
        AlreadyServed: its arrival was proved before.
        NoticeWithdrawn: it was taken back.
    """
    notice = session.get(Notice, notice_id, with_for_update=True, populate_existing=True)
    if notice is None:
        raise NoSuchNotice(notice_id=notice_id)
    if notice.withdrawn_at is not None:
        raise NoticeWithdrawn(notice_id=notice_id, withdrawn_at=notice.withdrawn_at)
    if notice.served_at is not None:
        raise AlreadyServed(notice_id=notice_id, served_at=notice.served_at)
    notice.served_at = now
    notice.served_how = how
    session.flush()
    return notice


def withdraw(session: Session, supply_point_id: UUID, *, because: str, now: datetime) -> None:
    """Take back every standing notice of a cut: the next cut needs a new one."""
    session.execute(
        update(Notice)
        .where(
            Notice.supply_point_id == supply_point_id,
            Notice.kind.in_([NoticeKind.WRITTEN, NoticeKind.SECOND]),
            Notice.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=now, withdrawn_because=because),
        execution_options={"synchronize_session": False},
    )


def withdraw_second(
    session: Session, supply_point_id: UUID, *, also_by_hand: bool, because: str, now: datetime
) -> None:
    """Take back the standing second notice, with ``also_by_hand`` a person's too; the written one goes on."""
    session.execute(
        update(Notice)
        .where(
            Notice.supply_point_id == supply_point_id,
            Notice.kind == NoticeKind.SECOND,
            Notice.withdrawn_at.is_(None),
            Notice.issued_by.is_(None) if not also_by_hand else true(),
        )
        .values(withdrawn_at=now, withdrawn_because=because),
        execution_options={"synchronize_session": False},
    )


def withdraw_unserved(session: Session, *, command_id: UUID, because: str, now: datetime) -> None:
    """Take back the notice that a called-back warning was to carry, so that a new one can be given."""
    session.execute(
        update(Notice)
        .where(Notice.command_id == command_id, Notice.served_at.is_(None), Notice.withdrawn_at.is_(None))
        .values(withdrawn_at=now, withdrawn_because=because),
        execution_options={"synchronize_session": False},
    )
