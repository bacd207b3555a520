"""What two persons must stand behind, how long it may wait, and what ends the waiting."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.audit.rules import canonical
from app.errors import Conflict, Forbidden, Refused
from app.load_control.facts import Facts, NoticeGiven

#: An approver decides on what is so now; half an hour later it is another matter. Seconds of a machine's life.
LAPSES_AFTER_S = 30 * 60
#: What one person did alone is looked at by another within a day.
REVIEW_WITHIN_S = 24 * 60 * 60
#: More of one person's requests at a time nobody could look at.
MOST_ASKED = 20


class Kind(StrEnum):
    """What can be asked for."""

    ORDERS = "orders"
    REFUND = "refund"
    BRAKE_LIMIT = "brake_limit"
    NO_CUT_RULE_END = "no_cut_rule_end"
    TRIP_POLICY = "trip_policy"
    CAMPAIGN = "campaign"


class ApprovalState(StrEnum):
    """``alone``: the glass was broken, one person ordered and it was done; a review follows."""

    ASKED = "asked"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"
    ALONE = "alone"


class OwnRequest(Forbidden):
    title = "Another person approves this"

    def __init__(self) -> None:
        super().__init__(
            "You have asked for this yourself, and a second person looks before it is done.",
            remedy="Ask another approver; withdraw it (POST /api/v1/approvals/{id}/withdraw) if it was a mistake.",
        )


class NotYourRequest(Forbidden):
    title = "Another person has asked for this"

    def __init__(self, *, requested_by: str) -> None:
        super().__init__(
            f"{requested_by} has asked for it, and only they can withdraw it.",
            remedy="An approver can refuse it (POST /api/v1/approvals/{id}/refuse).",
            requested_by=requested_by,
        )


class RequestOver(Conflict):
    title = "The request is over"

    def __init__(self, *, state: ApprovalState, since: datetime | None) -> None:
        when = f" since {since.isoformat()}" if since else ""
        super().__init__(
            f"It is {state.value}{when}.",
            remedy="Ask anew where it is still wanted.",
            state=state.value,
        )


class ChangedSince(Conflict):
    """What was to be approved, or what it would meet, is no longer what was asked about."""

    title = "It is no longer as it was when it was asked for"

    def __init__(self, *, changed: list[str]) -> None:
        super().__init__(
            f"Changed since it was asked for: {', '.join(changed)}.",
            remedy="Look at what is so now, and ask anew where it is still wanted.",
            changed=changed,
        )


class NotWhatWasSeen(Conflict):
    title = "That is not what you were shown"

    def __init__(self, *, digest: str) -> None:
        super().__init__(
            "The digest is not the one of this request, so you may have looked at another.",
            remedy="Read GET /api/v1/approvals/{id}, and send the digest that it shows.",
            digest=digest,
        )


class NeedsNobody(Refused):
    title = "This needs nobody else"

    def __init__(self, *, what: str, remedy: str) -> None:
        super().__init__(f"{what} takes nothing away, so no second person is asked.", remedy=remedy)


class OrderedTwice(Refused):
    title = "One request says two things of the same"

    def __init__(self, *, supply_point_id: UUID, action: str) -> None:
        super().__init__(
            f"It orders to {action} twice, and the second order would take the first one's place.",
            remedy="Order each thing once.",
            supply_point_id=str(supply_point_id),
        )


class ReviewFirst(Conflict):
    """Who acts alone answers for it before they act alone again, or a stolen token could do it all night."""

    title = "Your last order without approval was not reviewed yet"

    def __init__(self, *, approval_id: UUID, review_due_at: datetime) -> None:
        super().__init__(
            f"What you ordered alone waits for its review, which is due by {review_due_at.isoformat()}.",
            remedy="Have an approver review it (POST /api/v1/approvals/{id}/review), or ask for an approval.",
            approval_id=str(approval_id),
            review_due_at=review_due_at.isoformat(),
        )


class TooManyAsked(Conflict):
    title = "Too much of yours waits for an approver"

    def __init__(self, *, asked: int) -> None:
        super().__init__(
            f"{asked} requests of yours wait already.",
            remedy="Have them decided, or withdraw those that are not wanted any more.",
            asked=asked,
        )


class NothingToReview(Conflict):
    title = "There is nothing to review"

    def __init__(self, *, state: ApprovalState, reviewed_by: str | None) -> None:
        said = f"{reviewed_by} has reviewed it." if reviewed_by else f"It is {state.value}, not done alone."
        super().__init__(said, remedy="Nothing needs to be done.", state=state.value, reviewed_by=reviewed_by)


def digest_of(kind: Kind, *, wanted: Mapping[str, Any], standing: Mapping[str, Any]) -> str:
    """Return what an approval is bound to: SHA-256, in hex, of targets, arguments and what they were to meet.

    It is made of the canonical text (keys sorted, no blanks) of ``{"kind", "standing", "wanted"}``, so another round,
    another power, or another stage of a supply point gives another digest.
    """
    return hashlib.sha256(canonical({"kind": kind, "wanted": wanted, "standing": standing}).encode()).hexdigest()


def standing_of(facts: Facts, *, terminal_id: str) -> dict[str, Any]:
    """Return what must not change at a supply point between request and approval.

    What is paid for, its stage, limit, relays and commands under way, its guarantee and protection, its terminal and
    its notices; not what runs and what is left, which change with every report: the interlocks look at those.
    """
    return {
        "terminal_id": terminal_id,
        "paid_until_wh": facts.paid_until_wh,
        "credit_undelivered": facts.credit_undelivered,
        "taking_back": facts.taking_back,
        "stage": facts.stage.word,
        "control_mode": facts.control_mode.value,
        "protected": facts.protected,
        "guaranteed": facts.guaranteed,
        "closing": facts.closing,
        "limit_w": facts.limit_w,
        "limit_in_flight": facts.limit_in_flight,
        "rounds": [{"round": one.round, "relay": one.relay, "in_flight": one.in_flight} for one in facts.rounds],
        "written_notice": _notice(facts.written_notice),
        "second_notice": _notice(facts.second_notice),
    }


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name what differs, the thing and its part: ``["SP0001 paid_until_wh"]``; empty where nothing does.

    Args:
        before: what was to be met, a mapping for each thing by its name.
        now: what would be met.
    """
    changed = []
    for thing in sorted({*before, *now}):
        was, is_now = before.get(thing) or {}, now.get(thing) or {}
        changed += [f"{thing} {part}" for part in sorted({*was, *is_now}) if was.get(part) != is_now.get(part)]
    return changed


def _notice(given: NoticeGiven | None) -> dict[str, Any] | None:
    if given is None:
        return None
    served_at = given.served_at.isoformat() if given.served_at else None
    return {"cut_not_before": given.cut_not_before.isoformat(), "served_at": served_at}
