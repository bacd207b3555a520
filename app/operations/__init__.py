"""What those who run the service need beside it: starting, watching, backup, restore, retention."""
