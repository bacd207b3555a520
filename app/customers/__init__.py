"""Customers, supply points and supply contracts."""
