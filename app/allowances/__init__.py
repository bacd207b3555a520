"""Energy bought, supplied and left, for each supply point."""
