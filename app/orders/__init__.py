"""What an operator does by hand: staged commands with their interlocks, call-backs, proofs that a notice arrived."""
