"""So many cuts an hour and no more: what comes on top is held until a person has looked."""
