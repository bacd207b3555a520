"""An account is closed: refund, pay up, or nothing, to the fen."""
