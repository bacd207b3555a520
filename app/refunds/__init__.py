"""What was sold is taken back: asked of the terminal first, paid out when it is proved."""
