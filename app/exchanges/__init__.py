"""A terminal takes another's place at a supply point, without losing a watt-hour."""
