"""Cheques: taken in at a till, in clearing at the bank, and at last a purchase or a piece of paper."""
