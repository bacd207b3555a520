"""What terminals tell: ingest, spool, quarantine."""
