"""Whether two persons stand behind a cut by hand, asked of what they approved at the last moment."""

import json

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.commands.models import Command

# Asked of the approval itself, so that a command that carries another's approval, or other arguments, or one that was
# done before, is not sent.
_APPROVED = text("""
    SELECT EXISTS (
        SELECT FROM approvals AS approval
         WHERE approval.id = :approval_id AND approval.requested_by = :requested_by
           AND ((approval.state = 'approved' AND approval.decided_by <> approval.requested_by)
                OR approval.state = 'alone')
           AND (EXISTS (SELECT FROM jsonb_array_elements(approval.wanted->'commands') AS approved
                         WHERE approved->>'supply_point_id' = :supply_point_id AND approved->>'op' = :op
                           AND approved->>'terminal_id' = :terminal_id AND approved->'args' = CAST(:args AS jsonb))
                OR EXISTS (SELECT FROM campaigns AS campaign
                             JOIN campaign_targets AS target ON target.campaign_id = campaign.id
                            WHERE campaign.approval_id = approval.id AND campaign.state = 'running'
                              AND approval.kind = 'campaign'
                              AND approval.wanted->>'campaign_id' = CAST(campaign.id AS text)
                              AND approval.standing->'campaign'->>'list_digest' = campaign.list_digest
                              AND target.supply_point_id = CAST(:supply_point_id AS uuid)
                              AND target.terminal_id = :terminal_id AND target.op = :op
                              AND target.args = CAST(:args AS jsonb)))
           AND NOT EXISTS (SELECT FROM commands AS done
                            WHERE done.approval_id = approval.id AND done.id <> :command_id
                              AND done.supply_point_id = CAST(:supply_point_id AS uuid) AND done.slot = :slot
                              AND (done.operate_sent_at IS NOT NULL OR done.executed_at IS NOT NULL))),
           EXISTS (SELECT FROM campaigns WHERE approval_id = :approval_id AND state IN ('stopped', 'withdrawn'))
""")


def why_not_approved(session: Session, command: Command) -> str | None:
    """Return what a cut by hand lacks, or None where two persons stand behind it, or one who answers for it alone."""
    if command.approval_id is None:
        return "not_approved"
    asked = {
        "command_id": command.id,
        "approval_id": command.approval_id,
        "requested_by": command.requested_by,
        "supply_point_id": str(command.supply_point_id),
        "terminal_id": command.terminal_id,
        "op": command.op,
        "slot": command.slot,
        "args": json.dumps(command.args),
    }
    approved, stopped = session.execute(_APPROVED, asked).one()
    if approved:
        return None
    return "campaign_stopped" if stopped else "not_approved"
