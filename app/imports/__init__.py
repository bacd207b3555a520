"""Customers, contracts, terminals and opening balances from files, whole or not at all."""
