"""Kills the real parts of a utility again and again while it sells, and judges what is left when it has healed."""
