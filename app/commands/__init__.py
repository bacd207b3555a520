"""What terminals must do: sent, received, executed and verified are four facts."""
