"""Receipts as papers: read, shown, printed, and each copy told from the original."""
