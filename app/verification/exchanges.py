"""Invariants of terminal exchanges: counters move, energy does not."""

from app.verification.invariant import Invariant

EXCHANGES = (
    Invariant(
        name="X1 exchanges",
        says="each exchange left paid-until at the opening reading plus every grant before it, in both counters",
        query="""
            SELECT exchange.id AS exchange_id, exchange.supply_point_id, exchange.paid_until_after_wh, expected.wh
              FROM terminal_exchanges AS exchange
              JOIN allowances AS allowance USING (supply_point_id)
             CROSS JOIN LATERAL (
                   SELECT allowance.opening_supplied_wh
                          - coalesce((SELECT sum(later.new_start_wh - later.old_final_wh)
                                        FROM terminal_exchanges AS later
                                       WHERE later.supply_point_id = exchange.supply_point_id
                                         AND (later.order_no, later.id) > (exchange.order_no, exchange.id)), 0)
                          + coalesce((SELECT sum(given.energy_wh) FROM allowance_grants AS given
                                       WHERE given.supply_point_id = exchange.supply_point_id
                                         AND (given.order_no, given.id) < (exchange.order_no, exchange.id)), 0) AS wh) AS expected
             WHERE exchange.paid_until_after_wh <> expected.wh
                OR exchange.paid_until_before_wh <> expected.wh - (exchange.new_start_wh - exchange.old_final_wh)
        """,
    ),
    Invariant(
        name="X2 exchange credits",
        says="each exchange retired its old terminal and told the new one up to where energy is paid, if any was sold",
        query="""
            SELECT exchange.id AS exchange_id, old.id AS old_terminal_id, command.id AS command_id, command.args
              FROM terminal_exchanges AS exchange
              JOIN terminals AS old ON old.id = exchange.old_terminal_id
              LEFT JOIN commands AS command ON command.id = exchange.command_id
             WHERE old.retired_at IS NULL OR (command.id IS NULL) <> (exchange.order_no = 0)
                OR command.terminal_id <> exchange.new_terminal_id
                OR (command.id IS NOT NULL
                    AND (command.args->'order_no' IS DISTINCT FROM to_jsonb(exchange.order_no)
                         OR command.args->'paid_until_wh' IS DISTINCT FROM to_jsonb(exchange.paid_until_after_wh)))
        """,
    ),
    Invariant(
        name="X3 retired terminals",
        says="nothing is open at a terminal that was retired",
        query="""
            SELECT command.id AS command_id, command.terminal_id, command.state
              FROM commands AS command JOIN terminals AS terminal ON terminal.id = command.terminal_id
             WHERE terminal.retired_at IS NOT NULL AND command.ended_at IS NULL
               -- An answer that was on its way at that moment is still a fact.
               AND command.state <> 'executed'
        """,
    ),
)
