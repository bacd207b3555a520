"""Which keys may sign commands changes: a statement of the anchor is checked, recorded, and sent to terminals."""
