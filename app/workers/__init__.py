"""Workers that share the terminals: who is alive, and who records what which terminal tells."""
