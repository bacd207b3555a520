"""Wattgate: prepaid and load-control purchase of electricity for large customers."""
