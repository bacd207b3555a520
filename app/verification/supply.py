"""Invariants between the books and what terminals were told, hold and did."""

from app.verification.invariant import Invariant

SUPPLY = (
    Invariant(
        name="P1 order numbers",
        says="order numbers of a supply point rise with its purchases and never pass the counter of its terminal",
        query="""
            SELECT purchase_no, terminal_id, order_no, before_no, last_order_no FROM (
                SELECT purchase.purchase_no, purchase.terminal_id, purchase.order_no, terminal.last_order_no,
                       lag(purchase.order_no) OVER (PARTITION BY purchase.supply_point_id
                                                      ORDER BY CAST(substring(purchase.purchase_no FROM 11) AS bigint)) AS before_no
                  FROM purchases AS purchase JOIN terminals AS terminal ON terminal.id = purchase.terminal_id) AS orders
             WHERE order_no <= before_no OR order_no > last_order_no
        """,
    ),
    Invariant(
        name="P2 credits",
        says="each purchase that granted energy has a credit order that says the same",
        query="""
            SELECT purchase.purchase_no, command.id AS command_id, command.args
              FROM purchases AS purchase LEFT JOIN commands AS command ON command.id = purchase.command_id
             WHERE purchase.energy_wh > purchase.emergency_repaid_wh
               AND (command.args->'order_no' IS DISTINCT FROM to_jsonb(purchase.order_no)
                    OR command.args->'value_wh'
                       IS DISTINCT FROM to_jsonb(purchase.energy_wh - purchase.emergency_repaid_wh)
                    OR command.args->'paid_until_wh' IS DISTINCT FROM to_jsonb(purchase.paid_until_wh))
        """,
    ),
    Invariant(
        name="P3 terminal agrees",
        says="no terminal holds an order or a paid-until beyond the books",
        query="""
            SELECT live.terminal_id, live.state->>'order_no' AS terminal_order_no, terminal.last_order_no,
                   live.state->>'paid_until_wh' AS terminal_paid_until_wh, allowance.paid_until_wh
              FROM terminal_live AS live
              JOIN terminals AS terminal ON terminal.id = live.terminal_id AND terminal.retired_at IS NULL
              JOIN allowances AS allowance ON allowance.supply_point_id = terminal.supply_point_id
             WHERE live.state->'order_no' > to_jsonb(terminal.last_order_no)
                OR (live.state->'order_no' = to_jsonb(terminal.last_order_no) AND terminal.last_order_no > 0
                    AND live.state->'paid_until_wh' <> to_jsonb(allowance.paid_until_wh))
                -- Who has the key of a keypad could write a code for an order that was given out, with more in it.
                OR EXISTS (SELECT FROM commands AS given
                            WHERE given.terminal_id = live.terminal_id AND given.slot = 'credit'
                              AND given.args->'order_no' = live.state->'order_no'
                              AND given.args->'paid_until_wh' < live.state->'paid_until_wh')
        """,
    ),
    Invariant(
        name="P4 cuts",
        says="no trip was executed without a served written notice of its supply point, unless a person ordered it",
        query="""
            SELECT command.id AS command_id, command.supply_point_id, command.executed_at
              FROM commands AS command
             WHERE command.op = 'trip' AND command.executed_at IS NOT NULL AND command.requested_by IS NULL
               AND NOT EXISTS (SELECT FROM notices AS notice
                                WHERE notice.supply_point_id = command.supply_point_id AND notice.kind = 'written'
                                  AND notice.served_at < command.executed_at
                                  AND notice.cut_not_before <= command.executed_at)
        """,
    ),
    Invariant(
        name="P5 two persons",
        says="two persons stand behind each cut that was ordered by hand, or one who is reviewed",
        query="""
            SELECT command.id AS command_id, command.supply_point_id, command.approval_id, approval.state
              FROM commands AS command LEFT JOIN approvals AS approval ON approval.id = command.approval_id
             WHERE command.command_class = 'cut' AND command.requested_by IS NOT NULL
               AND command.issued_at >= (SELECT min(requested_at) FROM approvals)
               AND (approval.id IS NULL OR approval.state NOT IN ('approved', 'alone')
                    OR command.requested_by IS DISTINCT FROM approval.requested_by
                    OR command.issued_at < approval.requested_at
                    OR NOT (coalesce(approval.result->'command_ids' @> to_jsonb(CAST(command.id AS text)), false)
                            OR EXISTS (SELECT FROM campaigns AS campaign
                                         JOIN campaign_targets AS target ON target.campaign_id = campaign.id
                                        WHERE campaign.approval_id = approval.id AND approval.kind = 'campaign'
                                          AND approval.wanted->>'campaign_id' = CAST(campaign.id AS text)
                                          AND approval.standing->'campaign'->>'list_digest' = campaign.list_digest
                                          AND target.supply_point_id = command.supply_point_id
                                          AND target.op = command.op AND target.args = command.args)))
        """,
    ),
    Invariant(
        name="P5 decided in the record",
        says="what two persons, or one alone, stand behind is told by the record: asked for, and decided by another",
        query="""
            SELECT approval.id AS approval_id, approval.kind, approval.state
              FROM approvals AS approval
              LEFT JOIN (VALUES ('approved', 'approval.approved'), ('alone', 'approval.bypassed')) AS named (state, action)
                     ON named.state = approval.state
             WHERE approval.state IN ('approved', 'alone')
               AND (approval.state = 'approved' AND approval.decided_at > approval.lapses_at
                    OR NOT EXISTS (
                       SELECT FROM audit_events AS event
                        CROSS JOIN LATERAL (SELECT jsonb_or_null(event.payload)->'after' AS told OFFSET 0) AS read
                        WHERE event.subject_kind = 'approval' AND event.subject = CAST(approval.id AS text)
                          AND event.action = named.action AND told->>'digest' = approval.digest
                          AND told->'wanted' = approval.wanted AND told->'result' = approval.result
                          AND coalesce(event.actor_id, approval.decided_by, approval.requested_by)
                              = coalesce(approval.decided_by, approval.requested_by))
                    OR (approval.state = 'approved' AND NOT EXISTS (
                        SELECT FROM audit_events AS event
                         WHERE event.subject_kind = 'approval' AND event.subject = CAST(approval.id AS text)
                           AND event.action = 'approval.asked' AND event.at = approval.requested_at
                           AND coalesce(event.actor_id, approval.requested_by) = approval.requested_by)))
        """,
    ),
    # What was decided before there were policies says nothing of one.
    Invariant(
        name="P6 policies",
        says="each limit or trip that the service decided rests on a policy in force then that allows it",
        query="""
            SELECT command.id AS command_id, command.supply_point_id, command.op, decision.id AS decision_id
              FROM commands AS command
              CROSS JOIN LATERAL (
                   SELECT id, decided_at, facts FROM stage_decisions AS decided
                    WHERE decided.supply_point_id = command.supply_point_id AND decided.decided_at <= command.issued_at
                    ORDER BY decided.decided_at DESC, decided.id DESC LIMIT 1) AS decision
             WHERE command.requested_by IS NULL AND command.executed_at IS NOT NULL
               AND (command.op = 'trip' OR (command.op = 'limit' AND command.args->'power_w' <> 'null'))
               AND decision.facts ? 'policy'
               AND NOT EXISTS (SELECT FROM trip_policies AS policy
                                WHERE to_jsonb(policy.version) = decision.facts->'policy'->'version'
                                  AND policy.valid_from <= decision.decided_at
                                  AND CASE command.op WHEN 'trip' THEN policy.automatic_trips
                                                      ELSE policy.automatic_limits END)
        """,
    ),
    Invariant(
        name="P7 site codes",
        says="each site code says what the credit says that it carries, and that credit counts as sent",
        query="""
            SELECT code.id AS site_code_id, code.terminal_id, code.order_no, code.paid_until_wh, command.args
              FROM site_codes AS code LEFT JOIN commands AS command ON command.id = code.command_id
             WHERE command.op IS DISTINCT FROM 'credit' OR command.terminal_id <> code.terminal_id
                OR command.supply_point_id <> code.supply_point_id OR command.attempts < 1
                OR command.args->'order_no' IS DISTINCT FROM to_jsonb(code.order_no)
                OR command.args->'paid_until_wh' IS DISTINCT FROM to_jsonb(code.paid_until_wh)
        """,
    ),
)
