"""HTTP's own matters: transactions, problems, policies, idempotency."""
