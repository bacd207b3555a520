"""Site codes: a credit in digits for a terminal that stays off line, typed at its keypad."""
