"""Measures speed as ratios to bare parts: each figure beside what the same servers do without us, in one run."""
