"""A shift comes to its end: counted blind, compared, sent back or closed, its totals sealed."""
