"""The conformance kit: cases in YAML that any terminal, and any service, of the public contract must pass."""
