"""Two append-only books in double entry: money in fen, energy in Wh."""
