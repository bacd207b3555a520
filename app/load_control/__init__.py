"""Which stage a supply point is in, and why."""
